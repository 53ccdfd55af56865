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
  const select = (chosen) => {
    const asked = words(chosen.q);
    const ofSystem = data.systems.map((s) => `${s[0]} ${s[1]} ${s[2]} ${data.tracks[s[3]] || s[3]}`.toLowerCase());
    const ofColumn = data.columns.map((c) => `${c.task} ${c.name} ${c.language}`.toLowerCase());
    // A word that names no system names tasks: then only those are looked at.
    const ofTasks = asked.filter((w) => !ofSystem.some((s) => s.includes(w)) && ofColumn.some((c) => c.includes(w)));
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
    const cells = left.map((k) => new Map(data.columns[k].cells.map((cell) => [cell[0], cell])));
    const scored = new Set([...(narrowed ? tasks : data.columns.keys())].flatMap((k) => data.columns[k].cells.map((cell) => cell[0])));
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
        asked.every((w) => ofTasks.includes(w) || ofSystem[i].includes(w))
      );
    });
    return { chosen, columns: left, cells, systems, tasks, narrowed, some: systems.length < data.systems.length };
  };
  const any = (chosen) => NAMES.some((name) => chosen[name]) || chosen.unseen;

  // ---- the table --------------------------------------------------------------------------------------------
  const value = (i, key, found) => {
    const s = data.systems[i];
    if (key === "system") return s[0];
    if (key === "mean") return mean(i, found.chosen)?.[5] ?? NaN;
    if (key === "rank") return s[11] ? s[11][1] : NaN;
    if (key === "size") return s[4] ?? NaN;
    if (key === "licence") return s[6] === true ? 0 : s[6] === false ? 2 : 1;
    if (key === "met") return Math.max(...s[12].map(([word]) => data.met.length - data.met.indexOf(word)), 0);
    if (key === "speed") return s[7] ?? NaN;
    const k = found.columns.indexOf(Number(key.slice(1)));
    return k < 0 ? NaN : (found.cells[k].get(i)?.[3] ?? NaN);
  };
  const compare = (a, b, sign) => {
    if (typeof a === "number" && typeof b === "number") {
      if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
      return sign * (a - b);
    }
    return sign * collator.compare(a, b);
  };
  const mean = (i, chosen) => means.get(`${i} ${chosen.condition || data.usual} ${chosen.language || "all"}`);
  let means = new Map();
  // On how many tasks the means of a choice are taken over at most.
  const among = (chosen) => new Set(data.columns.filter((c) => c.plain && c.condition === (chosen.condition || data.usual) && (!chosen.language || c.language === chosen.language)).map((c) => c.task)).size;
  const HEADS = { system: "ascending", rank: "ascending", size: "ascending", licence: "ascending", met: "ascending", speed: "ascending" };
  const heads = new Map([...table.tHead.rows[0].cells].map((cell) => [cell.dataset.key, [...cell.childNodes]]));
  const head = (key, found) => {
    const cell = make("th", { scope: "col", "data-key": key, class: ["system", "licence", "met"].includes(key) ? "" : "n", "aria-sort": state.sort === key && state.order });
    const button = make("button", { type: "button", class: "sort" });
    button.addEventListener("click", () => {
      const first = HEADS[key] || "descending";
      const other = first === "descending" ? "ascending" : "descending";
      if (state.sort === key && state.order === other) state.sort = "";
      else {
        state.order = state.sort === key ? other : first;
        state.sort = key;
      }
      const chosen = read();
      fillTable(select(chosen));
      address(chosen);
      table.tHead.querySelector(`[data-key="${key}"] button`)?.focus();
    });
    if (key[0] === "c" && key.length < 6 && /^c\d+$/.test(key)) {
      const c = data.columns[key.slice(1)];
      const small = make("small", null, [c.task, c.clean || c.condition, c.setting, c.unit !== "UA, %" && c.unit].filter((x) => x && x !== true).join(", "));
      if (c.synthetic) small.append(" ", make("span", { class: "tag warn" }, "SYNTHETIC"));
      button.append(c.name);
      cell.append(button, small);
      return cell;
    }
    // A term keeps its link, and the button to sort stands beside it.
    const own = (heads.get(key) || []).map((n) => n.cloneNode(true));
    const link = own.find((n) => n.nodeType === 1 && n.matches("a.term"));
    if (link) {
      button.setAttribute("aria-label", `sort by ${link.textContent}`);
      cell.append(...own, " ", button);
    } else {
      button.append(...own);
      cell.append(button);
    }
    return cell;
  };
  const timed = heads.has("speed");
  const row = (i, found) => {
    const s = data.systems[i];
    const m = mean(i, found.chosen);
    const cells = found.cells.map((own) => {
      const cell = own.get(i);
      return cell ? make("td", { class: `h d${cell[4]}` }, make("b", null, cell[1]), make("small", null, cell[2])) : make("td", { class: "none" }, "–");
    });
    const rank = s[11] && s[11][0].split(" (");
    return make(
      "tr",
      { "data-system": s[0] },
      make("th", { scope: "row" }, mark(s[3]), make("a", { href: s[10] }, s[0]), ...(s[8] ? [" ", make("span", { class: "tag" }, "imported")] : [])),
      m ? make("td", { class: "n" }, make("b", null, m[3]), make("small", null, m[4] + (m[6] < among(found.chosen) ? `, ${counted(m[6], "task")}` : ""))) : make("td", { class: "n" }, "–"),
      rank ? make("td", { class: "n" }, rank[0], make("small", null, `(${rank[1]}`)) : make("td", { class: "n" }, "–"),
      ...cells,
      make("td", { class: "n" }, size(s[4])),
      make("td", { class: "licence" }, s[6] === true ? "yes" : s[6] === false ? "no" : "unclear", make("small", null, s[5])),
      make("td", { class: "met" }, s[12].map(([word, n]) => `${n} ${word}`).join(", ")),
      ...(timed ? [make("td", { class: "n" }, s[7] === null ? "–" : s[7].toLocaleString("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 }))] : []),
    );
  };
  const fillTable = (found) => {
    const keys = ["system", "mean", "rank", ...found.columns.map((k) => `c${k}`), "size", "licence", "met", ...(timed ? ["speed"] : [])];
    table.tHead.replaceChildren(make("tr", null, ...keys.map((key) => head(key, found))));
    for (const body of [...table.tBodies]) body.remove();
    const gloss = glosses();
    if (state.sort && keys.includes(state.sort)) {
      const sign = state.order === "ascending" ? 1 : -1;
      const keyed = found.systems.map((i) => [value(i, state.sort, found), i]).sort((a, b) => compare(a[0], b[0], sign));
      table.append(make("tbody", null, ...keyed.map(([, i]) => row(i, found))));
      return;
    }
    const tracks = new Map();
    for (const i of found.systems) tracks.set(data.systems[i][3], [...(tracks.get(data.systems[i][3]) || []), i]);
    for (const [track, own] of tracks) {
      const said = make("th", { scope: "rowgroup", colspan: keys.length }, mark(track), " ", make("b", { class: `t-${data.tracks[track] ? track : "reference"}` }, data.tracks[track] || track), ` · `, make("a", { class: "term", href: "#t-supervision" }, gloss[track] || ""));
      // Inside a kind of supervision by the mean of what is chosen.
      const ordered = any(found.chosen) ? [...own].sort((a, b) => compare(value(a, "mean", found), value(b, "mean", found), -1)) : own;
      table.append(make("tbody", null, make("tr", { class: "track" }, said), ...ordered.map((i) => row(i, found))));
    }
  };
  const glosses = () => Object.fromEntries([...fields.track.options].filter((o) => o.value).map((o) => [o.value, o.text.slice(o.text.indexOf(": ") + 2)]));

  // ---- the answer -------------------------------------------------------------------------------------------
  const TURNED = { "+": "-", "-": "+", p: "m", m: "p" };
  const verdict = (column, a, b) => {
    for (const [members, letters] of column.signs) {
      const i = members.indexOf(a), j = members.indexOf(b);
      if (i < 0 || j < 0) continue;
      const [low, high] = i < j ? [i, j] : [j, i];
      const letter = letters[(high * (high - 1)) / 2 + low];
      if (letter && letter !== ".") return i < j ? letter : TURNED[letter] || letter;
    }
    return "";
  };
  const opponents = (best, columns) => {
    const met = new Map();
    for (let other = 0; other < data.systems.length; other++) {
      if (other === best || data.systems[other][3] === "reference") continue;
      const seen = new Set();
      const signs = [];
      for (const column of columns) {
        const letter = seen.has(column.task) ? "" : verdict(column, best, other);
        if (!letter) continue;
        seen.add(column.task);
        signs.push(letter);
      }
      if (signs.length) met.set(data.systems[other][0], signs);
    }
    return met;
  };
  const against = (word, met, letters) => {
    const found = [...met].map(([name, signs]) => [name, signs.filter((s) => letters.includes(s)), signs.length]).filter(([, own]) => own.length);
    found.sort((a, b) => b[1].length - a[1].length || (a[0] < b[0] ? -1 : 1));
    if (!found.length) return [];
    const dd = make("dd", { "data-n": found.length });
    found.slice(0, 3).forEach(([name, own, of], n) => {
      const on = `${own.length}/${of}${own.some((s) => "pm".includes(s)) ? "°" : ""}`;
      dd.append(make("span", null, `${name} `, make("small", null, on), n < Math.min(found.length, 3) - 1 ? "," : ""), " ");
    });
    if (found.length > 3) dd.append(make("small", null, `and ${found.length - 3} more`));
    return [make("dt", null, word), dd];
  };
  const fillAnswers = (found) => {
    const { chosen } = found;
    const condition = chosen.condition || data.usual;
    const columns = data.columns.filter((c, k) => c.plain && c.condition === condition && found.tasks.has(k));
    const total = new Set(columns.map((c) => c.task)).size;
    // A choice among tasks of one language has no mean of its own: then scores of single tasks stand.
    const whole = data.columns.filter((c) => c.plain && c.condition === condition && (!chosen.language || c.language === chosen.language)).length === columns.length;
    for (const article of scope.querySelectorAll("article.answer")) {
      const family = article.dataset.family;
      const [title] = data.families[family];
      const own = found.systems.filter((i) => data.systems[i][2] === family);
      const scoredOn = (i) => columns.filter((c) => c.cells.some((cell) => cell[0] === i));
      const figure = (i) => {
        if (whole) return mean(i, chosen) && [mean(i, chosen)[3], mean(i, chosen)[4], mean(i, chosen)[5]];
        const on = scoredOn(i);
        const cell = on.length === 1 && on[0].cells.find((x) => x[0] === i);
        return cell ? [cell[1], cell[2], cell[3]] : null;
      };
      const rated = own.map((i) => [i, new Set(scoredOn(i).map((c) => c.task)).size, figure(i)]).filter((r) => r[1] && r[2]);
      const most = Math.max(0, ...rated.map((r) => r[1]));
      rated.sort((a, b) => (b[1] === most) - (a[1] === most) || b[2][2] - a[2][2] || (data.systems[a[0]][0] < data.systems[b[0]][0] ? 1 : -1));
      const heading = make("h2", { title: data.families[family][1] }, title);
      if (!rated.length) {
        const planned = data.planned.filter((p) => p[1] === family).map((p) => p[0]);
        const others = data.systems.some((s) => s[2] === family);
        const said = any(chosen) && others ? "None that fits this choice was measured." : planned.length ? `Planned: ${planned.slice(0, 2).join(" and ")}${planned.length > 2 ? ` and ${planned.length - 2} more` : ""}${reason(family)}.` : "Nobody has run one here.";
        article.replaceChildren(heading, make("p", { class: "who" }, "none measured"), make("p", { class: "small" }, said));
        continue;
      }
      const [best, tasks, shown] = rated[0];
      const s = data.systems[best];
      const met = opponents(best, columns);
      const small = make("p", { class: "small" }, `${met.size ? "" : "Tested against nobody. "}${counted(tasks, "task")}${tasks < total ? ` of ${total}` : ""}`);
      if (s[9]) small.append(", ", make("a", { class: "term", href: "#t-seeds" }, "one seed"));
      article.replaceChildren(
        heading,
        make("p", { class: "who" }, mark(s[3]), make("a", { href: s[10] }, s[0])),
        make("p", { class: "figure" }, make("b", null, shown[0]), " ", make("span", { class: "ci" }, shown[1])),
        make("dl", null, ...against("beats", met, "+p"), ...against("not told apart", met, "?"), ...against("equal to", met, "="), ...against("behind", met, "-m")),
        small,
      );
    }
    fillLacking(found, columns);
    const said = document.getElementById("said");
    if (!any(chosen)) said.textContent = usual;
    else {
      const language = chosen.language && data.languages.find((l) => l[0] === chosen.language)[1];
      const audio = chosen.condition || "";
      said.textContent = columns.length ? `Best of each family${language ? ` in ${language}` : ""}${audio ? `, ${audio}` : ""}${chosen.size || chosen.licence || chosen.track || chosen.family || chosen.unseen ? ", among the systems chosen" : ""}${whole && total > 1 ? `, mean over ${counted(total, "task")}` : ""}` : "Best of each family";
    }
  };
  const reason = (family) => {
    const found = data.planned.find((p) => p[1] === family);
    return found && found[2] ? `. ${found[2].split(":")[0].slice(0, 60)}` : "";
  };
  // What was not measured, what is known of it, and what it would take.
  const fillLacking = (found, columns) => {
    const place = document.getElementById("lacking");
    const { chosen } = found;
    const language = data.languages.find((l) => l[0] === chosen.language);
    place.hidden = true;
    place.replaceChildren();
    if (columns.length || !(chosen.language || chosen.condition)) return;
    const inLanguage = data.columns.filter((c) => !chosen.language || c.language === chosen.language);
    const parts = [];
    if (language && !inLanguage.length) {
      parts.push(make("b", null, `No ${language[1]} was measured.`), " ");
      if (language[4].length) {
        const named = language[4].slice(0, 6).map(([name, , access, licence]) => `${name} (access: ${access}; licence: ${licence})`);
        parts.push(`Catalogued: ${named.join(", ")}${language[4].length > 6 ? ` and ${language[4].length - 6} more` : ""}. `);
      } else parts.push("No corpus of it is catalogued either. ");
    } else {
      parts.push(make("b", null, `${language ? language[1] : "No task"} was ${language ? "not " : ""}measured under ${chosen.condition || "this audio"}.`), " ");
      const known = [...new Set(inLanguage.map((c) => c.condition))];
      if (known.length) parts.push(`Measured: ${known.join(", ")}. `);
    }
    if (data.needs) parts.push(`What it would take: ${data.needs[0].toLowerCase()}${data.needs.slice(1)} `, make("code", null, "serbench power"), " plans other cases.");
    place.append(...parts);
    place.hidden = false;
  };

  // ---- pictures ---------------------------------------------------------------------------------------------
  const leaders = document.getElementById("leaders");
  const LANE = 13;
  const fillLeaders = (found) => {
    const kept = new Set(found.systems);
    let left = 0;
    for (const own of leaders ? leaders.tBodies[0].rows : []) {
      const number = Number(own.dataset.column);
      const column = data.columns[number];
      const { chosen } = found;
      const fits = found.tasks.has(number) || (chosen.condition && data.columns.some((c, k) => found.tasks.has(k) && c.task === column.task && c.setting === column.setting && c.unit === column.unit));
      // Under other audio the picture is of that audio.
      const shown = chosen.condition ? data.columns.find((c, k) => found.tasks.has(k) && c.task === column.task && c.setting === column.setting && c.unit === column.unit) || column : column;
      const best = new Map();
      for (const cell of shown.cells) {
        const s = data.systems[cell[0]];
        if (s[3] === "reference" || !kept.has(cell[0])) continue;
        const now = best.get(s[2]);
        if (!now || cell[3] > now[3] || (cell[3] === now[3] && s[0] < data.systems[now[0]][0])) best.set(s[2], cell);
      }
      own.hidden = !fits || !best.size;
      if (own.hidden) continue;
      left += 1;
      const families = Object.keys(data.families);
      const ordered = [...best].sort((a, b) => (families.indexOf(a[0]) + 99) % 99 - (families.indexOf(b[0]) + 99) % 99).map((x) => x[1]);
      const height = LANE * Math.max(ordered.length, 1) + 4;
      const svg = draw("svg", { viewBox: `0 0 264 ${height}`, height, "aria-hidden": "true", focusable: "false" });
      svg.append(draw("path", { class: "ladder", d: `M12 ${height}H252` }));
      if (shown.chance !== null) svg.append(draw("path", { class: "chance", d: `M${shown.chance} 0V${height}` }));
      ordered.forEach((cell, lane) => {
        const y = LANE * lane + LANE / 2 + 2;
        const group = draw("g", { class: `t-${data.systems[cell[0]][3]}` });
        if (cell[8] !== null) group.append(draw("path", { class: "whisker", d: `M${cell[8]} ${y}H${cell[9]}` }));
        group.append(draw("path", { class: "dot", d: shape(data.systems[cell[0]][3], cell[7], y) }));
        svg.append(group);
      });
      own.cells[1].replaceChildren(svg);
      own.cells[2].replaceChildren(
        ...ordered.flatMap((cell) => {
          const s = data.systems[cell[0]];
          return [make("span", { class: "leads" }, make("span", { class: "nb" }, mark(s[3]), make("a", { href: s[10] }, s[0])), " ", make("b", null, cell[1]), " ", make("span", { class: "ci" }, cell[2])), " "];
        }),
      );
    }
    if (leaders) leaders.closest("section").hidden = left === 0;
    const costs = document.getElementById("cost-figures");
    for (const dot of costs ? costs.querySelectorAll("[data-name]") : []) {
      const i = place.get(dot.dataset.name);
      dot.classList.toggle("gone", i !== undefined && !kept.has(i));
    }
    const unmoved = document.getElementById("unmoved");
    if (unmoved) unmoved.hidden = !any(found.chosen);
    for (const section of scope.querySelectorAll("section.whole")) section.hidden = any(found.chosen);
  };
  let place = new Map();

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
