// The frame around a page: theme, sidebars, the table of contents that follows the reader, and the search dialog.
// The theme's own scripts did this with ten times the bytes, and measured every block of a page as it loaded.

const say = (text) => text; // marks what is translated (scripts/translated/words.py)
const html = document.documentElement;
const $ = (selector) => document.querySelector(selector);
const all = (selector) => [...document.querySelectorAll(selector)];

// --- light, dark, or what the system says

const dark = matchMedia("(prefers-color-scheme: dark)");
function setMode(mode) {
  html.dataset.mode = mode;
  html.dataset.theme = mode === "auto" ? (dark.matches ? "dark" : "light") : mode;
  localStorage.setItem("mode", mode);
  localStorage.setItem("theme", mode === "auto" ? "auto" : html.dataset.theme);
}
dark.addEventListener("change", () => html.dataset.mode === "auto" && setMode("auto"));
for (const button of all(".theme-switch-button")) {
  button.addEventListener("click", () => {
    const order = dark.matches ? ["auto", "light", "dark"] : ["auto", "dark", "light"];
    setMode(order[(order.indexOf(html.dataset.mode) + 1) % 3]);
  });
}

// --- sidebars: beside the text where there is room, else in a dialog

function move(from, to) {
  to.append(...from.childNodes);
  to.classList.add(...from.classList);
  from.className = "";
}

for (const name of ["primary", "secondary"]) {
  const toggle = $(`.${name}-toggle`);
  const sidebar = $(`#pst-${name}-sidebar`);
  const dialog = $(`#pst-${name}-sidebar-modal`);
  if (!toggle || !sidebar || !dialog) continue;
  const roomy = name === "primary" ? matchMedia("(min-width: 992px)") : null;
  dialog.setAttribute("aria-label", name === "primary" ? say("Book") : say("On this page"));
  toggle.addEventListener("click", () => {
    if (roomy?.matches) return void sidebar.classList.toggle("pst-sidebar-hidden");
    move(sidebar, dialog);
    dialog.showModal();
  });
  dialog.addEventListener("close", () => {
    move(dialog, sidebar);
    toggle.focus();
  });
  // A link within the page closes what covers it.
  dialog.addEventListener("click", (event) => event.target.closest("a[href^='#']") && dialog.close());
}

const bar = $("div.bd-sidebar");
if (bar) {
  bar.scrollTop = Number(sessionStorage.getItem("sidebar-scroll-top")) || 0;
  addEventListener("pagehide", () => sessionStorage.setItem("sidebar-scroll-top", bar.scrollTop));
}

// --- dialogs close by a press beside them

for (const dialog of all("dialog")) {
  dialog.addEventListener("click", (event) => {
    const { left, right, top, bottom } = dialog.getBoundingClientRect();
    const inside = event.clientX >= left && event.clientX <= right && event.clientY >= top && event.clientY <= bottom;
    if (event.target === dialog && !inside) dialog.close();
  });
}

// --- search

const search = $("#pst-search-dialog");
const mac = /^(Mac|iPhone|iPad)/.test(navigator.platform);
if (mac) for (const key of all("kbd.kbd-shortcut__modifier")) key.textContent = "⌘";
const openSearch = () => search.open || search.showModal();
for (const button of all(".search-button__button")) button.addEventListener("click", openSearch);
addEventListener("keydown", (event) => {
  const modifier = mac ? event.metaKey && !event.ctrlKey : event.ctrlKey && !event.metaKey;
  if (!modifier || event.shiftKey || event.altKey || event.key.toLowerCase() !== "k") return;
  event.preventDefault();
  search.open ? search.close() : openSearch();
});

// --- the place in the page: its line in the contents, and a line under the bar once one has scrolled

const links = all("#pst-page-toc-nav a");
const headings = new Map();
for (const link of links) {
  const target = link.hash.length > 1 && document.getElementById(decodeURIComponent(link.hash.slice(1)));
  if (target) headings.set(target, link);
}
function mark(link) {
  for (const other of links) {
    other.classList.toggle("active", other === link);
    other === link ? other.setAttribute("aria-current", "true") : other.removeAttribute("aria-current");
  }
  for (const entry of all("#pst-page-toc-nav .toc-entry")) entry.classList.toggle("active", entry.contains(link));
}
const reading = new IntersectionObserver((seen) => {
  const last = seen.filter((entry) => entry.isIntersecting).pop();
  if (last) mark(headings.get(last.target));
}, { rootMargin: "-48px 0px -70% 0px" });
for (const heading of headings.keys()) reading.observe(heading);
addEventListener("hashchange", () => links.filter((link) => link.hash === location.hash).forEach(mark));

const top = $(".sbt-scroll-pixel-helper");
if (top) {
  new IntersectionObserver(([entry]) => document.body.classList.toggle("scrolled", entry.boundingClientRect.y < 0)).observe(top);
}
