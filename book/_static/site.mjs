// Two small repairs of the page; nothing here is needed to read it.

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

addHub();
for (const script of document.querySelectorAll('script[src*="mathjax"]')) script.addEventListener("load", addHub);

// What scrolls sideways can be reached with the keyboard.
function makeScrollable() {
  for (const element of document.querySelectorAll(".bd-article div.math, .bd-article .pst-scrollable-table-container, .bd-article pre")) {
    if (element.scrollWidth > element.clientWidth + 1) {
      if (element.tabIndex < 0) element.tabIndex = 0;
    }
  }
}

addEventListener("load", () => {
  window.MathJax?.startup?.promise?.then(makeScrollable) ?? makeScrollable();
});
addEventListener("resize", makeScrollable);
