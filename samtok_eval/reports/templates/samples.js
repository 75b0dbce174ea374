
"use strict";
// All samples of a run: filtered, sorted and turned by the page; masks are drawn from their run lengths.
//   index.js      samtokIndex({ids, phrases, scores, before, statuses, slices, shard, ...}), a column for each
//   shards/N.js   samtokShard(N, [{picture, size, masks, objects, told, without, question, answer, facts}, ...]), loaded when shown
// Masks of one object have one number in `objects`, by which they are coloured; `told` are passages, lines of [text, number].
// The address keeps what is looked at: #sample=ID&sort=low&slice=kind:multi&page=2. Texts are set as text, never as markup.
(() => {
  const PAGE = 24;
  const LAYERS = ["asked", "reference", "prediction", "baseline", "oracle"];
  // Okabe and Ito's colours, which people with any kind of colour vision can tell apart.
  const COLOURS = { asked: [230, 159, 0], reference: [0, 158, 115], prediction: [213, 94, 0], baseline: [86, 180, 233],
    oracle: [204, 121, 167] };
  const INSTANCES = [[0, 158, 115], [230, 159, 0], [86, 180, 233], [204, 121, 167], [0, 114, 178], [213, 94, 0], [240, 228, 66]];
  const BOTH = [0, 114, 178], ONLY_PREDICTION = [213, 94, 0], ONLY_REFERENCE = [240, 228, 66];
  // A phrase in front, as grounded captions have it, then one mask in words, cut off or not.
  const SPAN = /(<\|object_ref_start\|>[^<]*<\|object_ref_end\|>\s*|<p>[^<]*<\/p>\s*)?<\|mt_start\|>(?:<\|mt_\d+\|>)*(?:<\|mt_end\|>)?/g;

  const filters = document.querySelector("[data-filters]");
  const overlays = document.querySelector("[data-overlays]");
  const cards = document.querySelector("[data-cards]");
  const status = document.querySelector("[data-status]");
  const dialog = document.querySelector("dialog[data-sample]");
  const place = dialog.querySelector("[data-place]");
  const turn = document.querySelectorAll("[data-page]");
  const shards = new Map();
  const waiting = new Map();
  let index = null, order = [], rows = [], page = 0, filling = 0, open = null, view = null;

  const element = (name, text, attributes = {}) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };

  // A page that is opened from a disk may load scripts of its folder, and no other data.
  window.samtokShard = (number, samples) => { shards.set(number, samples); waiting.get(number)?.resolve(samples); };
  const shardOf = (number) => {
    if (shards.has(number)) return Promise.resolve(shards.get(number));
    if (!waiting.has(number)) {
      const promise = {};
      promise.done = new Promise((resolve, reject) => { promise.resolve = resolve; promise.reject = reject; });
      waiting.set(number, promise);
      const script = element("script", undefined, { src: `shards/${number}.js` });
      script.onerror = () => promise.reject(new Error(`shards/${number}.js is missing`));
      script.onload = () => script.remove();
      document.head.append(script);
    }
    return waiting.get(number).done;
  };
  const sampleOf = async (row) => (await shardOf(Math.floor(row / index.shard)))[row % index.shard];

  // COCO's compressed run lengths: six bits a character, the lowest five first; from the third run on differences to the
  // last run but one. Runs go down the columns, background first.
  function decoded(counts, size) {
    const [height, width] = size;
    const mask = new Uint8Array(height * width);
    const runs = [];
    let at = 0, pixel = 0, inside = 0;
    while (at < counts.length) {
      let value = 0, shift = 0, more = true;
      while (more && at < counts.length) {
        const bits = counts.charCodeAt(at++) - 48;
        value |= (bits & 31) << shift;
        shift += 5;
        more = (bits & 32) !== 0;
        if (!more && (bits & 16)) value |= -1 << shift;
      }
      if (runs.length > 2) value += runs[runs.length - 2];
      runs.push(value);
      for (const end = Math.min(pixel + value, mask.length); pixel < end; pixel++) {
        if (inside) mask[(pixel % height) * width + Math.floor(pixel / height)] = 1;
      }
      inside = 1 - inside;
    }
    return mask;
  }

  function prepared(sample) {
    const masks = {}, colours = {};
    for (const layer of LAYERS) {
      masks[layer] = (sample.masks?.[layer] ?? []).map((counts) => decoded(counts, sample.size));
      const numbers = sample.objects?.[layer];
      colours[layer] = masks[layer].map((_, i) => numbers ? INSTANCES[numbers[i] % INSTANCES.length] : COLOURS[layer]);
    }
    return { masks, colours };
  }

  const chosen = (name) => overlays.elements[name].checked;

  function painted(sample, { masks, colours }) {
    const [height, width] = sample.size;
    const image = new ImageData(width, height);
    const data = image.data, alpha = Math.round(2.55 * overlays.elements.opacity.value);
    const outlines = chosen("outlines");
    const set = (k, [red, green, blue], strength) => {
      data[4 * k] = red; data[4 * k + 1] = green; data[4 * k + 2] = blue; data[4 * k + 3] = Math.max(strength, data[4 * k + 3]);
    };
    // A line as thick on the shown picture whatever its size.
    const line = Math.max(1, Math.round(Math.max(width, height) / 320));
    const draw = (mask, colour, filled = !outlines, thick = line) => {
      for (let y = 0, k = 0; y < height; y++) for (let x = 0; x < width; x++, k++) {
        if (!mask[k]) continue;
        const edge = x < thick || y < thick || x + thick >= width || y + thick >= height ||
          !mask[k - thick] || !mask[k + thick] || !mask[k - thick * width] || !mask[k + thick * width];
        if (edge) set(k, colour, 255); else if (filled) set(k, colour, alpha);
      }
    };
    if (chosen("difference") && masks.reference.length + masks.prediction.length) {
      const all = (several) => several.reduce((a, b) => a.map((value, k) => value | b[k]), new Uint8Array(width * height));
      const right = all(masks.reference), marked = all(masks.prediction);
      draw(right.map((value, k) => value & marked[k]), BOTH);
      draw(marked.map((value, k) => value & (1 - right[k])), ONLY_PREDICTION);
      draw(right.map((value, k) => value & (1 - marked[k])), ONLY_REFERENCE);
    }
    // What is right is a line around what came back, so that both are seen where they overlap.
    const around = chosen("prediction") || chosen("difference");
    for (const layer of ["asked", "prediction", "baseline", "oracle", "reference"]) {
      if (!chosen(layer)) continue;
      const lined = layer === "reference" && around;
      masks[layer].forEach((mask, i) => draw(mask, colours[layer][i], !outlines && !lined, lined ? 2 * line : line));
    }
    const layer = element("canvas", undefined, { width, height });
    layer.getContext("2d").putImageData(image, 0, 0);
    return { layer, chips: chosen("numbers") ? chips(sample, masks) : [] };
  }

  // A number in each mask that is shown, near its middle and apart from the others; an object has one, whoever marked it.
  function chips(sample, masks) {
    const [height, width] = sample.size, apart = 0.1 * Math.max(height, width), placed = new Map();
    for (const layer of ["reference", "prediction", "baseline", "oracle", "asked"]) {
      const numbers = sample.objects?.[layer];
      if (!numbers || !chosen(layer)) continue;
      masks[layer].forEach((mask, i) => {
        const name = layer === "asked" ? `asked ${numbers[i]}` : numbers[i];
        if (placed.has(name)) return;
        let count = 0, x = 0, y = 0;
        mask.forEach((inside, k) => { if (inside) { count++; x += k % width; y += Math.floor(k / width); } });
        let best = null, least = Infinity;
        mask.forEach((inside, k) => {
          if (!inside) return;
          const at = [k % width, Math.floor(k / width)];
          const far = (at[0] - x / count) ** 2 + (at[1] - y / count) ** 2;
          if (far >= least) return;
          for (const other of placed.values()) if ((at[0] - other[0]) ** 2 + (at[1] - other[1]) ** 2 < apart ** 2) return;
          best = at; least = far;
        });
        if (best) placed.set(name, [...best, numbers[i]]);
      });
    }
    return [...placed.values()];
  }

  function photograph(name) {
    return new Promise((resolve) => {
      if (!name) { resolve(null); return; }
      const image = new Image();
      image.onload = () => resolve(image);
      image.onerror = () => resolve(null);
      image.src = `pictures/${name}`;
    });
  }

  function put(canvas, photo, { layer, chips }, moved = { scale: 1, x: 0, y: 0 }) {
    const context = canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.setTransform(moved.scale, 0, 0, moved.scale, moved.x, moved.y);
    context.imageSmoothingEnabled = moved.scale < 3;
    if (photo && chosen("picture")) {
      // Masks stand out on a photograph without colours.
      context.filter = LAYERS.some(chosen) || chosen("difference") ? "grayscale(0.8) brightness(0.95)" : "none";
      context.drawImage(photo, 0, 0, canvas.width, canvas.height);
      context.filter = "none";
    }
    context.drawImage(layer, 0, 0, canvas.width, canvas.height);
    const factor = canvas.width / layer.width, radius = 0.035 * Math.max(canvas.width, canvas.height) / moved.scale;
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.font = `700 ${1.3 * radius}px system-ui, sans-serif`;
    for (const [x, y, number] of chips) {
      const [red, green, blue] = INSTANCES[number % INSTANCES.length];
      context.beginPath();
      context.arc((x + 0.5) * factor, (y + 0.5) * factor, radius, 0, 2 * Math.PI);
      context.fillStyle = `rgb(${red} ${green} ${blue})`;
      context.fill();
      context.strokeStyle = "#000";
      context.lineWidth = radius / 10;
      context.stroke();
      context.fillStyle = 3 * red + 6 * green + blue > 1000 ? "#000" : "#fff";
      context.fillText(String(number + 1), (x + 0.5) * factor, (y + 0.5) * factor);
    }
  }

  const number = (value) => value === null ? "–" : value.toFixed(1);
  const scoreOf = (row) => {
    const now = number(index.scores[row]), before = index.before[row];
    return before === null ? now : `${number(before)} → ${now}`;
  };
  const labelOf = (row) => index.phrases[row] || index.ids[row];

  // Mask words of an answer in the colours of their masks, a phrase in front of them included.
  function marked(text, colours) {
    const made = element("pre");
    let end = 0, mask = 0;
    for (const found of text.matchAll(SPAN)) {
      made.append(text.slice(end, found.index));
      const mark = element("mark", found[0]);
      const colour = colours[mask++];
      if (colour) mark.style.borderColor = `rgb(${colour.join(" ")})`;
      made.append(mark);
      end = found.index + found[0].length;
    }
    made.append(text.slice(end));
    return made;
  }

  // What the task says of a sample: words that stand for a mask have its colour and number.
  function told([title, lines]) {
    const made = element("div", undefined, { class: "told" });
    made.append(element("span", title, { class: "what" }));
    for (const line of lines) {
      const words = element("bdi");
      for (const [text, number] of line) {
        if (number === null) { words.append(text); continue; }
        const mark = element("mark", undefined, { class: `object-${number % INSTANCES.length}` });
        mark.append(element("span", String(number + 1), { class: "number" }), text);
        words.append(mark);
      }
      const shown = element("p");
      shown.append(words);
      made.append(shown);
    }
    return made;
  }

  async function card(row) {
    const made = element("article", undefined, { class: "card" });
    const head = element("h4");
    head.append(element("bdi", labelOf(row)), element("span", scoreOf(row), { class: "score" }));
    const button = element("button", undefined, { type: "button", class: "open", "aria-label": `Open sample ${index.ids[row]}` });
    const canvas = element("canvas");
    button.append(canvas);
    button.addEventListener("click", () => show(row));
    made.append(head, button);
    const sample = await sampleOf(row);
    [canvas.height, canvas.width] = sample.size;
    const ready = prepared(sample), photo = await photograph(sample.picture);
    made.redraw = () => put(canvas, photo, painted(sample, ready));
    made.redraw();
    for (const line of sample.without ?? []) made.append(element("p", line, { class: "what" }));
    for (const passage of sample.told ?? []) made.append(told(passage));
    return made;
  }

  async function fill() {
    // What is slow to load must not take the place of what was asked for after it.
    const mine = ++filling;
    cards.setAttribute("aria-busy", "true");
    const first = page * PAGE, shown = rows.slice(first, first + PAGE);
    status.textContent = rows.length
      ? `${first + 1} to ${first + shown.length} of ${rows.length}` + (rows.length < order.length ? ` (${order.length} in all)` : "")
      : `none of ${order.length} samples fits`;
    turn[0].disabled = page === 0;
    turn[1].disabled = first + PAGE >= rows.length;
    const made = await Promise.all(shown.map((row) => card(row).catch((error) => element("p", error.message, { class: "warning" }))));
    if (mine !== filling) return;
    cards.replaceChildren(...made);
    cards.setAttribute("aria-busy", "false");
  }

  function fitting(wanted) {
    const words = wanted.q.toLowerCase().split(/\s+/).filter(Boolean);
    const [name, ...rest] = wanted.slice.split(":");
    const column = wanted.slice ? index.slices[name] : null;
    const code = column ? column.values.indexOf(rest.join(":")) : -1;
    const statusCode = wanted.status ? index.statuses.values.indexOf(wanted.status) : -1;
    const low = wanted.from === "" ? -Infinity : Number(wanted.from), high = wanted.to === "" ? Infinity : Number(wanted.to);
    const bounded = wanted.from !== "" || wanted.to !== "";
    return (row) => {
      const score = index.scores[row];
      if (bounded && (score === null || score < low || score > high)) return false;
      if (wanted.change) {
        const by = change(row);
        if (by === null) return false;
        if (wanted.change !== (by < 0 ? "worse" : by > 0 ? "better" : "equal")) return false;
      }
      if (wanted.status && index.statuses.codes[row] !== statusCode) return false;
      if (column && column.codes[row] !== code) return false;
      const text = `${index.ids[row]} ${index.phrases[row]}`.toLowerCase();
      return words.every((word) => text.includes(word));
    };
  }

  const change = (row) => index.before[row] === null || index.scores[row] === null ? null :
    (index.lower ? index.before[row] - index.scores[row] : index.scores[row] - index.before[row]);
  const SORTS = {
    order: null, low: [(row) => index.scores[row], 1], high: [(row) => index.scores[row], -1], worse: [change, 1], better: [change, -1],
  };

  function choose(keepPage = false) {
    const wanted = Object.fromEntries(new FormData(filters));
    rows = order.filter(fitting(wanted));
    const sort = SORTS[wanted.sort];
    if (sort) {
      const [key, sign] = sort;
      // What has no score comes last.
      rows.sort((a, b) => { const x = key(a), y = key(b); return x === null || y === null ? (x === null) - (y === null) : sign * (x - y) || a - b; });
    }
    if (!keepPage) page = 0;
    page = Math.max(0, Math.min(page, Math.ceil(rows.length / PAGE) - 1));
    remember();
    return fill();
  }

  function remember() {
    const kept = new URLSearchParams();
    if (open !== null) kept.set("sample", index.ids[open]);
    for (const [name, value] of new FormData(filters)) if (value && value !== "order") kept.set(name, value);
    if (page) kept.set("page", String(page + 1));
    const hash = kept.toString();
    history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search);
  }

  function recall() {
    const kept = new URLSearchParams(location.hash.slice(1));
    for (const field of filters.elements) if (field.name) field.value = kept.get(field.name) ?? field.options?.[0].value ?? "";
    page = Math.max(0, (Number(kept.get("page")) || 1) - 1);
    const wanted = kept.has("sample") ? index.ids.indexOf(kept.get("sample")) : -1;
    const drawn = choose(true);
    if (wanted >= 0) show(wanted);
    else if (kept.has("sample")) status.textContent = `there is no sample ${kept.get("sample")}`;
    else if (dialog.open) dialog.close();
    return drawn;
  }

  async function show(row) {
    open = row;
    remember();
    if (!dialog.open) dialog.showModal();
    const at = rows.indexOf(row);
    dialog.querySelector("[data-count]").textContent = at < 0 ? "" : `${at + 1} of ${rows.length}`;
    const sample = await sampleOf(row);
    const ready = prepared(sample), photo = await photograph(sample.picture);
    if (open !== row) return;
    const made = element("div", undefined, { class: "sample" });
    const left = element("div"), right = element("div");
    const canvas = element("canvas", undefined, { tabindex: "0", "aria-label": "Picture with masks; drag to move, + and - to zoom" });
    const factor = Math.max(1, Math.ceil(900 / Math.max(...sample.size)));
    [canvas.height, canvas.width] = sample.size.map((side) => side * factor);
    const moved = { scale: 1, x: 0, y: 0 };
    let layer = painted(sample, ready);
    view = { canvas, moved, redraw: () => { layer = painted(sample, ready); put(canvas, photo, layer, moved); }, move: () => put(canvas, photo, layer, moved) };
    drags(canvas);
    left.append(canvas);
    const head = element("h4");
    head.append(element("bdi", labelOf(row)), " ", element("span", scoreOf(row), { class: "score" }));
    right.append(head);
    for (const line of sample.without ?? []) right.append(element("p", line, { class: "warning" }));
    if (sample.error) right.append(element("pre", sample.error));
    for (const passage of sample.told ?? []) right.append(told(passage));
    const parts = [["question", sample.question, null], ["answer, as the model wrote it", sample.answer, ready.colours.prediction],
      ["the baseline's answer", sample.before, ready.colours.baseline]];
    for (const [what, text, colours] of parts) {
      if (text === undefined) continue;
      right.append(element("p", what, { class: "what" }), colours ? marked(text, colours) : element("pre", text));
    }
    const facts = element("dl");
    for (const [name, value] of sample.facts ?? []) {
      const told = element("dd");
      told.append(element("bdi", value));
      facts.append(element("dt", name), told);
    }
    right.append(facts);
    made.append(left, right);
    place.replaceChildren(made);
    view.move();
    dialog.dataset.shown = index.ids[row];
  }

  function zoom(factor, x = view.canvas.width / 2, y = view.canvas.height / 2) {
    const { moved } = view;
    if (!factor) Object.assign(moved, { scale: 1, x: 0, y: 0 });
    else {
      const scale = Math.min(40, Math.max(1, moved.scale * factor)), ratio = scale / moved.scale;
      Object.assign(moved, { scale, x: x - ratio * (x - moved.x), y: y - ratio * (y - moved.y) });
      if (scale === 1) Object.assign(moved, { x: 0, y: 0 });
    }
    view.canvas.dataset.scale = moved.scale.toFixed(2);
    view.move();
  }

  function drags(canvas) {
    const at = (event) => {
      const box = canvas.getBoundingClientRect();
      return [(event.clientX - box.left) * canvas.width / box.width, (event.clientY - box.top) * canvas.height / box.height];
    };
    let last = null;
    canvas.addEventListener("pointerdown", (event) => { last = at(event); canvas.setPointerCapture(event.pointerId); });
    canvas.addEventListener("pointerup", () => { last = null; });
    canvas.addEventListener("pointermove", (event) => {
      if (!last) return;
      const now = at(event);
      view.moved.x += now[0] - last[0];
      view.moved.y += now[1] - last[1];
      last = now;
      view.move();
    });
    canvas.addEventListener("wheel", (event) => { event.preventDefault(); zoom(event.deltaY < 0 ? 1.2 : 1 / 1.2, ...at(event)); }, { passive: false });
  }

  function step(by) {
    const at = rows.indexOf(open);
    if (!rows.length) return;
    const next = at < 0 ? 0 : (at + by + rows.length) % rows.length;
    page = Math.floor(next / PAGE);
    fill();
    show(rows[next]);
  }

  function turned(by) {
    const last = Math.max(0, Math.ceil(rows.length / PAGE) - 1);
    const next = Math.min(last, Math.max(0, page + by));
    if (next === page) return;
    page = next;
    remember();
    fill();
  }

  window.samtokIndex = (given) => {
    index = given;
    order = index.ids.map((_, row) => row);
    const option = (select, value, text) => select.append(element("option", text, { value }));
    const count = (codes, code) => codes.reduce((sum, each) => sum + (each === code), 0);
    index.statuses.values.forEach((value, code) => option(filters.elements.status, value, `${value} (${count(index.statuses.codes, code)})`));
    for (const [name, column] of Object.entries(index.slices)) {
      const group = element("optgroup", undefined, { label: name });
      column.values.forEach((value, code) => { if (value) option(group, `${name}:${value}`, `${value} (${count(column.codes, code)})`); });
      filters.elements.slice.append(group);
    }
    const compared = index.baseline !== null;
    for (const part of document.querySelectorAll("[data-compared]")) part.hidden = !compared;
    overlays.elements.baseline.closest("label").hidden = !compared;
    for (const path of index.missing) {
      cards.before(element("p", `The picture ${path} cannot be read; its masks stand on an empty ground.`, { class: "warning" }));
    }
    filters.addEventListener("input", () => choose());
    filters.addEventListener("submit", (event) => event.preventDefault());
    filters.addEventListener("reset", () => setTimeout(choose));
    overlays.addEventListener("input", () => {
      for (const each of cards.children) each.redraw?.();
      if (dialog.open) view?.redraw();
    });
    for (const button of turn) button.addEventListener("click", () => turned(Number(button.dataset.page)));
    for (const button of dialog.querySelectorAll("[data-step]")) button.addEventListener("click", () => step(Number(button.dataset.step)));
    for (const button of dialog.querySelectorAll("[data-zoom]")) button.addEventListener("click", () => zoom(Number(button.dataset.zoom)));
    dialog.querySelector("[data-close]").addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => { open = null; remember(); });
    document.addEventListener("keydown", (event) => {
      if (event.target.matches("input, select, textarea") && event.target.type !== "checkbox") return;
      const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (by) { if (dialog.open) step(by); else turned(by); }
      else if (event.key === "/" && !dialog.open) { event.preventDefault(); filters.elements.q.focus(); }
      else if (dialog.open && (event.key === "+" || event.key === "-")) zoom(event.key === "+" ? 1.5 : 1 / 1.5);
      else if (dialog.open && event.key === "0") zoom(0);
    });
    window.addEventListener("hashchange", recall);
    recall();
  };
})();
