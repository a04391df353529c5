"use strict";
// Sorting, the gallery, the theme and the clipboard. No library, no request; nothing here builds HTML from text.

const byId = (id) => document.getElementById(id);

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// --- Theme: the reader's system setting, until the button changes it. --------------------------------------

function remembered(name, value) {
  try { // a page opened from disk may be denied storage
    if (value !== undefined) localStorage.setItem(name, value);
    return localStorage.getItem(name);
  } catch { return null; }
}

function setTheme(dark) {
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  byId("theme").setAttribute("aria-pressed", String(dark));
}

const system = matchMedia("(prefers-color-scheme: dark)");
setTheme((remembered("theme") ?? (system.matches ? "dark" : "light")) === "dark");
system.addEventListener("change", () => { if (!remembered("theme")) setTheme(system.matches); });
byId("theme").addEventListener("click", () => {
  const dark = document.documentElement.dataset.theme !== "dark";
  setTheme(dark);
  remembered("theme", dark ? "dark" : "light");
});

// --- Tables: best first, then the other way round, then as printed in blocks. ---------------------------------------

function sortKey(cell) {
  const text = (cell.querySelector("small") ? cell.firstChild : cell).textContent.trim();
  const number = parseFloat(text.replace(/^[<>+]\s*/, ""));
  return { number, text };
}

function sortTable(table, column, direction) {
  const bodies = [...table.tBodies];
  bodies.forEach((body) => { body.original ??= [...body.rows]; });
  const original = bodies.flatMap((body) => body.original);
  table.classList.toggle("sorted", direction !== "none");
  if (direction === "none") {
    bodies.forEach((body) => body.append(...body.original));
    return;
  }
  const sign = direction === "ascending" ? 1 : -1;
  const keyed = original.filter((row) => !row.classList.contains("block"))
    .map((row) => ({ row, ...sortKey(row.cells[column]) }));
  const textual = keyed.every((one) => Number.isNaN(one.number));
  keyed.sort((a, b) => {
    if (textual) return sign * a.text.localeCompare(b.text, undefined, { numeric: true });
    if (Number.isNaN(a.number) || Number.isNaN(b.number)) { // a dash is last in both directions
      return Number.isNaN(a.number) - Number.isNaN(b.number);
    }
    return sign * (a.number - b.number);
  });
  bodies[0].append(...keyed.map((one) => one.row));
}

for (const button of document.querySelectorAll("button.sort")) {
  button.addEventListener("click", () => {
    const head = button.closest("th");
    const heads = [...head.parentElement.cells];
    const up = head.classList.contains("head") || button.textContent.includes("↓");
    const steps = up ? ["ascending", "descending", "none"] : ["descending", "ascending", "none"];
    const next = steps[(steps.indexOf(head.getAttribute("aria-sort")) + 1) % 3];
    heads.forEach((other) => other.setAttribute("aria-sort", "none"));
    head.setAttribute("aria-sort", next);
    sortTable(head.closest("table"), heads.indexOf(head), next);
  });
}

// --- Copy LaTeX: the clipboard, or a selected text where it is denied. -----------------------------------------------

const latex = JSON.parse(byId("latex").textContent);

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const dialog = byId("by-hand");
    const area = dialog.querySelector("textarea");
    area.value = text;
    dialog.showModal();
    area.focus();
    area.select();
    return;
  }
  byId("copied").textContent = "Copied.";
  setTimeout(() => { byId("copied").textContent = ""; }, 2500);
}

for (const button of document.querySelectorAll("button.latex")) {
  button.addEventListener("click", () => copy(latex[Number(button.dataset.table)]));
}

// --- Gallery ---------------------------------------------------------------------------------------------------------

const VIEWS = { image: "image", truth: "truth", zero_shot: "zero-shot", tuned: "tuned", best: "baseline" };
const PAGE = 12;
const TALLEST = 21; // rem
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
  const last = (value) => value ?? Infinity; // unknown values are last
  const keys = {
    gain: (one) => last(one.gain === null ? null : -one.gain),
    loss: (one) => last(one.gain),
    failure: (one) => last(one.tuned),
    area: (one) => one.area,
  };
  if (!(order in keys)) return items; // as packed: a best gain, a worst failure, and so on
  return [...items].sort((a, b) => keys[order](a) - keys[order](b));
}

function card(one, left, right) {
  const has = (view) => (view in one.views ? view : "image");
  const chosen = { left: has(left), right: has(right) };
  const pictures = { left: element("img", { className: "left" }), right: element("img", { className: "right" }) };
  const tags = { left: element("span", { className: "tag left" }), right: element("span", { className: "tag right" }) };
  const slider = element("input", { type: "range", min: 0, max: 100, value: 50 });
  const stage = element("div", { className: "stage" }, pictures.left, pictures.right,
    element("i", { className: "divider" }), tags.left, tags.right, slider);
  const ratio = one.hw[1] / one.hw[0];
  stage.style.aspectRatio = String(ratio);
  stage.style.width = `min(100%, ${(TALLEST * ratio).toFixed(1)}rem)`; // upright pictures do not fill the screen
  const strip = element("div", { className: "strip" });

  function show() {
    for (const side of ["left", "right"]) {
      pictures[side].src = one.views[chosen[side]];
      pictures[side].alt = `${one.id}: ${VIEWS[chosen[side]]}`;
      tags[side].textContent = VIEWS[chosen[side]];
    }
    slider.setAttribute("aria-label", `${one.id}: ${VIEWS[chosen.left]} left of the line, ${VIEWS[chosen.right]} right`);
    for (const button of strip.children) button.setAttribute("aria-pressed", String(button.dataset.view === chosen.right));
  }

  function move() {
    stage.style.setProperty("--cut", `${slider.value}%`);
    slider.setAttribute("aria-valuetext", `line at ${slider.value} %`);
  }

  for (const view of Object.keys(VIEWS).filter((name) => name in one.views)) {
    const button = element("button", { type: "button", title: one.names[view] ?? VIEWS[view] },
      element("img", { src: one.views[view], alt: "" }),
      element("span", { textContent: VIEWS[view] }),
      element("small", { textContent: one.scores[view] ?? "" }));
    button.dataset.view = view;
    button.addEventListener("click", () => { chosen.right = view; show(); });
    strip.append(button);
  }
  slider.addEventListener("input", move);
  const facts = [one.group.split(" (")[0], one.class_name, `${Number((100 * one.area).toPrecision(2))} % defect`];
  const made = element("article", { className: ratio > 2.5 ? "card long" : "card" },
    element("h3", { textContent: one.id }),
    element("p", { className: "facts", textContent: facts.join(" · ") }));
  if (one.gain !== null) {
    const better = one.gain >= 0;
    made.append(element("p", { className: better ? "gain" : "gain worse",
      textContent: `${better ? "▲" : "▼"} tuning: ${one.gain_text}` }));
  }
  made.append(stage, strip);
  move();
  show();
  return made;
}

function draw() {
  const form = byId("controls").elements;
  const group = form.group.value;
  const inGroup = exhibits.filter((one) => !group || one.group === group);
  options(form.class, counted("all", inGroup, "class_name"), form.class.value);
  const chosen = ordered(inGroup.filter((one) => !form.class.value || one.class_name === form.class.value), form.order.value);
  const shown = chosen.slice(0, limit);
  byId("cards").replaceChildren(...shown.map((one) => card(one, form.left.value, form.right.value)));
  byId("shown").textContent = `${shown.length} of ${chosen.length} images`;
  byId("more").hidden = shown.length === chosen.length;
}

if (exhibits.length) {
  const form = byId("controls").elements;
  const present = Object.entries(VIEWS).filter(([view]) => exhibits.some((one) => view in one.views));
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
  draw();
}

// --- Folded sections: a link opens what it points into; printing opens all. ------------------------------------------

function openAt(hash) {
  const target = byId(decodeURIComponent(hash.slice(1)));
  if (!target) return;
  for (let node = target.closest("details"); node; node = node.parentElement.closest("details")) node.open = true;
  const own = target.querySelector(":scope > details");
  if (own) own.open = true;
}

document.querySelectorAll('a[href^="#"]').forEach((link) => link.addEventListener("click", () => openAt(link.hash)));
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => { one.open = true; }));
if (location.hash) {
  openAt(location.hash);
  byId(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();
}
