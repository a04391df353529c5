"use strict";
// Verdicts by a threshold, filters, one photo at full size, and the review as CSV. No library, no request.

const byId = (id) => document.getElementById(id);
const data = JSON.parse(byId("data").textContent);
const photos = data.photos;
const PAGE = 120;
const NEAR = 0.1 * data.top; // of the axis of scores
const SVG = "http://www.w3.org/2000/svg";
let threshold = data.threshold;
let limit = PAGE;
let shown = [];
let current = null;
let view = "regions";

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function drawn(tag, attributes, text) {
  const made = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

// --- Theme and review: kept by the browser where it allows it. --------------------------------------------------------

function stored(name, value) {
  try { // a page opened from disk may be denied storage
    if (value !== undefined) localStorage.setItem(name, value);
    return localStorage.getItem(name);
  } catch { return null; }
}

function setTheme(dark) {
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  byId("theme").setAttribute("aria-pressed", String(dark));
}
setTheme((stored("theme") ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark");
byId("theme").addEventListener("click", () => {
  const dark = document.documentElement.dataset.theme !== "dark";
  setTheme(dark);
  stored("theme", dark ? "dark" : "light");
});

const KEY = `review ${location.pathname}`;
const review = new Map();
try {
  const known = new Set(photos.map((photo) => photo.name));
  for (const [name, verdict] of Object.entries(JSON.parse(stored(KEY) ?? "{}"))) if (known.has(name)) review.set(name, verdict);
} catch { /* an older page's entry */ }

function setReview(photo, verdict) {
  if (review.get(photo.name) === verdict) review.delete(photo.name);
  else review.set(photo.name, verdict);
  stored(KEY, JSON.stringify(Object.fromEntries(review)));
}

const short = (value) => (value === 0 || value >= 0.1 ? value.toFixed(3) : String(Number(value.toPrecision(3))));

// --- Verdicts ---------------------------------------------------------------------------------------------------------

const verdict = (photo) => (photo.score > threshold ? "defective" : "OK");
const near = (photo) => Math.abs(photo.score - threshold) <= NEAR;
const FILTERS = {
  all: () => true,
  defective: (photo) => verdict(photo) === "defective",
  ok: (photo) => verdict(photo) === "OK",
  near,
  unlike: (photo) => photo.unlike.length > 0,
  reviewed: (photo) => review.has(photo.name),
  changed: (photo) => review.has(photo.name) && review.get(photo.name) !== verdict(photo),
  failed: () => false,
};
const ORDERS = {
  score: (a, b) => b.score - a.score,
  low: (a, b) => a.score - b.score,
  near: (a, b) => Math.abs(a.score - threshold) - Math.abs(b.score - threshold),
  name: (a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }),
};

function verdictText(photo) {
  const own = review.get(photo.name);
  return own && own !== verdict(photo) ? `${own}, reviewed` : verdict(photo);
}

const counted = (photo) => (photo.count === 1 ? "1 region" : `${photo.count} regions`);

function card(photo) {
  const button = element("button", { type: "button", className: "open" },
    element("img", { src: photo.thumb, alt: "", loading: "lazy", decoding: "async" }),
    element("b", { textContent: photo.name }));
  button.addEventListener("click", () => openPhoto(photo));
  const text = verdictText(photo);
  const facts = element("div", { className: "facts" },
    element("span", { className: text.startsWith("OK") ? "ok" : "defective", textContent: text }),
    element("span", { textContent: `score ${short(photo.score)}` }),
    element("span", { textContent: counted(photo) }));
  if (near(photo)) facts.append(element("span", { textContent: "near the threshold" }));
  if (photo.unlike.length) facts.append(element("span", { textContent: `unlike the training photos: ${photo.unlike.join(", ")}` }));
  const made = element("article", { className: "card" }, button, facts, buttons(photo));
  made.dataset.name = photo.name;
  return made;
}

function buttons(photo) {
  const row = element("div", { className: "review" });
  for (const [value, text] of [["OK", "OK"], ["defective", "Defective"]]) {
    const one = element("button", { type: "button", textContent: text, ariaLabel: `${photo.name}: ${text}` });
    one.setAttribute("aria-pressed", String(review.get(photo.name) === value));
    one.addEventListener("click", () => {
      setReview(photo, value);
      const old = one.closest(".card");
      const made = card(photo);
      old.replaceWith(made);
      made.querySelectorAll(".review button")[value === "OK" ? 0 : 1].focus();
    });
    row.append(one);
  }
  return row;
}

function draw() {
  const filter = byId("show").value;
  shown = photos.filter(FILTERS[filter]).sort(ORDERS[byId("order").value]);
  byId("cards").replaceChildren(...shown.slice(0, limit).map(card));
  const defective = photos.filter((photo) => verdict(photo) === "defective").length;
  byId("headline").textContent = `${defective} of ${photos.length} photos ${defective === 1 ? "is" : "are"} defective`;
  byId("shown").textContent = filter === "failed" ? `${data.failed.length} photos were not predicted`
    : `${Math.min(limit, shown.length)} of ${shown.length} photos shown, ${review.size} reviewed${data.failed.length ? `, ${data.failed.length} not predicted` : ""}`;
  byId("more").hidden = shown.length <= limit;
  byId("failures").hidden = !(data.failed.length && (filter === "all" || filter === "failed"));
  histogram();
}

function histogram() {
  const bins = new Array(50).fill(0);
  for (const photo of photos) bins[Math.min(49, Math.floor((photo.score / data.top) * 50))] += 1;
  const most = Math.max(1, ...bins);
  const left = 30, width = 600, base = 78, height = 66;
  const parts = [drawn("line", { class: "axis", x1: left, x2: left + width, y1: base, y2: base }),
    drawn("text", { x: left - 4, y: base - height + 8, "text-anchor": "end" }, most), drawn("text", { x: left - 4, y: base, "text-anchor": "end" }, 0)];
  bins.forEach((count, index) => {
    const tall = (height * count) / most;
    if (count) parts.push(drawn("rect", { class: ((index + 0.5) / 50) * data.top > threshold ? "bad" : "good", x: left + (width * index) / 50 + 1,
      y: base - tall, width: width / 50 - 2, height: tall }));
  });
  for (const tick of [0, 0.25, 0.5, 0.75, 1]) parts.push(drawn("text", { x: left + width * tick, y: base + 14, "text-anchor": "middle" },
    Number((tick * data.top).toPrecision(3))));
  const cut = left + width * Math.min(1, threshold / data.top);
  parts.push(drawn("line", { class: "cut", x1: cut, x2: cut, y1: base - height - 4, y2: base + 3 }));
  byId("histogram").replaceChildren(...parts);
}

function setThreshold(value) {
  if (!Number.isFinite(value)) return;
  threshold = Math.min(1, Math.max(0, value));
  byId("threshold").value = threshold;
  byId("exact").value = short(threshold);
  limit = PAGE;
  draw();
}

byId("threshold").addEventListener("input", () => setThreshold(Number(byId("threshold").value)));
byId("exact").addEventListener("change", () => setThreshold(byId("exact").valueAsNumber));
byId("reset").addEventListener("click", () => setThreshold(data.threshold));
for (const id of ["show", "order"]) byId(id).addEventListener("change", () => { limit = PAGE; draw(); });
byId("more").addEventListener("click", () => {
  const first = limit;
  limit += PAGE;
  draw();
  byId("cards").children[first]?.querySelector("button").focus();
});
byId("controls").addEventListener("submit", (event) => event.preventDefault());

// --- One photo --------------------------------------------------------------------------------------------------------

const MEASURES = [["area", "area, px"], ["score", "mean score"], ["length_px", "length, px"], ["width_px", "width, px"],
  ["skeleton_px", "length along it, px"], ["mean_width_px", "mean width, px"], ["max_width_px", "largest width, px"]];

function openPhoto(photo) {
  current = photo;
  view = "regions";
  showPhoto();
  if (!byId("photo").open) byId("photo").showModal();
}

function showPhoto() {
  const photo = current;
  byId("photo-name").textContent = photo.name;
  const [height, width] = photo.hw;
  byId("photo-facts").textContent = `${verdictText(photo)} · score ${short(photo.score)} · ${width} x ${height} px · `
    + (photo.count > photo.regions.length ? `the largest ${photo.regions.length} of ${photo.count} regions` : counted(photo));
  byId("large").src = photo.views[view];
  byId("large").alt = `${photo.name}: ${view}`;
  byId("stage").style.aspectRatio = String(width / height);
  byId("stage").style.width = `min(100%, ${(56 * width / height).toFixed(1)}vh)`; // a small photo is enlarged
  byId("boxes").setAttribute("viewBox", `0 0 ${width} ${height}`);
  byId("boxes").replaceChildren();
  for (const button of document.querySelectorAll("[data-view]")) button.setAttribute("aria-pressed", String(button.dataset.view === view));
  for (const button of document.querySelectorAll("[data-verdict]")) {
    button.setAttribute("aria-pressed", String(review.get(photo.name) === button.dataset.verdict));
  }
  const measures = MEASURES.filter(([key]) => photo.regions.some((region) => key in region));
  const table = byId("regions");
  table.tHead.replaceChildren(element("tr", {}, element("th", { textContent: "region", scope: "col" }),
    ...measures.map(([, text]) => element("th", { textContent: text, scope: "col" })),
    ...(data.mm_per_px ? [element("th", { textContent: "area, mm²", scope: "col" })] : [])));
  table.tBodies[0].replaceChildren(...photo.regions.map((region) => regionRow(region, measures)));
  table.hidden = !photo.regions.length;
  const place = shown.indexOf(photo);
  byId("previous").disabled = place <= 0;
  byId("next").disabled = place < 0 || place === shown.length - 1;
}

function regionRow(region, measures) {
  const number = element("button", { type: "button", textContent: region.number, ariaLabel: `mark region ${region.number}` });
  const row = element("tr", {}, element("td", {}, number),
    ...measures.map(([key]) => element("td", { textContent: format(region[key]) })),
    ...(data.mm_per_px ? [element("td", { textContent: format(region.area * data.mm_per_px ** 2) })] : []));
  number.addEventListener("click", () => {
    for (const other of row.parentElement.rows) other.setAttribute("aria-selected", String(other === row));
    const [x, y, w, h] = region.box;
    byId("boxes").replaceChildren(...["under", "over"].map((name) => drawn("rect", { class: name, x, y, width: w, height: h })));
    byId("stage").scrollIntoView({ block: "nearest" });
  });
  return row;
}

function format(value) {
  if (value === undefined) return "–";
  return String(Number(Math.abs(value) >= 1000 ? value.toFixed(1) : value.toPrecision(4))); // no digit of an area is dropped
}

function step(by) {
  const next = shown[shown.indexOf(current) + by];
  if (next) { current = next; showPhoto(); }
}

for (const button of document.querySelectorAll("[data-view]")) button.addEventListener("click", () => { view = button.dataset.view; showPhoto(); });
for (const button of document.querySelectorAll("[data-verdict]")) {
  button.addEventListener("click", () => { setReview(current, button.dataset.verdict); showPhoto(); });
}
byId("previous").addEventListener("click", () => step(-1));
byId("next").addEventListener("click", () => step(1));
byId("close").addEventListener("click", () => byId("photo").close());
byId("photo").addEventListener("close", draw);
byId("photo").addEventListener("keydown", (event) => {
  if (event.key === "ArrowLeft") step(-1);
  if (event.key === "ArrowRight") step(1);
});

// --- CSV --------------------------------------------------------------------------------------------------------------

function cell(value) {
  const text = typeof value === "string" && /^[=+\-@\t\r']/.test(value) ? `'${value}` : String(value); // no formula in a spreadsheet
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function csv() {
  const lines = [["image", "score", "threshold", "verdict", "reviewed_verdict", "regions"]];
  for (const photo of [...photos].sort(ORDERS.name)) {
    lines.push([photo.name, photo.score, threshold, verdict(photo), review.get(photo.name) ?? "", photo.count]);
  }
  for (const one of data.failed) lines.push([one.name, "", threshold, "not predicted", "", ""]);
  return lines.map((line) => line.map(cell).join(",")).join("\n") + "\n";
}

byId("export").addEventListener("click", () => {
  const link = element("a", { href: URL.createObjectURL(new Blob([csv()], { type: "text/csv" })), download: "verdicts.csv" });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
});

draw();
