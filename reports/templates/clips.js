// The clip browser: every clip of a task with every system's answer, filtered, ordered, fifty rows at a time, one clip at the side.
"use strict";
(() => {
  const form = document.getElementById("find");
  const table = document.getElementById("clips");
  if (!form || !table) return;
  const fields = form.elements;
  const panel = document.getElementById("clip");
  const list = panel.parentNode;
  const body = table.tBodies[0];
  const none = document.getElementById("filter-none");
  const [previous, next] = document.querySelectorAll(".pager button");
  const settings = JSON.parse(form.dataset.settings);
  const IN_A_FILE = Number(form.dataset.inAFile);
  const NAMES = ["q", "system", "truth", "answer", "agreement", "speaker", "sort"];
  const OTHER = "other / none";
  const SHOWN = 50;
  const narrow = matchMedia("(max-width: 70rem)");
  const collator = new Intl.Collator(undefined, { numeric: true });
  const kept = new Map();
  let data = null;
  let found = [];
  let state = { page: 0, clip: -1, picked: false };

  const make = (tag, attributes, ...children) => {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) if (value !== false && value !== undefined && value !== null) made.setAttribute(name, value === true ? "" : value);
    made.append(...children);
    return made;
  };
  const draw = (tag, attributes, ...children) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  };
  const mark = (track) => {
    const shapes = { adapted: "M8 2l6 6l-6 6l-6 -6z", released: "M3.5 3.5h9v9h-9z", reference: "M6 2h4v12h-4z" };
    const svg = draw("svg", { class: `mark t-${track}`, viewBox: "0 0 16 16", "aria-hidden": "true", focusable: "false" });
    svg.append(draw("path", { class: "dot", d: shapes[track] || "M3 8a5 5 0 1 0 10 0a5 5 0 1 0 -10 0z" }));
    return svg;
  };
  const counted = (n, noun) => `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`;
  const percent = (perMille) => (perMille ? `${((perMille - 1) / 10).toFixed(perMille > 990 && perMille < 1001 ? 1 : 0)}\u00a0%` : "–");

  // ---- what is loaded ---------------------------------------------------------------------------------------
  const DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const digit = new Uint8Array(128);
  [...DIGITS].forEach((c, k) => (digit[c.charCodeAt(0)] = k));
  const unpack = (packed) => {
    if (!packed) return null;
    const [width, text] = packed;
    const made = new Int32Array(text.length / width);
    for (let i = 0, at = 0; i < made.length; i++) {
      let value = 0;
      for (let k = 0; k < width; k++) value = value * 64 + digit[text.charCodeAt(at++)];
      made[i] = value;
    }
    return made;
  };
  const unpacked = (raw) => {
    const n = raw.clips.length;
    const made = { ...raw, truth: unpack(raw.truth), seconds: unpack(raw.seconds), speaker: unpack(raw.speaker), vote: unpack(raw.vote) };
    made.systems = raw.systems.map((s) => ({ ...s, said: unpack(s.said), sure: unpack(s.sure), given: unpack(s.given) }));
    made.pictures = unpack(raw.sound && raw.sound.pictures);
    made.right = new Uint16Array(n);
    made.alike = new Uint8Array(n);
    for (let i = 0; i < n; i++) {
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
    made.sought = raw.clips.map((name) => name.toLowerCase());
    // What every name begins with, up to a folder, and how all end need not be read again and again.
    let common = n > 1 ? raw.clips[0].slice(0, raw.clips[0].lastIndexOf("/") + 1) : "";
    while (common && !raw.clips.every((name) => name.startsWith(common))) common = common.slice(0, common.slice(0, -1).lastIndexOf("/") + 1);
    const ending = n > 1 ? raw.clips[0].slice(common.length).match(/.(\.\w+)$/)?.[1] || "" : "";
    const cut = raw.clips.every((name) => name.endsWith(ending)) ? ending.length : 0;
    made.short = (i) => raw.clips[i].slice(common.length, raw.clips[i].length - cut);
    return made;
  };
  const loadScript = (src, done, failed) => {
    const file = make("script", { src });
    file.addEventListener("load", done);
    file.addEventListener("error", failed);
    document.head.append(file);
  };
  const tell = (words) => {
    none.textContent = words;
    none.hidden = !words;
  };
  const open = (k, then) => {
    const [file, words] = settings[k];
    if (kept.has(words)) return then(kept.get(words));
    loadScript(
      file,
      () => {
        kept.set(words, unpacked(window.SERBENCH_CLIPS));
        then(kept.get(words));
      },
      () => {
        form.hidden = true;
        list.hidden = true;
        tell(`The file ${decodeURIComponent(file)} is not beside this page, so there are no clips to show: keep the folder of the report together, or make the report again.`);
      },
    );
  };

  // ---- what is chosen ---------------------------------------------------------------------------------------
  const options = (select, values, words) => {
    const before = select.value;
    while (select.options.length > 1) select.remove(1);
    values.forEach((value, k) => select.append(new Option(words ? words[k] : value, value)));
    select.value = before;
    if (select.selectedIndex < 0) select.value = "";
  };
  const fill = () => {
    const labels = data.words.slice(0, data.labels);
    const outside = data.words.slice(data.labels);
    options(fields.truth, labels);
    options(fields.system, data.systems.map((s) => s.name));
    options(fields.answer, [...labels, OTHER, ...outside.filter((w) => w !== `(${OTHER})`)]);
    const known = data.speakers.filter(Boolean).sort(collator.compare);
    options(fields.speaker, known);
    fields.speaker.closest("label").hidden = known.length < 2;
    fields.setting.closest("label").hidden = settings.length < 2;
    document.getElementById("together").textContent = data.together.map((names) => ` Here: ${names}.`).join("");
  };
  const enable = () => {
    const own = fields.system.value !== "";
    for (const option of [...fields.agreement.options].slice(6)) option.disabled = !own;
    const s = data.systems.find((x) => x.name === fields.system.value);
    for (const value of ["sure", "unsure"]) [...fields.sort.options].find((o) => o.value === value).disabled = !(s && s.sure);
    for (const select of [fields.agreement, fields.sort]) if (select.selectedOptions[0]?.disabled) select.value = "";
  };
  const address = () => {
    const said = new URLSearchParams();
    if (fields.setting.selectedIndex > 0) said.set("setting", fields.setting.value);
    for (const name of NAMES) if (fields[name].value.trim()) said.set(name, fields[name].value.trim());
    if (state.page) said.set("page", state.page + 1);
    if (state.picked && state.clip >= 0) said.set("clip", data.clips[state.clip]);
    const text = said.toString();
    history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
  };
  const restore = () => {
    const said = new URLSearchParams(location.hash.slice(1));
    const setting = Math.max(0, settings.findIndex(([, words]) => words === said.get("setting")));
    fields.setting.selectedIndex = setting;
    open(setting, (loaded) => {
      data = loaded;
      fill();
      for (const name of NAMES) {
        const value = said.get(name) || "";
        fields[name].value = value;
        if (fields[name].value !== value) fields[name].value = "";
      }
      state = { page: Math.max(0, Math.floor(Number(said.get("page")) || 1) - 1), clip: data.clips.indexOf(said.get("clip")), picked: said.has("clip") };
      show(true);
    });
  };

  // ---- what is left -----------------------------------------------------------------------------------------
  const select = () => {
    const asked = fields.q.value.toLowerCase().split(/\s+/).filter(Boolean);
    const truth = fields.truth.value ? data.words.indexOf(fields.truth.value) : -1;
    const speaker = fields.speaker.value ? data.speakers.indexOf(fields.speaker.value) : -1;
    const own = data.systems.find((s) => s.name === fields.system.value);
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
    const left = [];
    for (let i = 0; i < data.clips.length; i++) {
      if (truth >= 0 && data.truth[i] !== truth) continue;
      if (speaker >= 0 && data.speaker[i] !== speaker) continue;
      if (answer && !(own ? fits(own, i) : data.systems.some((s) => fits(s, i)))) continue;
      if (!agrees(i)) continue;
      if (!asked.every((w) => data.sought[i].includes(w))) continue;
      left.push(i);
    }
    return sorted(left, own);
  };
  const sorted = (left, own) => {
    const key = fields.sort.value;
    if (key === "name") {
      if (!data.named) {
        data.named = new Int32Array(data.clips.length);
        data.clips.map((name, i) => i).sort((a, b) => collator.compare(data.clips[a], data.clips[b])).forEach((i, place) => (data.named[i] = place));
      }
      return left.sort((a, b) => data.named[a] - data.named[b]);
    }
    if (key === "longest") return left.sort((a, b) => data.seconds[b] - data.seconds[a] || a - b);
    if (key === "shortest") return left.sort((a, b) => data.seconds[a] - data.seconds[b] || a - b);
    if (key === "sure") return left.sort((a, b) => own.sure[b] - own.sure[a] || a - b);
    if (key === "unsure") return left.sort((a, b) => (own.sure[a] || 2000) - (own.sure[b] || 2000) || a - b);
    return left;
  };

  // ---- the list ---------------------------------------------------------------------------------------------
  const word = (code) => data.words[code];
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
  const row = (i, own) => {
    const button = make("button", { type: "button", "data-clip": i, "aria-current": i === state.clip && "true" }, data.short(i));
    return make("tr", { class: i === state.clip ? "on" : false },
      make("th", { scope: "row" }, button),
      make("td", { class: "speaker" }, data.speakers[data.speaker[i]] || "–"),
      make("td", { class: "truth" }, word(data.truth[i])),
      make("td", { class: "said" }, ...answers(i, own)),
      make("td", { class: "right" }, marks(i), make("small", null, `${data.right[i]}/${data.systems.length}`)),
      make("td", { class: "n seconds" }, (data.seconds[i] / 10).toFixed(1)));
  };
  const fillList = () => {
    const own = data.systems.find((s) => s.name === fields.system.value);
    const from = state.page * SHOWN;
    const to = Math.min(from + SHOWN, found.length);
    panel.remove();
    body.replaceChildren(...found.slice(from, to).map((i) => row(i, own)));
    table.caption.textContent = `${found.length ? (from + 1).toLocaleString("en") : 0}–${to.toLocaleString("en")} of ${counted(found.length, "clip")}${own ? `, with the answer of ${own.name}` : ""}${settings.length > 1 ? `, ${fields.setting.value}` : ""}.`;
    previous.parentNode.hidden = found.length <= SHOWN;
    previous.disabled = state.page === 0;
    next.disabled = to >= found.length;
    previous.nextElementSibling.textContent = `page ${state.page + 1} of ${Math.max(1, Math.ceil(found.length / SHOWN))}`;
    place();
  };
  // The clip stands at the side of the list; on a narrow screen under its row.
  const place = () => {
    body.querySelector("tr.inside")?.remove();
    const at = body.querySelector("tr.on");
    panel.hidden = state.clip < 0 || (narrow.matches && !at);
    if (narrow.matches && at) at.after(make("tr", { class: "inside" }, make("td", { colspan: 6 }, panel)));
    else list.append(panel);
  };

  // ---- one clip ---------------------------------------------------------------------------------------------
  const source = (i) => {
    if (!data.sound) return null;
    const other = data.sound.others[i];
    return other === undefined ? data.sound.folder + data.clips[i].split("/").map(encodeURIComponent).join("/") : other;
  };
  const picture = (i, image) => {
    const number = data.pictures[i];
    const file = Math.floor(number / IN_A_FILE);
    const put = () => {
      const drawn = window.SERBENCH_PICTURES[file][number % IN_A_FILE];
      if (drawn) image.src = `data:image/png;base64,${drawn}`;
      else image.closest("figure").remove();
    };
    if (window.SERBENCH_PICTURES && window.SERBENCH_PICTURES[file]) put();
    else loadScript(`${form.dataset.pictures}${file}.js`, put, () => image.closest("figure")?.remove());
  };
  const player = (i) => {
    const address = source(i);
    const seconds = data.seconds[i] / 10;
    if (address === null) return [make("p", { class: "note" }, "The file is not in the corpus’s folder any more.")];
    const audio = make("audio", { controls: true, preload: "none", src: address, "aria-label": `Clip labelled ${word(data.truth[i])}` });
    const made = [audio];
    if (data.condition !== "clean") made.push(make("p", { class: "note" }, `You hear and see the corpus’s own file; the systems heard it under ${data.condition}.`));
    if (!data.pictures) return made;
    const line = make("span", { class: "head-line", hidden: true });
    const image = make("img", { alt: `Spectrogram, ${seconds.toFixed(1)} seconds, 60 Hz to 8 kHz`, width: 128, height: 48 });
    const pitch = [["k4", "4 kHz"], ["k2", "2"], ["k1", "1"], ["h500", "0.5"], ["h200", "0.2"]].map(([name, words]) => make("span", { class: `pitch ${name}`, "aria-hidden": "true" }, words));
    const figure = make("figure", null, make("div", { class: "sound" }, image, line, ...pitch), make("p", { class: "times", "aria-hidden": "true" }, make("span", null, "0 s"), make("span", null, `${seconds.toFixed(1)} s`)));
    const move = () => {
      line.hidden = false;
      line.style.left = `${(100 * Math.min(audio.currentTime, seconds)) / seconds}%`;
      if (!audio.paused) requestAnimationFrame(move);
    };
    audio.addEventListener("play", move);
    audio.addEventListener("seeked", move);
    image.parentNode.addEventListener("click", (event) => {
      const box = image.getBoundingClientRect();
      const seek = () => (audio.currentTime = seconds * Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1));
      if (audio.readyState) seek();
      else audio.addEventListener("loadedmetadata", seek, { once: true });
      audio.play().catch(() => {}); // another clip was chosen before this one began
    });
    picture(i, image);
    return [figure, ...made];
  };
  const bar = (perMille) => draw("svg", { class: "bar", viewBox: "0 0 44 8", "aria-hidden": "true", focusable: "false" }, draw("path", { class: "whole", d: "M0 4H44" }), draw("path", { class: "part", d: `M0 4H${(0.044 * (perMille - 1)).toFixed(1)}` }));
  const sure = (values, i) => (values && values[i] ? [bar(values[i]), make("span", { class: "share" }, percent(values[i]))] : ["–"]);
  const fillPanel = () => {
    const i = state.clip;
    if (i < 0) return panel.replaceChildren();
    const step = (by, words) => {
      const at = found.indexOf(i);
      const button = make("button", { type: "button", class: "step", disabled: at < 0 || !(at + by in found), "aria-label": `${words} clip` }, by < 0 ? "↑" : "↓");
      button.addEventListener("click", () => {
        choose(found[at + by]);
        panel.querySelector(`[aria-label="${words} clip"]`).focus();
      });
      return button;
    };
    const facts = [data.speakers[data.speaker[i]] && `speaker ${data.speakers[data.speaker[i]]}`, `${(data.seconds[i] / 10).toFixed(1)} s`, data.votes[data.vote[i]] && `listeners said ${data.votes[data.vote[i]]}`];
    const rows = data.systems.map((s) =>
      make("tr", { class: s.name === fields.system.value ? "chosen" : false },
        make("th", { scope: "row" }, mark(s.track), make("a", { href: s.page }, s.name)),
        make("td", null, verdict(s, i)),
        make("td", { class: "n" }, ...sure(s.sure, i)),
        make("td", { class: "n" }, s.given && s.given[i] ? percent(s.given[i]) : "–")));
    const head = make("tr", null, ...["system", "answered", "how sure", "of the label"].map((w, k) => make("th", { scope: "col", class: k > 1 ? "n" : false }, w)));
    panel.replaceChildren(
      make("div", { class: "head" }, make("h2", { id: "clip-title" }, data.clips[i]), make("div", null, step(-1, "previous"), step(1, "next"))),
      make("p", { class: "truth" }, "labelled ", make("b", null, word(data.truth[i])), ` · ${facts.filter(Boolean).join(" · ")}`),
      ...(data.sound ? player(i) : []),
      make("table", null, make("caption", { class: "vh" }, "What each system answered, and the probability it gave to that and to the label."), make("thead", null, head), make("tbody", null, ...rows)),
      ...(data.left_out ? [make("p", { class: "note" }, `${counted(data.left_out, "further system")} not read clip by clip.`)] : []),
    );
    panel.scrollTop = 0;
  };
  const choose = (i) => {
    state.clip = i;
    state.picked = true;
    const page = Math.floor(found.indexOf(i) / SHOWN);
    if (page !== state.page && page >= 0) {
      state.page = page;
      fillList();
    }
    for (const button of body.querySelectorAll("button[data-clip]")) {
      const own = Number(button.dataset.clip) === i;
      button.closest("tr").className = own ? "on" : "";
      if (own) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    }
    fillPanel();
    place();
    address();
  };

  // ---- all of it --------------------------------------------------------------------------------------------
  const show = (restored) => {
    enable();
    found = select();
    if (!found.includes(state.clip)) state.picked = false;
    if (!state.picked) state.clip = narrow.matches || !found.length ? -1 : found[0];
    if (restored && state.picked && !new URLSearchParams(location.hash.slice(1)).has("page")) state.page = Math.floor(found.indexOf(state.clip) / SHOWN);
    state.page = Math.min(state.page, Math.max(0, Math.ceil(found.length / SHOWN) - 1));
    fillList();
    fillPanel();
    tell(found.length ? "" : "No clip fits this choice.");
    list.hidden = !found.length;
    document.getElementById("filter-count").textContent = `${found.length.toLocaleString("en")} of ${counted(data.clips.length, "clip")}`;
    address();
  };
  const turn = (by) => {
    state.page += by;
    fillList();
    address();
    body.querySelector("button").focus({ preventScroll: true });
    table.scrollIntoView({ block: "nearest" });
  };
  previous.addEventListener("click", () => turn(-1));
  next.addEventListener("click", () => turn(1));
  body.addEventListener("click", (event) => {
    const at = event.target.closest("tr");
    const button = at && !at.classList.contains("inside") && at.querySelector("button[data-clip]");
    if (button) choose(Number(button.dataset.clip));
  });
  body.addEventListener("keydown", (event) => {
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const button = event.target.closest("button[data-clip]");
    if (!by || !button) return;
    event.preventDefault();
    const to = found[found.indexOf(Number(button.dataset.clip)) + by];
    if (to === undefined) return;
    choose(to);
    body.querySelector(`button[data-clip="${to}"]`).focus();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", (event) => {
    state.page = 0;
    if (event.target !== fields.setting) return show();
    const name = state.picked ? data.clips[state.clip] : "";
    open(fields.setting.selectedIndex, (loaded) => {
      data = loaded;
      fill();
      state.clip = data.clips.indexOf(name);
      show();
    });
  });
  form.querySelector("[type=reset]").addEventListener("click", (event) => {
    event.preventDefault();
    for (const name of NAMES) fields[name].value = "";
    state = { page: 0, clip: -1, picked: false };
    show();
    fields.q.focus();
  });
  narrow.addEventListener("change", () => place());
  addEventListener("hashchange", () => {
    if (location.hash.includes("=")) restore();
  });
  settings.forEach(([, words]) => fields.setting.append(new Option(words, words)));
  form.hidden = false;
  list.hidden = false;
  restore();
})();
