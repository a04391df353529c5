"use strict";
// Sorting, the theme and the clipboard; the gallery is gallery.js. No library, no request; nothing here builds HTML from text.

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
