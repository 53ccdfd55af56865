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
  const NAMES = ["q", "system", "truth", "answer", "agreement", "error", "speaker", "sort"];
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

{% include "clip_labels.js" %}
{% include "clip_ratings.js" %}
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
    const made = { ...raw, truth: unpack(raw.truth), seconds: unpack(raw.seconds), speaker: unpack(raw.speaker), vote: unpack(raw.vote), error: unpack(raw.error) };
    made.systems = raw.systems.map((s) => ({ ...s, said: unpack(s.said), sure: unpack(s.sure), given: unpack(s.given) }));
    made.pictures = unpack(raw.sound && raw.sound.pictures);
    made.kind = raw.dimension ? ratings : labels;
    if (!raw.dimension) count(made);
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
    for (const part of form.querySelectorAll("[data-of]")) part.hidden = part.disabled = (part.dataset.of === "ratings") !== Boolean(data.dimension);
    fields.sort.options[0].text = data.dimension ? "largest error first" : "hardest first";
    [...table.tHead.rows[0].cells].slice(2, 5).forEach((cell, k) => (cell.textContent = data.kind.heads[k]));
    options(fields.system, data.systems.map((s) => s.name));
    data.kind.fill();
    const known = data.speakers.filter(Boolean).sort(collator.compare);
    options(fields.speaker, known);
    fields.speaker.closest("label").hidden = known.length < 2;
    fields.setting.closest("label").hidden = settings.length < 2;
    document.getElementById("together").textContent = data.together.map((names) => ` Here: ${names}.`).join("");
  };
  const enable = () => {
    data.kind.enable();
    for (const select of [fields.truth, fields.answer, fields.agreement, fields.error]) if (select.closest("label").hidden) select.value = "";
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
    const speaker = fields.speaker.value ? data.speakers.indexOf(fields.speaker.value) : -1;
    const own = data.systems.find((s) => s.name === fields.system.value);
    const fits = data.kind.chosen(own);
    const left = [];
    for (let i = 0; i < data.clips.length; i++) {
      if (speaker >= 0 && data.speaker[i] !== speaker) continue;
      if (!fits(i)) continue;
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
    return data.kind.sorted(left, own, key);
  };

  // ---- the list ---------------------------------------------------------------------------------------------
  const row = (i, own) => {
    const button = make("button", { type: "button", "data-clip": i, "aria-current": i === state.clip && "true" }, data.short(i));
    return make("tr", { class: i === state.clip ? "on" : false },
      make("th", { scope: "row" }, button),
      make("td", { class: "speaker" }, data.speakers[data.speaker[i]] || "–"),
      make("td", { class: "truth", "data-head": data.kind.heads[0] }, data.kind.truth(i)),
      make("td", { class: "said" }, ...data.kind.answers(i, own)),
      make("td", { class: "right" }, ...data.kind.marks(i, own)),
      make("td", { class: "n seconds" }, (data.seconds[i] / 10).toFixed(1)));
  };
  const fillList = () => {
    const own = data.systems.find((s) => s.name === fields.system.value);
    const from = state.page * SHOWN;
    const to = Math.min(from + SHOWN, found.length);
    if (body.contains(panel)) panel.remove();
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
    else if (panel.parentNode !== list) list.append(panel);
  };

{% include "clip_panel.js" %}
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
