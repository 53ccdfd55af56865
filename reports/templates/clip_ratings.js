  // ---- clips that are rated: near or far, from 0 to 1; kept as thousandths, answers plus one, 0 for none --------
  const figure = (thousandths) => (thousandths / 1000).toFixed(2);
  const off = (s, i) => (s.said[i] ? Math.abs(s.said[i] - 1 - data.truth[i]) : -1);
  const error = (own, i) => (own ? off(own, i) : data.error[i] - 1);
  const signed = (s, i) => `${s.said[i] - 1 < data.truth[i] ? "−" : "+"}${figure(off(s, i))}`;
  const ratings = {
    heads: ["rated", "answered", "error"],
    fill: () => {},
    enable: () => {},
    chosen: (own) => {
      const least = Math.round(1000 * Number(fields.error.value));
      return (i) => !least || error(own, i) >= least;
    },
    sorted: (left, own, key) => {
      if (key === "near") return left.sort((a, b) => (error(own, a) < 0) - (error(own, b) < 0) || error(own, a) - error(own, b) || a - b);
      return own ? left.sort((a, b) => error(own, b) - error(own, a) || a - b) : left;
    },
    truth: (i) => figure(data.truth[i]),
    answers: (i, own) => {
      if (own) return own.said[i] ? [figure(own.said[i] - 1), make("small", null, ` ${signed(own, i)}`)] : ["none"];
      const said = data.systems.filter((s) => s.said[i]).map((s) => s.said[i] - 1);
      if (!said.length) return ["none"];
      const [low, high] = [figure(Math.min(...said)), figure(Math.max(...said))];
      return [low === high ? low : `${low} to ${high}`];
    },
    marks: (i, own) => {
      const x = (thousandths) => (4 + 0.092 * thousandths).toFixed(1);
      const said = (own ? [own] : data.systems).filter((s) => s.said[i]);
      const svg = draw("svg", { class: "scale", viewBox: "0 0 100 12", "aria-hidden": "true", focusable: "false" });
      svg.append(draw("path", { class: "whole", d: "M4 6H96" }), draw("path", { class: "rated", d: `M${x(data.truth[i])} 0V12` }));
      if (said.length) svg.append(draw("path", { class: "put", d: said.map((s) => `M${x(s.said[i] - 1)} 6m-2.5 0a2.5 2.5 0 1 0 5 0a2.5 2.5 0 1 0 -5 0z`).join("") }));
      return [svg, make("small", null, error(own, i) < 0 ? "–" : figure(error(own, i)))];
    },
    title: "What each system answered, and how far that lies from the rating.",
    get said() {
      return `${data.dimension} rated `;
    },
    columns: ["answered", "error"],
    cells: (s, i) => [
      make("td", { class: "n" }, s.said[i] ? figure(s.said[i] - 1) : "–"),
      make("td", { class: "n" }, s.said[i] ? signed(s, i) : "–"),
    ],
  };
