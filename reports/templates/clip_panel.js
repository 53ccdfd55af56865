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
    const audio = make("audio", { controls: true, preload: "none", src: address, "aria-label": `Clip ${data.kind.said}${data.kind.truth(i)}` });
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
  const step = (by, words) => {
    const button = make("button", { type: "button", class: "step", "data-by": by, "aria-label": `${words} clip` }, by < 0 ? "↑" : "↓");
    button.addEventListener("click", () => {
      choose(found[found.indexOf(state.clip) + by]);
      panel.querySelector(`[aria-label="${words} clip"]`).focus();
    });
    return button;
  };
  // A clip that stays chosen is not drawn again: what plays goes on while the list is searched.
  let filled = "";
  const fillPanel = () => {
    const key = `${fields.setting.value} ${state.clip} ${fields.system.value}`;
    if (key !== filled) drawPanel();
    filled = key;
    const at = found.indexOf(state.clip);
    for (const button of panel.querySelectorAll("button.step")) button.disabled = at < 0 || !(at + Number(button.dataset.by) in found);
  };
  const drawPanel = () => {
    const i = state.clip;
    if (i < 0) return panel.replaceChildren();
    const facts = [data.speakers[data.speaker[i]] && `speaker ${data.speakers[data.speaker[i]]}`, `${(data.seconds[i] / 10).toFixed(1)} s`, data.votes[data.vote[i]] && `listeners said ${data.votes[data.vote[i]]}`];
    const rows = data.systems.map((s) =>
      make("tr", { class: s.name === fields.system.value ? "chosen" : false },
        make("th", { scope: "row" }, mark(s.track), make("a", { href: s.page }, s.name)),
        ...data.kind.cells(s, i)));
    const head = make("tr", null, ...["system", ...data.kind.columns].map((w, k) => make("th", { scope: "col", class: k > (data.dimension ? 0 : 1) ? "n" : false }, w)));
    panel.replaceChildren(
      make("div", { class: "head" }, make("h2", { id: "clip-title" }, data.clips[i]), make("div", null, step(-1, "previous"), step(1, "next"))),
      make("p", { class: "truth" }, data.kind.said, make("b", null, data.kind.truth(i)), ` · ${facts.filter(Boolean).join(" · ")}`),
      ...(data.sound ? player(i) : []),
      make("table", null, make("caption", { class: "vh" }, data.kind.title), make("thead", null, head), make("tbody", null, ...rows)),
      ...(data.left_out ? [make("p", { class: "note" }, `${counted(data.left_out, "further system")} not read clip by clip.`)] : []),
    );
    panel.scrollTop = 0;
  };
