// Sorting and filters for the table of systems. The table reads without them: this file only adds controls.

// Marks what readers see; the copy of this file for another language has it exchanged (scripts/translated/words.py).
const say = (text, fields = {}) => text.replace(/\{(\w+)\}/g, (all, name) => fields[name] ?? all);
const MEMORY = [8, 12, 16, 24, 48, 80];

const element = (name, attributes = {}, ...children) => {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
};

/** Whether a row passes: `row` has the data attributes of a <tr> and its text, `wanted` the state of the form. */
export function passes(row, wanted) {
  const words = wanted.text.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.every((word) => row.text.toLowerCase().includes(word))) return false;
  if (wanted.weights && row.weights !== wanted.weights) return false;
  if (wanted.commercial && row.commercial !== wanted.commercial) return false;
  if (wanted.family && row.family !== wanted.family) return false;
  if (wanted.negative && row.negative !== wanted.negative) return false;
  if (wanted.asked && row.asked !== "true") return false;
  // A row whose memory is unknown or counted in part cannot be said to fit.
  if (wanted.memory && !(row.partial === "false" && row.memory !== "" && Number(row.memory) <= Number(wanted.memory))) return false;
  return true;
}

/** Order of two cells: numbers by size, texts by letter, what is unknown last in both directions. */
export function order(a, b, direction) {
  if (a.unknown !== b.unknown) return a.unknown ? 1 : -1;
  if (a.unknown) return 0;
  const numbers = a.number !== undefined && b.number !== undefined;
  const found = numbers ? a.number - b.number : a.text.localeCompare(b.text, "en", { numeric: true });
  return direction === "descending" ? -found : found;
}

const readRow = (tr) => ({ ...tr.dataset, text: tr.textContent });
const readCell = (cell) => ({
  unknown: cell.dataset.state === "unknown",
  number: cell.dataset.number === undefined ? undefined : Number(cell.dataset.number),
  text: cell.textContent.trim(),
});

function choice(label, name, values, first) {
  const select = element("select", { name });
  select.append(element("option", { value: "" }, first));
  for (const [value, text] of values) select.append(element("option", { value }, text));
  return element("label", {}, label, select);
}

export function enhance(root) {
  const table = root.querySelector("table");
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const different = (key) => [...new Set(rows.map((row) => row.dataset[key]))].sort().map((value) => [value, value]);

  const form = element("form", { role: "search", "aria-label": say("Filter the systems") });
  form.append(
    element("label", {}, say("Contains"), element("input", { name: "text", type: "search", size: "16" })),
    choice(say("Weights"), "weights", different("weights"), say("all")),
    choice(say("Commercial use"), "commercial", different("commercial"), say("all")),
    choice(say("Family"), "family", different("family"), say("all")),
    choice(say("Negative prompt"), "negative", different("negative"), say("all")),
    choice(say("Weights fit in"), "memory", MEMORY.map((gb) => [String(gb), `${gb} GB`]), say("any size")),
    element("label", { class: "dt-check" }, element("input", { name: "asked", type: "checkbox" }), say("the question's list only")),
    element("label", { class: "dt-by" }, say("Sort by"), element("select", { name: "by" })),
    element("button", { type: "reset" }, say("Show all")),
  );
  const said = element("output", { role: "status", "aria-live": "polite" });

  const filter = () => {
    const data = Object.fromEntries(new FormData(form));
    const wanted = { text: "", ...data, asked: form.elements.asked.checked };
    let count = 0;
    for (const row of rows) {
      row.hidden = !passes(readRow(row), wanted);
      if (!row.hidden) count += 1;
    }
    said.textContent = say("{count} of {all} systems", { count, all: rows.length });
  };
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());

  const heads = [...table.tHead.rows[0].cells];
  const unsort = () => {
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    body.append(...rows);
  };
  form.addEventListener("reset", () => setTimeout(() => (unsort(), filter()))); // after the fields are empty
  const sort = (column, direction) => {
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    heads[column].setAttribute("aria-sort", direction);
    const cells = new Map(rows.map((row) => [row, readCell(row.cells[column])]));
    body.append(...[...rows].sort((a, b) => order(cells.get(a), cells.get(b), direction)));
  };
  // As cards, in a narrow window, the table has no heads: there a list sorts.
  const { by } = form.elements;
  by.append(element("option", { value: "" }, say("as listed")));
  heads.forEach((head, column) => {
    by.append(element("option", { value: String(column) }, head.textContent));
    const button = element("button", { type: "button" }, head.textContent);
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      sort(column, head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending");
    });
  });
  by.addEventListener("change", () => (by.value === "" ? unsort() : sort(Number(by.value), "ascending")));

  // A name in the table leads to its sources, which lie folded up below it.
  const open = (id) => {
    const target = id && document.getElementById(id);
    if (!target || !root.contains(target)) return;
    for (let node = target; node && node !== root; node = node.parentElement) {
      if (node instanceof HTMLDetailsElement) node.open = true;
    }
    target.scrollIntoView({ block: "nearest" });
    target.querySelector("summary")?.focus();
  };
  body.addEventListener("click", (event) => {
    const link = event.target.closest("a[href^='#']");
    if (!link) return;
    event.preventDefault();
    open(link.hash.slice(1));
  });

  root.querySelector(".dt-scroll").before(form, said);
  filter();
  open(globalThis.location?.hash.slice(1));
}

if (globalThis.document) document.querySelectorAll("[data-landscape]").forEach(enhance);
