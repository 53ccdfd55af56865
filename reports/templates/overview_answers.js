  // ---- the answer -------------------------------------------------------------------------------------------
  const TURNED = { "+": "-", "-": "+", p: "m", m: "p" };
  const verdict = (column, a, b) => {
    for (let n = 0; n < column.signs.length; n++) {
      const i = placesOf[column.number][n].get(a), j = placesOf[column.number][n].get(b);
      if (i === undefined || j === undefined) continue;
      const letters = column.signs[n][1];
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
  const answered = new Map();
  const fillAnswers = (found) => {
    const { chosen } = found;
    const condition = chosen.condition || data.usual;
    const columns = data.columns.filter((c, k) => c.plain && c.condition === condition && found.tasks.has(k));
    const total = new Set(columns.map((c) => c.task)).size;
    const spoken = new Set(columns.map((c) => c.language)).size;
    // A choice among tasks of one language has no mean of its own: then scores of single tasks stand.
    const whole = data.columns.filter((c) => c.plain && c.condition === condition && (!chosen.language || c.language === chosen.language)).length === columns.length;
    for (const article of scope.querySelectorAll("article.answer")) {
      const family = article.dataset.family;
      const [title] = data.families[family];
      const own = found.systems.filter((i) => data.systems[i][2] === family);
      const scoredOn = (i) => columns.filter((c) => cellOf[c.number].has(i));
      const figure = (i) => {
        if (whole) return mean(i, chosen) && [mean(i, chosen)[3], mean(i, chosen)[4], mean(i, chosen)[5]];
        const on = scoredOn(i);
        const cell = on.length === 1 && cellOf[on[0].number].get(i);
        return cell ? [cell[1], cell[2], cell[3]] : null;
      };
      const rated = own.map((i) => [i, new Set(scoredOn(i).map((c) => c.task)).size, figure(i)]).filter((r) => r[1] && r[2]);
      const most = Math.max(0, ...rated.map((r) => r[1]));
      rated.sort((a, b) => (b[1] === most) - (a[1] === most) || b[2][2] - a[2][2] || (data.systems[a[0]][0] < data.systems[b[0]][0] ? 1 : -1));
      const heading = make("h2", { title: data.families[family][1] }, title);
      // An answer that says the same is left as it stands.
      const stands = (said) => {
        const key = JSON.stringify(said);
        const same = answered.get(article) === key;
        answered.set(article, key);
        return same;
      };
      if (!rated.length) {
        const planned = data.planned.filter((p) => p[1] === family).map((p) => p[0]);
        const others = data.systems.some((s) => s[2] === family);
        const said = any(chosen) && others ? "None that fits this choice was measured." : planned.length ? `Planned: ${planned.slice(0, 2).join(" and ")}${planned.length > 2 ? ` and ${planned.length - 2} more` : ""}${reason(family)}.` : "Nobody has run one here.";
        if (!stands(said)) article.replaceChildren(heading, make("p", { class: "who" }, "none measured"), make("p", { class: "small" }, said));
        continue;
      }
      const [best, tasks, shown] = rated[0];
      const s = data.systems[best];
      const met = opponents(best, columns);
      if (stands([best, tasks, total, shown, [...met]])) continue;
      const small = make("p", { class: "small" }, `${met.size ? "" : "Tested against nobody. "}${counted(tasks, "task")}`);
      if (s[9]) small.append(", ", make("a", { class: "term", href: "#t-seeds" }, "one seed"));
      article.replaceChildren(
        heading,
        make("p", { class: "who" }, mark(s[3]), make("a", { href: s[10] }, s[0])),
        make("p", { class: "figure" }, make("b", null, shown[0]), " ", make("span", { class: "ci" }, shown[1])),
        ...(tasks < total ? [make("p", { class: "part" }, `on ${tasks} of ${total} tasks alone: not comparable with a mean over all`)] : []),
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
      said.textContent = columns.length ? `Best of each family${language ? ` in ${language}` : ""}${audio ? `, ${audio}` : ""}${chosen.size || chosen.licence || chosen.track || chosen.family || chosen.unseen ? ", among the systems chosen" : ""}${chosen.q ? `, for “${chosen.q}”` : ""}${whole && total > 1 && found.systems.length ? `, mean over ${spoken > 1 ? counted(spoken, "language") : counted(total, "task")}` : ""}` : "Best of each family";
    }
  };
  const reason = (family) => {
    const found = data.planned.find((p) => p[1] === family);
    return found && found[2] ? `; ${found[2].split(":")[0].slice(0, 60)}` : "";
  };
  // What was not measured, what is known of it, and what it would take.
  const fillLacking = (found, columns) => {
    const place = document.getElementById("lacking");
    const { chosen } = found;
    // A language that was not measured is also asked for by a word of the search, which then finds nothing.
    const sought = found.systems.length ? [] : words(chosen.q);
    const unmeasured = data.languages.find((l) => sought.includes(l[1].toLowerCase()) && !data.columns.some((c) => c.language === l[0]));
    const language = data.languages.find((l) => l[0] === chosen.language) || unmeasured;
    place.hidden = true;
    place.replaceChildren();
    const heard = sought.find((w) => [...fields.condition.options].some((o) => o.value === w));
    if (heard && !chosen.condition) {
      place.append(`The search is over systems, tasks and languages. “${heard}” is a kind of audio: choose it under “audio”.`);
      place.hidden = false;
    }
    if ((columns.length && !unmeasured) || !(language || chosen.condition)) return;
    const inLanguage = data.columns.filter((c) => !language || c.language === language[0]);
    const parts = [];
    if (language && !inLanguage.length) {
      parts.push(make("b", null, `No ${language[1]} was measured.`), " ");
      if (language[4].length) {
        const named = language[4].slice(0, 6).map(([name, , access, licence]) => `${name} (access: ${access}; licence: ${licence})`);
        parts.push(`Catalogued: ${named.join(", ")}${language[4].length > 6 ? ` and ${language[4].length - 6} more` : ""}. `);
      } else parts.push("No corpus of it is catalogued either. ");
      const spoken = [...new Set(data.columns.filter((c) => chosen.condition && c.condition === chosen.condition).map((c) => c.language))];
      const names = spoken.map((tag) => (data.languages.find((l) => l[0] === tag) || [tag, tag])[1]);
      if (names.length) parts.push(`Under ${chosen.condition} there is: ${names.join(", ")}. `);
    } else {
      parts.push(make("b", null, `${language ? language[1] : "No task"} was ${language ? "not " : ""}measured under ${chosen.condition || "this audio"}.`), " ");
      const known = [...new Set(inLanguage.map((c) => c.condition))];
      if (known.length) parts.push(`Measured: ${known.join(", ")}. `);
    }
    if (data.needs) parts.push(`What it would take: ${data.needs[0].toLowerCase()}${data.needs.slice(1)} `, make("code", null, "serbench power"), " plans other cases.");
    place.append(...parts);
    place.hidden = false;
  };
