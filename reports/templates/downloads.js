// Every table as CSV, every figure as SVG and PNG: made here, of what the page shows, by nobody's server. Figures are light, whatever the page is.
"use strict";
(() => {
  const root = document.documentElement;
  const INK = "#1f1d1a";
  const banner = () => [...document.querySelectorAll("aside.banner strong")].map((b) => b.textContent).join(" ");
  const words = (text) => text.replace(/\s+/g, " ").trim();
  const save = (blob, name) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  };

  // ---- a table as CSV: scores and what stands small beside them in columns of their own, headings of groups in the first ----
  const BESIDE = "small, .ci, .size, .tag";
  const PICTURE = ".plot, .picture";
  const figure = (text) => {
    const plain = text.replace(/−(?=\d)/g, "-");
    const number = /^-?\d{1,3}(,\d{3})+(\.\d+)?$/.test(plain) ? plain.replace(/,/g, "") : plain.replace(/^\+(?=[\d.]+$)/, "");
    // A spreadsheet runs what looks like a formula.
    return /^[=+\-@]/.test(number) && !/^[+-]?[\d.]+( [\p{L}\d ,.;=°%–-]*)?$/u.test(number) ? `'${number}` : number;
  };
  const quoted = (text) => (/[",\n]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text);
  const parts = (cell) => {
    const copy = cell.cloneNode(true);
    for (const gone of copy.querySelectorAll("svg, audio")) gone.remove();
    for (const end of copy.querySelectorAll("br")) end.replaceWith(" ");
    const beside = [...copy.querySelectorAll(BESIDE)].filter((x) => !x.parentElement.closest(BESIDE));
    const kind = beside.length && beside.every((x) => x.matches(".ci")) ? "interval" : "note";
    const said = beside.map((x) => words(x.textContent)).filter(Boolean).join("; ");
    for (const x of beside) x.remove();
    const main = words(copy.textContent);
    return main ? [main, said, kind] : [said, "", kind];
  };
  const sheet = (head, rows) => {
    const beware = banner() ? [[...head, "beware"], ...rows.map((row) => [...row, banner()])] : [head, ...rows];
    return beware.map((line) => line.map((text) => quoted(figure(text))).join(",")).join("\r\n") + "\r\n";
  };
  // The best of each family on a task: a line for each of them.
  const leads = (row) => [...row.querySelectorAll(".leads")].map((lead) => [...parts(row.cells[0]).slice(0, 2), ...["a", "b", ".ci"].map((x) => words(lead.querySelector(x).textContent))]);
  const csv = (table) => {
    // What a search has hidden is not shown, and not taken away.
    const rows = [...table.tBodies].flatMap((body) => [...body.rows]).filter((row) => !row.closest("[hidden]"));
    if (table.matches(".leaders")) return sheet(["task", "about it", "system", "score", "interval"], rows.flatMap(leads));
    const head = table.tHead ? [...table.tHead.rows[table.tHead.rows.length - 1].cells] : [];
    const wide = Math.max(head.length, ...rows.map((row) => row.cells.length));
    const kept = [...Array(wide).keys()].filter((k) => !(head[k] && head[k].matches(PICTURE)) && !rows.some((row) => row.cells[k] && row.cells[k].matches(PICTURE)));
    const cells = [];
    let group = "";
    for (const row of rows) {
      // What is folded away below a row is no row of the table, and no heading of one.
      if (row.cells.length === 1 && wide > 1) group = row.cells[0].matches("th") ? words(row.cells[0].textContent) : group;
      else cells.push([group, ...kept.map((k) => (row.cells[k] ? parts(row.cells[k]) : ["", "", ""]))]);
    }
    const blank = table.matches(".confusion") ? "0" : "";
    const columns = [];
    if (group) columns.push(["group", (row) => row[0]]);
    kept.forEach((k, place) => {
      const name = head[k] ? head[k].dataset.name || parts(head[k]).slice(0, 2).filter(Boolean).join(" ") : "";
      const own = cells.map((row) => row[place + 1]);
      const some = own.find((part) => part[1]);
      columns.push([name, (row) => row[place + 1][0] || blank]);
      if (some) columns.push([(head[k] && head[k].dataset.beside) || words(`${name} ${some[2]}`), (row) => row[place + 1][1]]);
    });
    return sheet(columns.map(([name]) => name), cells.map((row) => columns.map(([, of]) => of(row))));
  };

  // ---- what is drawn or laid out on the page as one SVG, with presentation attributes alone ----
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 1;
  const brush = canvas.getContext("2d", { willReadFrequently: true });
  const seen = new Map();
  const colour = (value) => {
    if (value === "none" || value === "transparent" || value === "rgba(0, 0, 0, 0)") return "none";
    if (!seen.has(value)) {
      brush.fillStyle = "#fff";
      brush.fillRect(0, 0, 1, 1);
      brush.fillStyle = value;
      brush.fillRect(0, 0, 1, 1);
      seen.set(value, "#" + [...brush.getImageData(0, 0, 1, 1).data.slice(0, 3)].map((v) => v.toString(16).padStart(2, "0")).join(""));
    }
    return seen.get(value);
  };
  const escaped = (text) => text.replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]);
  const tag = (name, attributes, inside = "") => `<${name}${Object.entries(attributes).map(([k, v]) => ` ${k}="${escaped(String(v))}"`).join("")}${inside ? `>${inside}</${name}>` : "/>"}`;
  const round = (x) => Math.round(100 * x) / 100;
  const LOOKS = [["fill", "rgb(0, 0, 0)"], ["stroke", "none"], ["stroke-width", "1px"], ["stroke-dasharray", "none"], ["stroke-linecap", "butt"], ["opacity", "1"], ["paint-order", "normal"]];
  const FONT = ["font-family", "font-size", "font-weight"];
  const drawn = (element) => {
    const style = getComputedStyle(element);
    if (style.display === "none" || style.visibility === "hidden") return "";
    const attributes = {};
    for (const { name, value } of element.attributes) if (!/^(class|role|id|focusable|aria-.*|data-.*|on.*|style)$/.test(name) && !(element.tagName === "svg" && /^(width|height)$/.test(name))) attributes[name] = value;
    if (element.tagName !== "svg" && element.tagName !== "g") {
      for (const [name, usual] of LOOKS) {
        const value = style.getPropertyValue(name);
        if (value !== usual) attributes[name] = name === "fill" || name === "stroke" ? colour(value) : value;
      }
      if (element.tagName === "text") for (const name of FONT) attributes[name] = style.getPropertyValue(name);
    }
    const inside = [...element.childNodes].map((n) => (n.nodeType === 3 ? escaped(n.data) : n.nodeType === 1 ? drawn(n) : "")).join("");
    return tag(element.tagName, attributes, element.tagName === "text" ? inside.trim() : inside.replace(/>\s+</g, "><").trim());
  };
  // Lines of a text as it is laid out: words of one height belong together.
  const lines = (node, limit) => {
    const made = [];
    for (const found of node.data.matchAll(/\S+/g)) {
      const range = document.createRange();
      range.setStart(node, found.index);
      range.setEnd(node, found.index + found[0].length);
      const box = range.getClientRects()[0];
      if (!box || !box.width) continue;
      const last = made[made.length - 1];
      if (box.right > limit + 1) {
        if (last) last.text += "…";
        break;
      }
      if (last && Math.abs(last.top - box.top) < 2) Object.assign(last, { text: `${last.text} ${found[0]}`, right: box.right });
      else made.push({ text: found[0], left: box.left, top: box.top, right: box.right, bottom: box.bottom });
    }
    return made;
  };
  const written = (node, x0, y0) => {
    const holder = node.parentElement;
    const style = getComputedStyle(holder);
    const look = { fill: colour(style.color), "font-size": style.fontSize, "font-weight": style.fontWeight, "font-family": style.fontFamily };
    brush.font = `${style.fontWeight} ${style.fontSize} ${style.fontFamily}`;
    const rise = brush.measureText("x").fontBoundingBoxAscent;
    if (style.writingMode !== "horizontal-tb") {
      const range = document.createRange();
      range.selectNodeContents(node);
      const box = range.getBoundingClientRect();
      const turned = getComputedStyle(holder.closest("th, td") || holder).transform !== "none";
      const [x, y] = turned ? [box.left + rise - x0, box.bottom - y0] : [box.right - rise - x0, box.top - y0];
      return tag("text", { transform: `translate(${round(x)} ${round(y)}) rotate(${turned ? -90 : 90})`, ...look }, escaped(words(node.data)));
    }
    const limit = style.textOverflow === "ellipsis" ? holder.getBoundingClientRect().right : Infinity;
    return lines(node, limit).map((line) => {
      const [x, anchor] = { right: [line.right, "end"], end: [line.right, "end"], center: [(line.left + line.right) / 2, "middle"] }[style.textAlign] || [line.left, "start"];
      return tag("text", { x: round(x - x0), y: round(line.top + rise - y0), ...(anchor === "start" ? {} : { "text-anchor": anchor }), ...look }, escaped(line.text));
    }).join("");
  };
  const laid = (box, label) => {
    const { left, top, width } = box.getBoundingClientRect();
    const height = Math.max(...[...box.children].filter((x) => !x.matches(".take, .note")).map((x) => x.getBoundingClientRect().bottom)) - top;
    let inside = "";
    for (const cell of box.querySelectorAll("th, td")) {
      const style = getComputedStyle(cell);
      const own = cell.getBoundingClientRect();
      const [x, y, w, h] = [own.left - left, own.top - top, own.width, own.height].map(round);
      const paper = colour(style.backgroundColor);
      if (paper !== "none") inside += tag("rect", { x: x + 0.5, y: y + 0.5, width: round(w - 1), height: round(h - 1), fill: paper });
      if (style.boxShadow !== "none") inside += tag("rect", { x: x + 1, y: y + 1, width: w - 2, height: h - 2, fill: "none", stroke: INK, "stroke-width": 1.5 });
      else if (style.borderBottomStyle !== "none" && paper === "none") inside += tag("path", { d: `M${x} ${round(y + h)}h${w}`, stroke: colour(style.borderBottomColor) });
    }
    const walk = document.createTreeWalker(box, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT, (node) =>
      node.nodeType === 1 ? (node.matches(".vh, .take, .note") || (node.parentElement.closest("svg") && box.contains(node.parentElement.closest("svg"))) ? NodeFilter.FILTER_REJECT : NodeFilter.FILTER_ACCEPT) : node.data.trim() && !node.parentElement.closest("svg") ? NodeFilter.FILTER_ACCEPT : NodeFilter.FILTER_REJECT,
    );
    for (let node = walk.nextNode(); node; node = walk.nextNode()) {
      if (node.nodeType === 3) inside += written(node, left, top);
      else if (node.tagName === "svg" && node.getClientRects().length) {
        const own = node.getBoundingClientRect();
        inside += drawn(node).replace("<svg", `<svg x="${round(own.left - left)}" y="${round(own.top - top)}" width="${round(own.width)}" height="${round(own.height)}" overflow="visible"`);
      }
    }
    const beware = banner();
    const tall = height + 16 + (beware ? 20 : 0);
    if (beware) inside += tag("text", { x: 0, y: round(height + 20), fill: "#6a3f00", "font-size": "13px", "font-weight": 700, "font-family": "sans-serif" }, escaped(beware));
    const size = { xmlns: "http://www.w3.org/2000/svg", width: round(width + 16), height: round(tall), viewBox: `-8 -8 ${round(width + 16)} ${round(tall)}` };
    return tag("svg", size, `<title>${escaped(label)}</title>` + tag("rect", { x: -8, y: -8, width: size.width, height: size.height, fill: "#fff" }) + inside);
  };
  // Measured as a light page, which nobody gets to see: the theme is back before the next frame.
  const picture = (box, label) => {
    const theme = root.dataset.theme;
    root.dataset.theme = "light";
    try {
      return laid(box, label);
    } finally {
      if (theme === undefined) delete root.dataset.theme;
      else root.dataset.theme = theme;
    }
  };
  const png = (svg, name) => {
    const image = new Image();
    image.addEventListener("load", () => {
      const scale = Math.min(3, Math.sqrt(4e7 / (image.width * image.height)));
      const paper = document.createElement("canvas");
      [paper.width, paper.height] = [Math.round(image.width * scale), Math.round(image.height * scale)];
      paper.getContext("2d").drawImage(image, 0, 0, paper.width, paper.height);
      paper.toBlob((blob) => save(blob, name), "image/png");
    });
    image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg)}`;
  };

  // ---- the buttons ----
  const named = (box) => {
    const within = box.closest("figure") || box;
    const title = box.matches(".scroll") && box.getAttribute("aria-label");
    const caption = within.querySelector("figcaption, caption");
    return words(title || (caption ? caption.textContent : "") || "figure");
  };
  const file = (box, ending) => {
    const page = box.closest("section.page");
    const place = page ? page.getAttribute("aria-label").split(" · ")[0] : decodeURIComponent(location.pathname.split("/").pop()).replace(/\.html$/, "") || "page";
    const setting = box.closest("details.setting");
    const label = named(box);
    const short = label.length > 60 ? label.replace(/[.:;(] .*| \(.*/, "").slice(0, 60) : label;
    const said = [place, setting && setting.querySelector("summary").textContent, short];
    return `${said.filter(Boolean).join("-").replace(/[^\p{L}\p{N}.@+]+/gu, "-").replace(/^-+|[-.]+$/g, "")}.${ending}`;
  };
  for (const box of document.querySelectorAll("main .scroll, main figure > .chart")) {
    const table = box.querySelector("table");
    const pictured = !table || table.matches(".confusion, .heat") || table.querySelector(".plot svg, .picture svg");
    const whole = () => box.closest("figure") || table || box;
    const take = document.createElement("div");
    take.className = "take";
    const offer = (word, make) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = word;
      button.setAttribute("aria-label", `${word}: ${named(box)}`);
      button.addEventListener("click", make);
      take.append(button);
    };
    if (table) offer("CSV", () => save(new Blob([`\ufeff${csv(table)}`], { type: "text/csv;charset=utf-8" }), file(box, "csv")));
    if (pictured) {
      offer("SVG", () => save(new Blob([picture(whole(), named(box))], { type: "image/svg+xml" }), file(box, "svg")));
      offer("PNG", () => png(picture(whole(), named(box)), file(box, "png")));
    }
    box.after(take);
  }
})();
