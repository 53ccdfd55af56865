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
  const head = (key) => {
    const cell = make("th", { scope: "col", "data-key": key, class: ["system", "licence", "met"].includes(key) ? "" : "n" });
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
      cell.append(...own, "\u00a0", button);
    } else {
      button.append(...own);
      cell.append(button);
    }
    return cell;
  };
  const timed = heads.has("speed");
  const row = (i, found, most) => {
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
      m ? make("td", { class: "n" }, make("b", null, m[3]), make("small", null, m[4] + (m[6] < most ? `, ${counted(m[6], "task")}` : ""))) : make("td", { class: "n" }, "–"),
      rank ? make("td", { class: "n" }, rank[0], make("small", null, `(${rank[1]}`)) : make("td", { class: "n" }, "–"),
      ...cells,
      make("td", { class: "n" }, size(s[4])),
      s[3] === "reference" ? make("td", { class: "licence" }, "–") : make("td", { class: "licence" }, s[6] === true ? "yes" : s[6] === false ? "no" : "unclear", make("small", null, s[5])),
      make("td", { class: "met" }, s[12].map(([word, n]) => `${n} ${word}`).join(", ")),
      ...(timed ? [make("td", { class: "n" }, s[7] === null ? "–" : s[7].toLocaleString("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 }))] : []),
    );
  };
  // Rows are made once for a choice of columns, and only moved by search and sort: making and measuring them is what takes time.
  let drawn = { look: "", rows: new Map(), tracks: new Map(), heads: "" };
  // What stays where it is is not touched: a row that is taken out and put back is styled and measured anew.
  const put = (parent, children) => {
    const wanted = new Set(children);
    for (const child of [...parent.children]) if (!wanted.has(child)) child.remove();
    let at = parent.firstElementChild;
    for (const child of children) {
      if (child === at) at = at.nextElementSibling;
      else parent.insertBefore(child, at);
    }
  };
  const fillTable = (found) => {
    const { chosen } = found;
    const keys = ["system", "mean", "rank", ...found.columns.map((k) => `c${k}`), "size", "licence", "met", ...(timed ? ["speed"] : [])];
    const look = `${keys.join(" ")}, ${chosen.condition}, ${chosen.language}`;
    if (look !== drawn.look) drawn = { look, rows: new Map(), tracks: new Map(), heads: drawn.heads };
    if (drawn.heads !== keys.join(" ")) {
      drawn.heads = keys.join(" ");
      table.tHead.replaceChildren(make("tr", null, ...keys.map((key) => head(key))));
    }
    for (const cell of table.tHead.rows[0].cells) {
      const order = cell.dataset.key === state.sort ? state.order : null;
      if (order) cell.setAttribute("aria-sort", order);
      else cell.removeAttribute("aria-sort");
    }
    const most = among(chosen);
    const rowOf = (i) => {
      if (!drawn.rows.has(i)) drawn.rows.set(i, row(i, found, most));
      return drawn.rows.get(i);
    };
    const bodyOf = (track) => {
      if (!drawn.tracks.has(track)) drawn.tracks.set(track, make("tbody", null, ...(track ? [trackRow(track, keys.length)] : [])));
      return drawn.tracks.get(track);
    };
    const bodies = [];
    if (state.sort && keys.includes(state.sort)) {
      const sign = state.order === "ascending" ? 1 : -1;
      const keyed = found.systems.map((i) => [value(i, state.sort, found), i]).sort((a, b) => compare(a[0], b[0], sign));
      bodies.push([bodyOf(""), keyed.map(([, i]) => rowOf(i))]);
    } else {
      const tracks = new Map();
      for (const i of found.systems) tracks.set(data.systems[i][3], [...(tracks.get(data.systems[i][3]) || []), i]);
      for (const [track, own] of tracks) {
        // Inside a kind of supervision by the mean of what is chosen.
        const ordered = any(chosen) ? [...own].sort((a, b) => compare(value(a, "mean", found), value(b, "mean", found), -1)) : own;
        bodies.push([bodyOf(track), [bodyOf(track).firstChild, ...ordered.map(rowOf)]]);
      }
    }
    for (const [body, rows] of bodies) put(body, rows);
    const now = [...table.tBodies];
    if (now.length !== bodies.length || bodies.some(([body], n) => body !== now[n])) {
      for (const body of now) body.remove();
      table.append(...bodies.map(([body]) => body));
    }
  };
  const trackRow = (track, columns) => {
    const said = make("th", { scope: "rowgroup", colspan: columns }, mark(track), " ", make("b", { class: `t-${data.tracks[track] ? track : "reference"}` }, data.tracks[track] || track), ` · `, make("a", { class: "term", href: "#t-supervision" }, glosses()[track] || ""));
    return make("tr", { class: "track" }, said);
  };
  const glosses = () => Object.fromEntries([...fields.track.options].filter((o) => o.value).map((o) => [o.value, o.text.slice(o.text.indexOf(": ") + 2)]));
