// Controls: each is a labelled native control, so that keyboard, touch and speech work as everywhere. Those that are made
// of words are in words.mjs; what may be set, and within which range, is in settings.mjs.

import { h } from "./dom.mjs";

/**
 * Make a control.
 * @param {string} name   of the setting
 * @param {object} about  what settings.mjs says about it: { kind, label, ... }
 * @param value           its first value
 * @param {(value) => void} changed
 * @param {object} more   makers of further kinds
 * @returns {{ root: HTMLElement, set(value), disable(off: boolean), complain(message: string, hints: object[]) }}
 */
export function makeControl(name, about, value, changed, more = {}) {
  const control = (more[about.kind] ?? MAKERS[about.kind])(name, about, value, changed);
  return { set() {}, disable() {}, complain() {}, ...control };
}

const MAKERS = { range, select, seed, check };

function range(name, { label, min, max, step, digits = 0 }, value, changed) {
  const output = h("output", { for: name });
  const input = h("input", { type: "range", id: name, min, max, step });
  const set = (x) => {
    input.value = x;
    output.textContent = Number(x).toFixed(digits);
    input.style.setProperty("--share", `${(100 * (x - min)) / (max - min)}%`);
  };
  input.addEventListener("input", () => {
    set(input.valueAsNumber);
    changed(input.valueAsNumber);
  });
  set(value);
  const root = h("div", { class: "field" }, h("label", { for: name }, label), output, input);
  const limit = (most) => {
    input.max = max = most;
    set(Math.min(input.valueAsNumber, most));
  };
  return { root, set, limit, disable: (off) => (input.disabled = off) };
}

function select(name, { label, options }, value, changed) {
  const input = h("select", { id: name }, ...Object.entries(options).map(([key, text]) => h("option", { value: key }, text)));
  input.value = value;
  input.addEventListener("change", () => changed(input.value));
  const root = h("div", { class: "field" }, h("label", { for: name }, label), input);
  return { root, set: (x) => (input.value = x), disable: (off) => (input.disabled = off) };
}

function seed(name, { label, min, max }, value, changed) {
  const input = h("input", { type: "number", id: name, min, max, step: 1, inputMode: "numeric" });
  const set = (x) => (input.value = x);
  const take = (x) => {
    const whole = Math.min(Math.max(Math.trunc(Number.isFinite(x) ? x : min), min), max);
    set(whole);
    changed(whole);
  };
  input.addEventListener("change", () => take(input.valueAsNumber));
  const next = h("button", { type: "button", onclick: () => take(input.valueAsNumber + 1) }, "Next");
  next.setAttribute("aria-label", "Next seed");
  set(value);
  const root = h("div", { class: "field" }, h("label", { for: name }, label), h("div", { class: "seed" }, input, next));
  return { root, set, disable: (off) => (input.disabled = next.disabled = off) };
}

function check(name, { label }, value, changed) {
  const input = h("input", { type: "checkbox", id: name, checked: value });
  input.addEventListener("change", () => changed(input.checked));
  return { root: h("div", { class: "field check" }, input, h("label", { for: name }, label)), set: (x) => (input.checked = x) };
}
