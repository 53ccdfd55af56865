  // ---- clips that are labelled: right or wrong ---------------------------------------------------------------
  const OTHER = "other / none";
  const word = (code) => data.words[code];
  // How many systems are right about each clip, and whether all say the same.
  const count = (made) => {
    made.right = new Uint16Array(made.clips.length);
    made.alike = new Uint8Array(made.clips.length);
    for (let i = 0; i < made.clips.length; i++) {
      const first = made.systems[0].said[i];
      let right = 0;
      let alike = 1;
      for (const s of made.systems) {
        if (s.said[i] === made.truth[i]) right++;
        if (s.said[i] !== first) alike = 0;
      }
      made.right[i] = right;
      made.alike[i] = alike;
    }
  };
  const verdict = (s, i) => make("span", { class: s.said[i] === data.truth[i] ? "yes" : "no" }, `${s.said[i] === data.truth[i] ? "✓" : "✗"} ${word(s.said[i])}`);
  const marks = (i) => {
    const hits = [];
    const misses = [];
    data.systems.forEach((s, k) => (s.said[i] === data.truth[i] ? hits.push(`M${9 * k} 1h7v7h-7z`) : misses.push(`M${9 * k + 0.6} 1.6h5.8v5.8h-5.8z`)));
    const svg = draw("svg", { class: "marks", viewBox: `0 0 ${9 * data.systems.length - 2} 9`, "aria-hidden": "true", focusable: "false" });
    if (hits.length) svg.append(draw("path", { class: "hit", d: hits.join("") }));
    if (misses.length) svg.append(draw("path", { class: "miss", d: misses.join("") }));
    return svg;
  };
  const answers = (i, own) => {
    if (own) return [verdict(own, i), own.sure ? make("small", null, ` ${percent(own.sure[i])}`) : ""];
    const count = new Map();
    for (const s of data.systems) count.set(s.said[i], (count.get(s.said[i]) || 0) + 1);
    const said = [...count].sort((a, b) => b[1] - a[1] || a[0] - b[0]);
    if (said.length === 1) return [data.systems.length > 1 ? `all ${word(said[0][0])}` : word(said[0][0])];
    return [said.slice(0, 3).map(([code, n]) => `${word(code)} ×${n}`).join(", ") + (said.length > 3 ? " …" : "")];
  };
  const labels = {
    heads: ["labelled", "answered", "right"],
    fill: () => {
      const known = data.words.slice(0, data.labels);
      options(fields.truth, known);
      options(fields.answer, [...known, OTHER, ...data.words.slice(data.labels).filter((w) => w !== `(${OTHER})`)]);
    },
    enable: () => {
      for (const option of [...fields.agreement.options].slice(6)) option.disabled = fields.system.value === "";
      const s = data.systems.find((x) => x.name === fields.system.value);
      for (const value of ["sure", "unsure"]) [...fields.sort.options].find((o) => o.value === value).disabled = !(s && s.sure);
    },
    chosen: (own) => {
      const truth = fields.truth.value ? data.words.indexOf(fields.truth.value) : -1;
      const answer = fields.answer.value;
      const code = answer && answer !== OTHER ? data.words.indexOf(answer) : -1;
      const fits = (s, i) => (answer === OTHER ? s.said[i] >= data.labels : s.said[i] === code);
      const all = data.systems.length;
      const agrees = {
        "": () => true,
        "all-right": (i) => data.right[i] === all,
        "none-right": (i) => data.right[i] === 0,
        split: (i) => data.right[i] > 0 && data.right[i] < all,
        "one-answer": (i) => data.alike[i] === 1,
        "same-mistake": (i) => data.alike[i] === 1 && data.right[i] === 0,
        right: (i) => own.said[i] === data.truth[i],
        wrong: (i) => own.said[i] !== data.truth[i],
        "only-right": (i) => own.said[i] === data.truth[i] && data.right[i] === 1,
        "only-wrong": (i) => own.said[i] !== data.truth[i] && data.right[i] === all - 1,
      }[fields.agreement.value];
      return (i) => (truth < 0 || data.truth[i] === truth) && (!answer || (own ? fits(own, i) : data.systems.some((s) => fits(s, i)))) && agrees(i);
    },
    sorted: (left, own, key) => {
      if (key === "sure") return left.sort((a, b) => own.sure[b] - own.sure[a] || a - b);
      if (key === "unsure") return left.sort((a, b) => (own.sure[a] || 2000) - (own.sure[b] || 2000) || a - b);
      return left;
    },
    truth: (i) => word(data.truth[i]),
    answers,
    marks: (i) => [marks(i), make("small", null, `${data.right[i]}/${data.systems.length}`)],
    title: "What each system answered, and the probability it gave to that and to the label.",
    said: "labelled ",
    columns: ["answered", "how sure", "of the label"],
    cells: (s, i) => [
      make("td", null, verdict(s, i)),
      make("td", { class: "n" }, ...sure(s.sure, i)),
      make("td", { class: "n" }, s.given && s.given[i] ? percent(s.given[i]) : "–"),
    ],
  };
