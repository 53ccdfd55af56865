// Light and dark, terms, two systems to choose, and the sorting of boards. Without this script every table is whole, in the order of the scores.
"use strict";
(() => {
  // Light, dark, or as the reader's machine has it; kept where the browser lets us.
  const theme = document.querySelector("button.theme");
  const root = document.documentElement;
  const kept = (value) => {
    try {
      if (value !== undefined) localStorage.setItem("serbench-theme", value);
      return localStorage.getItem("serbench-theme");
    } catch {
      return null;
    }
  };
  const dark = () => (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  if (["dark", "light"].includes(kept())) root.dataset.theme = kept();
  for (const button of document.querySelectorAll("button.theme")) {
    const said = () => (button.textContent = dark() ? "light" : "dark");
    button.setAttribute("aria-label", "light or dark page");
    button.hidden = button !== theme;
    button.addEventListener("click", () => {
      root.dataset.theme = dark() ? "light" : "dark";
      kept(root.dataset.theme);
      said();
    });
    said();
  }
  // Folded parts print as their headings: all are opened on request.
  const folded = [...document.querySelectorAll("main details:not(.more)")];
  const toc = document.querySelector("ul.toc");
  if (folded.length > 1 && toc) {
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.type = "button";
    button.className = "unfold-all";
    button.textContent = "unfold all";
    button.addEventListener("click", () => {
      const open = folded.some((d) => !d.open);
      for (const d of folded) d.open = open;
      button.textContent = open ? "fold all" : "unfold all";
    });
    item.append(button);
    toc.append(item);
  }
  // A term says what it means where it stands; without this script it leads to the words at the end of the page.
  let tip = null;
  const close = (focus) => {
    if (!tip) return;
    const from = tip.from;
    tip.remove();
    tip = null;
    from.setAttribute("aria-expanded", "false");
    if (focus) from.focus();
  };
  document.addEventListener("click", (event) => {
    const term = event.target.closest("a.term");
    const same = tip && term === tip.from;
    if (!term && tip && tip.contains(event.target)) return;
    close();
    const meant = term && document.getElementById(decodeURIComponent(term.hash.slice(1)));
    if (!meant) return;
    event.preventDefault();
    if (same) return;
    tip = document.createElement("div");
    tip.id = "tip";
    tip.setAttribute("role", "note");
    const title = document.createElement("b");
    title.textContent = meant.textContent;
    tip.append(title, ...[...meant.nextElementSibling.cloneNode(true).childNodes]);
    tip.from = term;
    term.setAttribute("aria-expanded", "true");
    term.setAttribute("aria-describedby", "tip");
    document.body.append(tip);
    const box = term.getBoundingClientRect();
    tip.style.left = `${Math.max(8, Math.min(box.left, innerWidth - tip.offsetWidth - 8)) + scrollX}px`;
    tip.style.top = `${box.bottom + 6 + scrollY}px`;
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") close(true);
  });
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
})();
