// Sorting and filtering of boards. Without this script every table is whole, in the order of the scores.
"use strict";
(() => {
  const collator = new Intl.Collator(undefined, { numeric: true });
  // Two systems to put side by side: a page for each pair that has one.
  const choose = document.getElementById("choose");
  if (choose) {
    const pairs = JSON.parse(choose.dataset.pairs);
    const names = [...new Set(pairs.flatMap((pair) => pair.slice(0, 2)))].sort(collator.compare);
    const { first, second } = choose.elements;
    for (const select of [first, second]) for (const name of names) select.append(new Option(name, name));
    first.value = choose.dataset.first || pairs[0][0];
    second.value = choose.dataset.second || pairs[0][1];
    const said = choose.querySelector("output");
    const found = () => pairs.find((pair) => pair.includes(first.value) && pair.includes(second.value) && first.value !== second.value);
    const tell = () => {
      said.textContent = found() ? "" : first.value === second.value ? "choose two different systems" : "this pair has no page: too many met, and the plan does not name it";
    };
    choose.addEventListener("input", tell);
    choose.addEventListener("submit", (event) => {
      event.preventDefault();
      tell();
      const pair = found();
      if (pair) location.href = pair[2];
    });
    choose.hidden = false;
  }
  const boards = [...document.querySelectorAll("table.board")];
  if (!boards.length) return;
  // The key of a row in a column: a number where the cell carries one, else its words; empty cells go last.
  const key = (row, column) => {
    const cell = row.cells[column];
    if (!cell) return "";
    return cell.dataset.v === undefined ? cell.textContent.trim() : cell.dataset.v === "" ? NaN : Number(cell.dataset.v);
  };
  const compare = (a, b, sign) => {
    if (typeof a === "number" && typeof b === "number") {
      if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
      return sign * (a - b);
    }
    return sign * collator.compare(a, b);
  };
  for (const table of boards) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      if (head.classList.contains("plot")) return;
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sort";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const first = head.dataset.first || "descending";
        const other = first === "descending" ? "ascending" : "descending";
        const order = head.getAttribute("aria-sort") === first ? other : first;
        heads.forEach((h) => h.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", order);
        const sign = order === "ascending" ? 1 : -1;
        // Inside its track: systems of different tracks do not compete.
        for (const body of table.tBodies) {
          const rows = [...body.rows].filter((row) => row.dataset.system !== undefined);
          const keyed = rows.map((row) => [key(row, column), row]).sort((x, y) => compare(x[0], y[0], sign));
          body.append(...keyed.map((pair) => pair[1]));
        }
      });
    });
  }
  const form = document.getElementById("filter");
  if (!form) return;
  const scope = form.closest(".page") || document.body;
  const filtered = boards.filter((table) => scope.contains(table));
  const rows = filtered.flatMap((table) => [...table.querySelectorAll("tr[data-system]")]);
  const count = document.getElementById("filter-count");
  const none = document.getElementById("filter-none");
  const placed = new Map(rows.map((row, place) => [row, place]));
  const fill = (select, values) => {
    for (const value of [...values].sort(collator.compare)) select.append(new Option(value, value));
    select.closest("label").hidden = values.size < 2;
  };
  for (const name of ["track", "family", "language", "access"]) fill(form.elements[name], new Set(rows.map((row) => row.dataset[name]).filter(Boolean)));
  const apply = () => {
    const chosen = ["track", "family", "language", "access"].map((name) => [name, form.elements[name].value]).filter((pair) => pair[1]);
    const most = form.elements.size.value ? Number(form.elements.size.value) : Infinity;
    const words = form.elements.name.value.trim().toLowerCase();
    let shown = 0;
    for (const row of rows) {
      const size = row.dataset.size === "" ? NaN : Number(row.dataset.size);
      const keep =
        chosen.every(([name, value]) => row.dataset[name] === value) &&
        (most === Infinity || size <= most) &&
        (!form.elements.unseen.checked || row.dataset.met === "unseen") &&
        (!words || row.dataset.system.toLowerCase().includes(words));
      row.hidden = !keep;
      shown += keep ? 1 : 0;
    }
    for (const table of filtered) {
      for (const body of table.tBodies) {
        const left = [...body.rows].some((row) => row.dataset.system !== undefined && !row.hidden);
        for (const row of body.rows) if (row.dataset.system === undefined) row.hidden = !left;
      }
      // A board of which nothing is left goes with its heading.
      const one = table.closest(".one");
      if (one) one.hidden = ![...table.querySelectorAll("tr[data-system]")].some((row) => !row.hidden);
    }
    if (none) none.hidden = shown > 0;
    count.textContent = `${shown} of ${rows.length} rows`;
  };
  // Inside each track, by what a system is; rows that are alike keep the order of their scores.
  const order = () => {
    const by = form.elements.order.value;
    const value = (row) => (by === "size" ? (row.dataset.size === "" ? Infinity : Number(row.dataset.size)) : by ? row.dataset[by] : 0);
    for (const table of filtered) {
      for (const head of table.tHead.rows[0].cells) head.removeAttribute("aria-sort");
      for (const body of table.tBodies) {
        const own = [...body.rows].filter((row) => row.dataset.system !== undefined).map((row) => [value(row), row]);
        own.sort((a, b) => (a[0] === b[0] ? 0 : typeof a[0] === "number" ? a[0] - b[0] : collator.compare(a[0], b[0])) || placed.get(a[1]) - placed.get(b[1]));
        body.append(...own.map((pair) => pair[1]));
      }
    }
  };
  form.elements.order.addEventListener("input", order);
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.querySelector("[type=reset]").addEventListener("click", (event) => {
    event.preventDefault();
    form.reset();
    apply();
    order();
  });
  form.hidden = false;
  apply();
})();
