  // ---- pictures ---------------------------------------------------------------------------------------------
  const leaders = document.getElementById("leaders");
  const costs = document.querySelectorAll("#cost-figures [data-name]");
  const LANE = 13;
  const pictured = new Map();
  const fillLeaders = (found) => {
    const kept = new Set(found.systems);
    const families = Object.keys(data.families);
    const hide = (element, hidden) => {
      if (element.hidden !== hidden) element.hidden = hidden;
    };
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
      hide(own, !fits || !best.size);
      if (own.hidden) continue;
      left += 1;
      const ordered = [...best].sort((a, b) => (families.indexOf(a[0]) + 99) % 99 - (families.indexOf(b[0]) + 99) % 99).map((x) => x[1]);
      const key = `${shown.number} ${ordered.map((cell) => cell[0])}`;
      if (pictured.get(own) === key) continue;
      pictured.set(own, key);
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
    if (leaders) hide(leaders.closest("section"), left === 0);
    for (const dot of costs) {
      const i = place.get(dot.dataset.name);
      dot.classList.toggle("gone", i !== undefined && !kept.has(i));
    }
    if (costs.length) hide(costs[0].closest("section"), [...costs].every((dot) => dot.classList.contains("gone")));
    const unmoved = document.getElementById("unmoved");
    if (unmoved) unmoved.hidden = !any(found.chosen);
    for (const section of scope.querySelectorAll("section.whole")) hide(section, any(found.chosen));
  };
  let place = new Map();
