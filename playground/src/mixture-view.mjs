// The preset "mixture": points in the plane flow under a sampler, over the exact density of the level that they have
// reached. Everything is computed here, nothing is downloaded.

import { makeControl } from "./controls.mjs";
import { h } from "./dom.mjs";
import { density, inside, ring } from "./mixture.mjs";
import { FIRST, positionAt, walk } from "./mixture-walk.mjs";
import { SAMPLERS } from "./samplers.mjs";
import { SETTINGS } from "./settings.mjs";

const POINTS = 300;
const REACH = 2.6; // of the plane shown, on each side of its middle
const GRID = 96; // of the density
const SECONDS = 7; // from noise to data
const TAIL = 0.03; // of the way: what a point's tail is long

const STYLE = `
.plane { position: relative; width: 100%; max-width: 34rem; margin: 0 auto; aspect-ratio: 1; border-radius: 10px; overflow: hidden; border: 1px solid var(--pst-color-border); touch-action: pan-y; }
.plane canvas { position: absolute; inset: 0; width: 100%; height: 100%; }
.player { display: grid; grid-template-columns: auto 1fr; gap: 0.4rem 1rem; align-items: center; max-width: 34rem; width: 100%; margin: 0 auto; }
.player .note { grid-column: 1 / -1; font-variant-numeric: tabular-nums; }
`;
const SHOWN = ["sampler", "steps", "eta", "only", "scale", "seed"];

/** Fill `root` with the plane and its controls. say: speaks a sentence to those who cannot see. */
export function mount(_, root, say) {
  const settings = { ...FIRST };
  const blobs = ring();
  const canvas = h("canvas", { role: "img", "aria-label": "Points in the plane" });
  const plane = h("div", { class: "plane" }, canvas);
  const play = h("button", { type: "button" }, "Play");
  const note = h("p", { class: "note" });
  const fields = {};
  let path = null;
  let wanted = blobs;
  let at = 0; // of the way, 0 noise, 1 data
  let playing = false;
  let before = 0;
  let [seen, started, computed] = [false, false, 0];
  let frame = 0;

  const make = (name) => {
    fields[name] = makeControl(name, SETTINGS[name], settings[name], async (value) => {
      settings[name] = value;
      if ((await compute()) && !still()) begin();
    });
    return fields[name].root;
  };
  const more = h("details", { class: "field wide" }, h("summary", {}, "More settings"), h("div", { class: "fields" }, make("spacing")));
  const controls = h("div", { class: "fields", role: "group", "aria-label": "Other settings" }, ...SHOWN.map(make), more);
  const slider = makeControl("step", { kind: "range", label: "Step", min: 0, max: settings.steps, step: 1 }, 0, (k) => {
    pause();
    at = path.share[k];
    draw();
  });
  const player = h("div", { class: "player" }, play, slider.root, note);
  root.append(h("style", {}, STYLE), h("div", { class: "stage" }, plane, player), controls);
  root.classList.add("beside", "wide");

  play.addEventListener("click", () => (playing ? pause() : begin(at < 1 ? at : 0)));
  new MutationObserver(draw).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
  new ResizeObserver(draw).observe(plane);
  new IntersectionObserver(async ([entry]) => {
    seen = entry.isIntersecting;
    if (!seen || started) {
      if (seen && playing) request();
      return;
    }
    started = true;
    if ((await compute()) && !still()) begin();
  }, { threshold: 0.25 }).observe(plane);
  return { cancel: pause };

  function still() {
    return matchMedia("(prefers-reduced-motion: reduce)").matches;
  }

  /** False if other settings came meanwhile. */
  async function compute() {
    const number = ++computed;
    const stochastic = settings.sampler === "ddim";
    fields.eta.disable(!stochastic);
    fields.scale.disable(settings.only === "all");
    const blobsAsked = settings.only === "all" ? blobs : blobs.filter((blob) => blob.label === Number(settings.only));
    const found = await walk({ ...settings, eta: stochastic ? settings.eta : 0, points: POINTS, blobs, wanted: blobsAsked });
    if (number !== computed) return false;
    [path, wanted] = [found, blobsAsked];
    slider.limit(settings.steps);
    show(still() ? 1 : Math.min(at, 1));
    const ends = inside(wanted, path.points.at(-1));
    const expected = Math.round(POINTS * (1 - Math.exp(-4.5)));
    const where = settings.only === "all" ? "a blob" : "a blob that was asked for";
    const { nfe } = path;
    note.textContent = `${ends} of ${POINTS} points end within three standard deviations of ${where}; of points drawn from the data itself about ${expected} do. ${nfe} evaluations.`;
    canvas.setAttribute("aria-label", `${POINTS} points on their way from noise to blobs on a circle: ${settings.steps} steps of ${SAMPLERS[settings.sampler].title}. ${note.textContent}`);
    say(note.textContent);
    return true;
  }

  function begin(from = 0) {
    at = from;
    playing = true;
    play.textContent = "Pause";
    before = performance.now();
    request();
  }

  function pause() {
    playing = false;
    play.textContent = "Play";
  }

  function request() {
    cancelAnimationFrame(frame);
    frame = requestAnimationFrame(tick);
  }

  function tick(now) {
    if (!playing) return;
    at = Math.min(1, at + Math.min(now - before, 100) / 1000 / SECONDS);
    before = now;
    show(at);
    if (at === 1) {
      pause();
      play.textContent = "Again";
    } else if (seen) frame = requestAnimationFrame(tick);
  }

  function show(share) {
    at = share;
    slider.set(path.share.findLastIndex((s) => s <= share + 1e-9));
    draw();
  }

  function draw() {
    if (!path) return;
    const size = Math.max(1, Math.round(plane.clientWidth * Math.min(devicePixelRatio, 2)));
    if (canvas.width !== size || canvas.height !== size) canvas.width = canvas.height = size;
    const style = getComputedStyle(plane);
    const context = canvas.getContext("2d");
    context.fillStyle = style.getPropertyValue("--pst-color-background") || "#fff";
    context.fillRect(0, 0, size, size);
    const { points, alphaBar } = positionAt(path, at);
    const tails = positionAt(path, Math.max(0, at - TAIL)).points;
    paint(context, density(wanted, alphaBar, GRID, REACH), style.getPropertyValue("--pst-color-primary"), size);
    const unit = size / (2 * REACH);
    const middle = size / 2;
    context.strokeStyle = context.fillStyle = style.getPropertyValue("--accent") || "#c8552d";
    context.lineWidth = size / 400;
    context.globalAlpha = 0.35;
    context.beginPath();
    for (let k = 0; k < points.length; k += 2) {
      context.moveTo(middle + unit * tails[k], middle - unit * tails[k + 1]);
      context.lineTo(middle + unit * points[k], middle - unit * points[k + 1]);
    }
    context.stroke();
    context.globalAlpha = 0.85;
    context.beginPath();
    const radius = size / 170;
    for (let k = 0; k < points.length; k += 2) {
      const [x, y] = [middle + unit * points[k], middle - unit * points[k + 1]];
      context.moveTo(x + radius, y);
      context.arc(x, y, radius, 0, 2 * Math.PI);
    }
    context.fill();
    context.globalAlpha = 1;
  }
}

/** The density, as a veil of one colour. */
function paint(context, p, colour, size) {
  const inner = tile.getContext("2d");
  const image = inner.createImageData(GRID, GRID);
  const [r, g, b] = channels(colour);
  for (let k = 0; k < p.length; k++) image.data.set([r, g, b, 150 * Math.sqrt(p[k])], 4 * k);
  inner.putImageData(image, 0, 0);
  context.imageSmoothingEnabled = true;
  context.imageSmoothingQuality = "high";
  context.drawImage(tile, 0, 0, size, size);
}

const tile = h("canvas", { width: GRID, height: GRID });
const known = new Map();

/** A colour of the page's style as [red, green, blue]. */
function channels(colour) {
  if (!known.has(colour)) {
    const context = h("canvas", { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true });
    context.fillStyle = colour.trim() || "#1f5490";
    context.fillRect(0, 0, 1, 1);
    known.set(colour, [...context.getImageData(0, 0, 1, 1).data.slice(0, 3)]);
  }
  return known.get(colour);
}
