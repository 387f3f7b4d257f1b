// Small repairs of the page; nothing here is needed to read it.

const say = (text) => text; // marks what is translated (scripts/translated/words.py)
const COPY = '<svg class="dt-icon" viewBox="0 0 24 24" aria-hidden="true"><path d="M9 9h10.5v11.5H9zM15 9V3.5H4.5V15H9"/></svg>';
const DONE = '<svg class="dt-icon" viewBox="0 0 24 24" aria-hidden="true"><path d="M4.5 12.8l5 5L19.5 6.5"/></svg>';

// What scrolls sideways can be reached with the keyboard; looked at when it comes near the window, not before.
const near = new IntersectionObserver((seen) => {
  for (const { target, isIntersecting } of seen) {
    if (!isIntersecting || target.tabIndex >= 0 || target.scrollWidth <= target.clientWidth + 1) continue;
    target.tabIndex = 0;
    if (!target.matches("pre")) target.setAttribute("role", "group");
    if (target.matches(".formula")) target.setAttribute("aria-label", say("formula, scrolls sideways"));
  }
}, { rootMargin: "400px 0px" });
function makeScrollable() {
  near.disconnect();
  for (const e of document.querySelectorAll(".bd-article :is(div.formula, pre, .pst-scrollable-table-container)")) near.observe(e);
}

// A button that copies a block of code, made when a pointer or the keyboard comes to it.
function offerCopy(event) {
  const block = event.target.closest?.(".bd-article div.highlight");
  if (!block || !navigator.clipboard || block.querySelector(":scope > .dt-copy")) return;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "dt-copy";
  button.setAttribute("aria-label", say("Copy this code"));
  button.innerHTML = COPY;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(block.querySelector("pre").textContent.trimEnd());
    button.innerHTML = DONE;
    setTimeout(() => (button.innerHTML = COPY), 1500);
  });
  block.append(button);
}

// A menu folds up when one looks elsewhere.
function closeMenus(event) {
  for (const menu of document.querySelectorAll("details.dt-menu[open]")) {
    const escape = event.type === "keydown" && event.key === "Escape";
    if (!escape && (event.type === "keydown" || menu.contains(event.target))) continue;
    menu.open = false;
    if (escape) menu.querySelector("summary").focus();
  }
}

// The switch "reading | with all code": remembered, on every chapter.
function showCode(all) {
  document.documentElement.dataset.code = all ? "all" : "";
  for (const fold of document.querySelectorAll("details.dt-code")) fold.open = all;
}

for (const choice of document.querySelectorAll(".dt-switch input")) {
  const all = choice.value === "all";
  if (localStorage.getItem("code") === "all" && all) {
    choice.checked = true;
    showCode(true);
  }
  choice.addEventListener("change", () => {
    localStorage.setItem("code", choice.value);
    showCode(all);
  });
}

// A link to what lies in a fold opens it; a link to what moved to another page goes there.
async function openTarget() {
  if (location.hash.length < 2) return;
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) {
    const moved = (await import("./moved.mjs")).follow(location.href);
    if (moved) location.replace(moved);
    return;
  }
  let folded = false;
  for (let node = target.parentElement; node; node = node.parentElement) {
    if (node instanceof HTMLDetailsElement && !node.open) folded = node.open = true;
  }
  if (folded) target.scrollIntoView();
}
openTarget();
addEventListener("hashchange", openTarget);

document.addEventListener("pointerover", offerCopy, { passive: true });
document.addEventListener("focusin", offerCopy);
document.addEventListener("click", closeMenus);
document.addEventListener("keydown", closeMenus);
const idle = globalThis.requestIdleCallback ?? ((work) => setTimeout(work, 200));
addEventListener("load", () => idle(makeScrollable));
addEventListener("resize", () => idle(makeScrollable));

// The twin of this page in the other language: at the same section.
for (const link of document.querySelectorAll("a.dt-twin")) {
  const away = link.href;
  link.addEventListener("click", () => {
    const headings = [...document.querySelectorAll(".bd-article :is(h2, h3)[id]")];
    const above = headings.filter((heading) => heading.getBoundingClientRect().top < innerHeight / 3).pop();
    link.href = away + (above ? `#${above.id}` : location.hash);
  });
}

// Search, when it is opened.
for (const input of document.querySelectorAll("#pst-search-dialog input, .dt-search-page input")) {
  const open = () => import("./search.mjs").then(({ attach }) => attach(input));
  if (input.closest(".dt-search-page")) {
    input.value = new URLSearchParams(location.search).get("q") ?? "";
    open().then((show) => show());
  } else {
    input.addEventListener("focus", () => open().then((show) => show()), { once: true });
  }
}

// The table of systems, on the one page that has it.
if (document.querySelector("[data-landscape]")) import("./landscape.mjs");
