// The first page's table, answers and pictures for a choice of systems, tasks, languages and audio. The page stands without it.
"use strict";
(() => {
  const table = document.getElementById("systems");
  const form = document.getElementById("find");
  if (!table || !form) return;
  const scope = table.closest(".page") || document;
  const fields = form.elements;
  const collator = new Intl.Collator(undefined, { numeric: true });
  const NAMES = ["q", "language", "condition", "size", "licence", "track", "family", "access"];
  const SCREENFUL = 8;
  let data = null;
  let state = { chosen: [], sort: "", order: "" };

  const make = (tag, attributes, ...children) => {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) if (value !== false && value !== undefined && value !== null) made.setAttribute(name, value === true ? "" : value);
    made.append(...children);
    return made;
  };
  const SVG = "http://www.w3.org/2000/svg";
  const draw = (tag, attributes, ...children) => {
    const made = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  };
  // Shapes of bench's tracks, as reports/charts/geometry.py draws them.
  const shape = (track, x, y) => {
    const r = 5;
    if (track === "adapted") return `M${x} ${y - r - 1}l${r + 1} ${r + 1}l${-r - 1} ${r + 1}l${-r - 1} ${-r - 1}z`;
    if (track === "released") return `M${x - r + 0.5} ${y - r + 0.5}h${2 * r - 1}v${2 * r - 1}h${1 - 2 * r}z`;
    if (track === "reference") return `M${x - 2} ${y - r - 1}h4v${2 * r + 2}h-4z`;
    return `M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0z`;
  };
  const mark = (track) => draw("svg", { class: `mark t-${data.tracks[track] ? track : "reference"}`, viewBox: "0 0 16 16", "aria-hidden": "true", focusable: "false" }, draw("path", { class: "dot", d: shape(track, 8, 8) }));
  const words = (s) => s.toLowerCase().split(/\s+/).filter(Boolean);
  const counted = (n, noun) => `${n} ${noun}${n === 1 ? "" : "s"}`;
  const size = (n) => {
    if (n === null) return "–";
    if (n === 0) return "0";
    const [unit, letter] = [[1e9, "B"], [1e6, "M"], [1e3, "k"]].find(([u]) => n >= u) || [1, ""];
    return `${(n / unit).toFixed(n < 100 * unit && unit > 1 ? 1 : 0)} ${letter}`.trim();
  };

  // ---- what is chosen ---------------------------------------------------------------------------------------
  const read = () => {
    const chosen = Object.fromEntries(NAMES.map((name) => [name, fields[name].value.trim()]));
    chosen.unseen = fields.unseen.checked;
    return chosen;
  };
  const address = (chosen) => {
    const said = new URLSearchParams();
    for (const name of NAMES) if (chosen[name]) said.set(name, chosen[name]);
    if (chosen.unseen) said.set("unseen", "1");
    if (state.chosen.length) said.set("columns", state.chosen.map((k) => `${data.columns[k].task}|${data.columns[k].condition}|${data.columns[k].setting}|${data.columns[k].unit}`).join(";"));
    if (state.sort) said.set("sort", `${state.sort} ${state.order}`);
    const text = said.toString();
    const now = location.hash.includes("=") ? location.hash : "";
    if ((text ? `#${text}` : "") !== now) history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
  };
  const restore = () => {
    const said = new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : "");
    for (const name of NAMES) {
      const value = said.get(name) || "";
      fields[name].value = value;
      if (fields[name].value !== value) fields[name].value = "";
    }
    fields.unseen.checked = said.get("unseen") === "1";
    const asked = (said.get("columns") || "").split(";");
    state.chosen = data.columns.map((c, k) => [`${c.task}|${c.condition}|${c.setting}|${c.unit}`, k]).filter(([name]) => asked.includes(name)).map(([, k]) => k);
    const sort = (said.get("sort") || "").split(" ");
    state.sort = /^(system|mean|rank|size|licence|met|speed|c\d+)$/.test(sort[0]) ? sort[0] : "";
    state.order = sort[1] === "ascending" ? "ascending" : "descending";
  };

  // ---- what is left -----------------------------------------------------------------------------------------
  // What is sought in and looked up, made once: words of systems and columns, cells by system, places in families of tests.
  let ofSystem = [];
  let ofColumn = [];
  let cellOf = [];
  let placesOf = [];
  const prepare = () => {
    ofSystem = data.systems.map((s) => `${s[0]} ${s[1]} ${s[2]} ${data.tracks[s[3]] || s[3]}`.toLowerCase());
    ofColumn = data.columns.map((c) => `${c.task} ${c.name} ${c.language}`.toLowerCase());
    cellOf = data.columns.map((c) => new Map(c.cells.map((cell) => [cell[0], cell])));
    placesOf = data.columns.map((c) => c.signs.map(([members]) => new Map(members.map((i, n) => [i, n]))));
  };
  const select = (chosen) => {
    const asked = words(chosen.q);
    // A word that names no system names tasks: then only those are looked at.
    const ofTasks = asked.filter((w) => !ofSystem.some((s) => s.includes(w)) && ofColumn.some((c) => c.includes(w)));
    // A language or a task that is also part of some system's name finds whoever was scored on it, too.
    const named = (w) => data.columns.map((c, k) => k).filter((k) => w === data.columns[k].name.toLowerCase() || w === data.columns[k].task.toLowerCase());
    const narrowed = ofTasks.length || chosen.language || chosen.condition || chosen.access;
    const fits = (c, k) =>
      (!chosen.language || c.language === chosen.language) &&
      (chosen.condition ? c.condition === chosen.condition : true) &&
      (!chosen.access || c.access === chosen.access) &&
      ofTasks.every((w) => ofColumn[k].includes(w));
    let columns = data.columns.map((c, k) => k).filter((k) => fits(data.columns[k], k));
    const usual = columns.filter((k) => data.columns[k].main);
    const tasks = new Set(columns);
    if (!chosen.condition && usual.length) columns = usual;
    if (!narrowed) columns = columns.filter((k) => data.columns[k].shown);
    const left = state.chosen.length ? state.chosen : columns.slice(0, SCREENFUL);
    const cells = left.map((k) => cellOf[k]);
    const scored = new Set();
    for (const k of narrowed ? tasks : data.columns.keys()) for (const i of cellOf[k].keys()) scored.add(i);
    const most = chosen.size ? Number(chosen.size) : Infinity;
    const systems = data.systems.map((s, i) => i).filter((i) => {
      const s = data.systems[i];
      return (
        scored.has(i) &&
        (most === Infinity || (s[4] !== null && s[4] <= most)) &&
        (!chosen.licence || s[6] === true) &&
        (!chosen.track || s[3] === chosen.track) &&
        (!chosen.family || s[2] === chosen.family) &&
        (!chosen.unseen || s[12].every(([word]) => word === "unseen")) &&
        asked.every((w) => ofTasks.includes(w) || ofSystem[i].includes(w) || named(w).some((k) => cellOf[k].has(i)))
      );
    });
    return { chosen, columns: left, cells, systems, tasks, narrowed, some: systems.length < data.systems.length };
  };
  const any = (chosen) => NAMES.some((name) => chosen[name]) || chosen.unseen;

{% include "overview_table.js" %}
{% include "overview_answers.js" %}
{% include "overview_pictures.js" %}
  // ---- all of it --------------------------------------------------------------------------------------------
  let usual = "";
  const show = () => {
    const chosen = read();
    const found = select(chosen);
    fillTable(found);
    fillAnswers(found);
    fillLeaders(found);
    for (const link of scope.querySelectorAll(".strip a[data-language]")) {
      if (chosen.language && link.dataset.language === chosen.language) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
    document.getElementById("filter-none").hidden = found.systems.length > 0;
    document.getElementById("filter-count").textContent = `${found.systems.length} of ${counted(data.systems.length, "system")}`;
    address(chosen);
  };
  const chooseColumns = () => {
    const set = document.getElementById("choose-columns");
    data.columns.forEach((c, k) => {
      const box = make("input", { type: "checkbox", value: k });
      box.addEventListener("change", () => {
        state.chosen = [...set.querySelectorAll("input:checked")].map((b) => Number(b.value));
        show();
      });
      set.append(make("label", null, box, `${c.name}: ${[c.task, c.clean || c.condition, c.setting, c.unit !== "UA, %" && c.unit].filter((x) => x && x !== true).join(", ")}`));
    });
  };
  const tick = () => {
    for (const box of document.querySelectorAll("#choose-columns input")) box.checked = state.chosen.includes(Number(box.value));
  };
  const begin = (loaded) => {
    data = loaded;
    data.columns.forEach((c, k) => (c.number = k));
    prepare();
    means = new Map(data.means.map((m) => [`${m[0]} ${m[1]} ${m[2]}`, m]));
    place = new Map(data.systems.map((s, i) => [s[0], i]));
    usual = document.getElementById("said").textContent;
    chooseColumns();
    for (const name of ["track", "family", "access"]) fields[name].closest("label").hidden = fields[name].options.length < 3;
    const again = () => {
      restore();
      tick();
      show();
    };
    addEventListener("hashchange", () => {
      if (location.hash.includes("=")) again();
    });
    form.addEventListener("input", (event) => {
      if (!event.target.closest("#choose-columns")) show();
    });
    form.addEventListener("submit", (event) => event.preventDefault());
    form.querySelector("[type=reset]").addEventListener("click", (event) => {
      event.preventDefault();
      form.reset();
      state = { chosen: [], sort: "", order: "" };
      tick();
      show();
      fields.q.focus();
    });
    for (const link of scope.querySelectorAll(".strip a[data-language]")) {
      link.addEventListener("click", (event) => {
        event.preventDefault();
        fields.language.value = fields.language.value === link.dataset.language ? "" : link.dataset.language;
        show();
      });
    }
    document.addEventListener("keydown", (event) => {
      if (event.key === "/" && !event.target.closest("input, select, textarea")) {
        event.preventDefault();
        fields.q.focus();
      }
    });
    form.classList.remove("waiting");
    again();
  };
  form.hidden = false;
  const unfold = make("button", { type: "button", class: "unfold", "aria-expanded": "false" }, "filters");
  unfold.addEventListener("click", () => {
    form.classList.toggle("folded");
    unfold.setAttribute("aria-expanded", String(!form.classList.contains("folded")));
  });
  form.append(unfold);
  form.classList.add("folded", "waiting");
  const inside = document.getElementById("rows");
  if (inside) begin(JSON.parse(inside.textContent));
  else {
    const file = document.createElement("script");
    file.src = table.dataset.rows;
    file.addEventListener("load", () => begin(window.SERBENCH_ROWS));
    file.addEventListener("error", () => {
      form.hidden = true;
      const none = document.getElementById("filter-none");
      none.textContent = `The file ${table.dataset.rows} is not beside this page: there is no search, and only the first systems are shown.`;
      none.hidden = false;
    });
    document.head.append(file);
  }
})();
