// Small repairs of the page; nothing here is needed to read it.

// The widget manager speaks to MathJax 2; the page has MathJax 3.
const hub = {
  Queue(...calls) {
    for (const call of calls) {
      const element = Array.isArray(call) ? call[2] : undefined;
      if (!(element instanceof Element)) continue;
      element.classList.add("mathjax_process");
      if (element.childElementCount === 0 && element.textContent.includes("$")) {
        element.textContent = element.textContent.replace(/\$([^$]+)\$/g, "\\($1\\)");
      }
      window.MathJax.startup?.promise?.then(() => window.MathJax.typesetPromise([element]));
    }
  },
};

function addHub() {
  if (window.MathJax) window.MathJax.Hub ??= hub;
}

// What scrolls sideways can be reached with the keyboard.
function makeScrollable() {
  for (const element of document.querySelectorAll(".bd-article :is(div.math, pre, .pst-scrollable-table-container)")) {
    if (element.scrollWidth > element.clientWidth + 1 && element.tabIndex < 0) element.tabIndex = 0;
  }
}

// Names that speech and eyes agree on: the theme's buttons, and the sliders of widgets.
function nameControls() {
  for (const button of document.querySelectorAll(".search-button-field")) button.removeAttribute("aria-label");
  for (const icon of document.querySelectorAll(".theme-switch-button svg:not([aria-hidden])")) {
    icon.querySelector("title")?.remove();
    icon.removeAttribute("role");
    icon.removeAttribute("aria-labelledby");
    icon.setAttribute("aria-hidden", "true");
  }
  for (const handle of document.querySelectorAll(".noUi-handle:not([aria-label])")) {
    const label = handle.closest(".jupyter-widgets")?.querySelector(".widget-label");
    handle.setAttribute("aria-label", label?.textContent.trim() || "slider");
  }
}

addHub();
for (const script of document.querySelectorAll('script[src*="mathjax"]')) script.addEventListener("load", addHub);

addEventListener("load", () => {
  nameControls();
  const observer = new MutationObserver(nameControls);
  observer.observe(document.body, { childList: true, subtree: true });
  setTimeout(() => observer.disconnect(), 10000);
  if (window.MathJax?.startup) window.MathJax.startup.promise.then(makeScrollable);
  else makeScrollable();
});
addEventListener("resize", makeScrollable);

// The table of systems, on the one page that has it.
if (document.querySelector("[data-landscape]")) import("./landscape.mjs");
