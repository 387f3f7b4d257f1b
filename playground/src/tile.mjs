// One lane's place on the stage: its pictures, the label that belongs to them, and the way there.

import { h } from "./dom.mjs";

export class Tile {
  #canvases;
  #lane = null; // what is expected
  #shown = ""; // the name of what is on show, complete
  #caption = h("figcaption", {});
  #strip = h("div", { class: "strip", hidden: true });

  #small;

  /**
   * @param {number} count of pictures
   * @param {number} columns of the row that the tile stands in
   */
  constructor(count, columns) {
    this.#small = columns > 2;
    this.#canvases = Array.from({ length: count }, () => h("canvas", { width: 64, height: 64, role: "img", "aria-label": "No picture yet" }));
    this.pictures = h("div", { class: "pictures" }, ...this.#canvases);
    this.pictures.style.setProperty("--across", count === 4 ? 2 : 1);
    this.root = h("figure", {}, ...(this.#small && count > 1 ? [this.#caption, this.pictures] : [this.pictures, this.#caption]), this.#strip);
  }

  /** True if the result of this lane is on show. */
  shows(lane) {
    return this.#shown === lane.name;
  }

  /** A run of this lane begins. What is on show keeps its own label, and fades. */
  expect(lane) {
    this.#lane = lane;
    this.#shown = "";
    this.root.classList.add("stale");
    this.root.setAttribute("aria-busy", "true");
  }

  preview(images, step) {
    this.#replace(images, `step ${step} of ${this.#lane.request.numInferenceSteps}`);
  }

  finish(images, nfe, seconds) {
    this.#replace(images, `${this.#small ? "" : `${nfe} evaluations, `}${seconds.toFixed(1)} s`);
    this.root.removeAttribute("aria-busy");
    if (this.#lane.film) return; // not complete before the way there is
    this.#strip.hidden = true;
    this.#shown = this.#lane.name;
  }

  film({ x_t, x0, t }) {
    const last = t.length - 1;
    // Where two films stand side by side on a phone, three pictures of each are left, large enough to be seen.
    const place = (k) => (last < 3 || [0, Math.ceil(last / 2), last].includes(k) ? "" : "between");
    const line = (...parts) => h("div", { class: "line" }, ...parts);
    const row = (images, what) =>
      line(...images.map((image, k) => draw(h("canvas", { role: "img", class: place(k) }), image, `${what} at timestep ${t[k]} of: ${this.#lane.text}`)));
    const name = (words) => h("span", { class: "name" }, words);
    const times = line(...t.map((at, k) => h("span", { class: place(k) }, at)));
    this.#strip.replaceChildren(
      name("what it holds, xₜ"), row(x_t, "The noisy state, decoded,"), name("what it expects, x₀, at timestep"), row(x0, "The expected picture"), times,
    );
    this.#strip.style.setProperty("--steps", t.length < 4 ? 6 : t.length);
    this.#strip.hidden = false;
    this.#strip.classList.remove("gone");
    this.#shown = this.#lane.name;
  }

  /** Nothing is expected any more; what is on show stays, under its own label. */
  rest() {
    this.root.classList.remove("stale");
    this.root.removeAttribute("aria-busy");
  }

  #replace(images, state) {
    const { label, text } = this.#lane;
    this.root.classList.remove("stale");
    this.#strip.classList.add("gone"); // it belongs to the label before; its place stays, so that nothing jumps
    const many = images.length > 1;
    images.forEach((image, k) => draw(this.#canvases[k], image, `Picture${many ? ` ${k + 1}` : ""} sampled for ${text}${state.startsWith("step") ? `, ${state}` : ""}`));
    this.#caption.replaceChildren(label ? h("b", {}, label) : h("span", { class: "what" }, text), h("span", { class: "state" }, state));
  }
}

function draw(canvas, { width, height, data }, alt) {
  [canvas.width, canvas.height] = [width, height];
  canvas.getContext("2d").putImageData(new ImageData(data, width, height), 0, 0);
  canvas.setAttribute("aria-label", alt);
  return canvas;
}
