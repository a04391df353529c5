// The gallery: two answers on one photo with a line between them, small pictures of all, and one photo at full size.

const VIEWS = { image: "photo", truth: "truth", zero_shot: "zero-shot", tuned: "tuned", best: "baseline" };
const PAGE = 12;
const TALLEST = 21; // rem
const FARTHEST = 16; // times larger
const exhibits = JSON.parse(byId("exhibits").textContent);
let limit = PAGE;

function options(select, values, chosen) {
  select.replaceChildren(...values.map(([value, text]) => element("option", { value, textContent: text })));
  select.value = values.some(([value]) => value === chosen) ? chosen : values[0][0];
}

function counted(all, items, key) {
  const names = [...new Set(items.map((one) => one[key]))].sort();
  return [["", `${all} (${items.length})`],
    ...names.map((name) => [name, `${name} (${items.filter((one) => one[key] === name).length})`])];
}

function ordered(items, order) {
  const last = (value) => value ?? Infinity; // what is not known comes last
  const keys = {
    failure: (one) => last(one.tuned),
    gain: (one) => last(one.gain === null ? null : -one.gain),
    loss: (one) => last(one.gain),
    area: (one) => one.area,
  };
  if (!(order in keys)) return items; // as packed: a best gain, a worst failure, and so on
  return [...items].sort((a, b) => keys[order](a) - keys[order](b));
}

const viewsOf = (one) => Object.keys(VIEWS).filter((view) => view === "image" || view in one.layers);

// Photo, prediction and truth as layers; truth and prediction as fill or as outline, as the form says.
function paint(stack, one, view, modes) {
  const photo = element("img", { src: one.photo, alt: "" });
  photo.classList.toggle("grey", view !== "image");
  const layers = [photo];
  if (view === "truth") layers.push(element("img", { src: one.layers.truth[modes.truth === "off" ? "fill" : modes.truth], alt: "" }));
  else if (view !== "image") layers.push(element("img", { src: one.layers[view][modes.prediction], alt: "" }));
  if (view !== "truth" && view !== "image" && modes.truth !== "off" && one.layers.truth) {
    layers.push(element("img", { src: one.layers.truth[modes.truth], alt: "" }));
  }
  stack.replaceChildren(...layers);
}

const form = byId("controls")?.elements;
const modesNow = () => ({ truth: form.truth.value, prediction: form.prediction.value });

function facts(one) {
  return [one.group.split(" (")[0], one.class_name, `${Number((100 * one.area).toPrecision(2))} % defect`].join(" · ");
}

function card(one, left, right) {
  const has = (view) => (viewsOf(one).includes(view) ? view : "image");
  const chosen = { left: has(left), right: has(right) };
  const sides = { left: element("div", { className: "side left" }), right: element("div", { className: "side right" }) };
  const tags = { left: element("span"), right: element("span") };
  const slider = element("input", { type: "range", min: 0, max: 100, step: "any", value: one.middle });
  const stage = element("div", { className: "stage" }, sides.left, sides.right, element("i", { className: "divider" }), slider);
  const ratio = one.hw[1] / one.hw[0];
  stage.style.aspectRatio = String(ratio);
  const width = `min(100%, ${(TALLEST * ratio).toFixed(1)}rem)`; // upright pictures do not fill the screen
  stage.style.width = width;
  const below = element("div", { className: "sides" }, tags.left, tags.right);
  below.style.width = width;
  const strip = element("div", { className: "strip" });

  function show() {
    for (const side of ["left", "right"]) {
      paint(sides[side], one, chosen[side], modesNow());
      tags[side].textContent = side === "left" ? `◂ ${VIEWS[chosen.left]}` : `${VIEWS[chosen.right]} ▸`;
    }
    slider.setAttribute("aria-label", `${one.id}: ${VIEWS[chosen.left]} left of the line, ${VIEWS[chosen.right]} right`);
    for (const button of strip.children) button.setAttribute("aria-pressed", String(button.dataset.view === chosen.right));
  }

  function move() {
    stage.style.setProperty("--cut", `${slider.value}%`);
    slider.setAttribute("aria-valuetext", `line at ${Math.round(slider.value)} %`);
  }

  for (const view of viewsOf(one)) {
    const small = element("div", { className: "small" });
    small.style.aspectRatio = String(ratio);
    paint(small, one, view, { truth: "off", prediction: "fill" });
    const button = element("button", { type: "button", title: one.names[view] ?? VIEWS[view] }, small,
      element("span", { textContent: VIEWS[view] }), element("small", { textContent: one.scores[view] ?? "" }));
    button.dataset.view = view;
    button.addEventListener("click", () => { chosen.right = view; show(); });
    strip.append(button);
  }
  slider.addEventListener("input", move);
  const enlarge = element("button", { type: "button", className: "enlarge", textContent: "Enlarge", ariaLabel: `Enlarge ${one.id}` });
  enlarge.addEventListener("click", () => viewer.open(one, chosen.right));
  const made = element("article", { className: ratio > 2.5 ? "card long" : "card" },
    element("header", {}, element("h3", { textContent: one.id }), enlarge),
    element("p", { className: "facts", textContent: facts(one) }));
  if (one.gain !== null) {
    const better = one.gain >= 0;
    made.append(element("p", { className: better ? "gain" : "gain worse",
      textContent: `${better ? "▲" : "▼"} tuning: ${one.gain_text}` }));
  }
  made.append(stage, below, strip);
  move();
  show();
  return made;
}

function draw() {
  const group = form.group.value;
  const inGroup = exhibits.filter((one) => !group || one.group === group);
  options(form.class, counted("all", inGroup, "class_name"), form.class.value);
  const chosen = ordered(inGroup.filter((one) => !form.class.value || one.class_name === form.class.value), form.order.value);
  const shown = chosen.slice(0, limit);
  byId("cards").replaceChildren(...shown.map((one) => card(one, form.left.value, form.right.value)));
  byId("shown").textContent = `${shown.length} of ${chosen.length} images`;
  byId("more").hidden = shown.length === chosen.length;
}

// --- One photo at full size: zoom by wheel, buttons or + and -, pan by dragging or arrow keys. ------------------------

const viewer = {
  one: null, view: "image", scale: 1, x: 0, y: 0,

  open(one, view) {
    Object.assign(this, { one, view });
    byId("viewer-name").textContent = one.id;
    byId("viewer-facts").textContent = facts(one);
    byId("viewer-views").replaceChildren(...viewsOf(one).map((name) => {
      const button = element("button", { type: "button", textContent: VIEWS[name] + (one.scores[name] ? ` · ${one.scores[name]}` : "") });
      button.dataset.view = name;
      button.addEventListener("click", () => { this.view = name; this.show(); });
      return button;
    }));
    for (const name of ["truth", "prediction"]) byId(`viewer-${name}`).value = form[name].value;
    this.reset();
    this.show();
    byId("viewer").showModal();
  },

  show() {
    const [height, width] = this.one.hw;
    byId("canvas").style.aspectRatio = String(width / height);
    byId("canvas").style.width = `min(100%, ${(62 * width / height).toFixed(1)}vh)`;
    paint(byId("layers"), this.one, this.view, { truth: byId("viewer-truth").value, prediction: byId("viewer-prediction").value });
    byId("canvas").setAttribute("aria-label", `${this.one.id}: ${VIEWS[this.view]}`);
    for (const button of byId("viewer-views").children) button.setAttribute("aria-pressed", String(button.dataset.view === this.view));
  },

  // Scale about a point of the frame (shares of its sides); the picture never leaves the frame.
  zoom(times, px = 0.5, py = 0.5) {
    const scale = Math.min(FARTHEST, Math.max(1, this.scale * times));
    this.move(px - (px - this.x) * (scale / this.scale), py - (py - this.y) * (scale / this.scale), scale);
  },

  move(x, y, scale = this.scale) {
    this.scale = scale;
    this.x = Math.min(0, Math.max(1 - scale, x));
    this.y = Math.min(0, Math.max(1 - scale, y));
    byId("layers").style.transform = `translate(${100 * this.x}%, ${100 * this.y}%) scale(${scale})`;
    byId("zoom").textContent = `${Math.round(100 * scale)} %`;
  },

  reset() { this.move(0, 0, 1); },
};

function followPointer(frame) {
  const share = (event) => {
    const box = frame.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  };
  let last = null;
  frame.addEventListener("wheel", (event) => {
    event.preventDefault();
    viewer.zoom(event.deltaY < 0 ? 1.25 : 0.8, ...share(event));
  }, { passive: false });
  frame.addEventListener("dblclick", (event) => viewer.zoom(2, ...share(event)));
  frame.addEventListener("pointerdown", (event) => { last = share(event); frame.setPointerCapture(event.pointerId); });
  frame.addEventListener("pointermove", (event) => {
    if (!last) return;
    const now = share(event);
    viewer.move(viewer.x + now[0] - last[0], viewer.y + now[1] - last[1]);
    last = now;
  });
  for (const name of ["pointerup", "pointercancel"]) frame.addEventListener(name, () => { last = null; });
  const keys = {
    "+": () => viewer.zoom(1.5), "-": () => viewer.zoom(1 / 1.5), 0: () => viewer.reset(),
    ArrowLeft: () => viewer.move(viewer.x + 0.1, viewer.y), ArrowRight: () => viewer.move(viewer.x - 0.1, viewer.y),
    ArrowUp: () => viewer.move(viewer.x, viewer.y + 0.1), ArrowDown: () => viewer.move(viewer.x, viewer.y - 0.1),
  };
  frame.addEventListener("keydown", (event) => {
    if (!(event.key in keys)) return;
    event.preventDefault();
    keys[event.key]();
  });
}

if (exhibits.length) {
  const present = Object.entries(VIEWS).filter(([view]) => exhibits.some((one) => viewsOf(one).includes(view)));
  options(form.group, counted("all", exhibits, "group"), "");
  options(form.class, counted("all", exhibits, "class_name"), "");
  options(form.left, present, "zero_shot");
  options(form.right, present, "tuned");
  byId("controls").addEventListener("change", () => { limit = PAGE; draw(); });
  byId("more").addEventListener("click", () => {
    const first = limit;
    limit += PAGE;
    draw();
    byId("cards").children[first]?.querySelector("input").focus();
  });
  followPointer(byId("canvas"));
  byId("larger").addEventListener("click", () => viewer.zoom(1.5));
  byId("smaller").addEventListener("click", () => viewer.zoom(1 / 1.5));
  byId("fit").addEventListener("click", () => viewer.reset());
  byId("viewer-close").addEventListener("click", () => byId("viewer").close());
  for (const name of ["truth", "prediction"]) byId(`viewer-${name}`).addEventListener("change", () => viewer.show());
  draw();
}
