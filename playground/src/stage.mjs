// The stage at the top of a page. The page has all of it, and its first picture; this moves it: the control, by slider or
// by a finger on the pictures, the guess, "try this", the address, and the model on the reader's word.

import { filled, fromAddress, placed, points, toAddress } from "./stage-state.mjs";

const QUIET_MS = 300; // of no change before the address follows, and a sentence is spoken

/** Bring a stage to life. */
export function start(root) {
  const about = JSON.parse(root.querySelector("script").textContent);
  const all = (name) => [...root.querySelectorAll(`.stage-${name}`)];
  const one = (name) => root.querySelector(`.stage-${name}`);
  const slider = root.querySelector("input[type=range]");
  const state = { at: about.first, set: 0, guess: null, place: null }; // place: of a pad, where it has left its set's own
  const { words } = about;
  let shown = null; // the set whose pictures have come and are on show
  let timer = 0;
  let figure = null; // the drawing of the state in a plane, where the stage has one

  slider.addEventListener("input", () => move({ at: slider.valueAsNumber }));
  for (const button of all("option")) button.addEventListener("click", () => guess(Number(button.dataset.guess)));
  for (const button of all("set")) button.addEventListener("click", () => move({ set: Number(button.dataset.set), place: null }));
  for (const button of all("chip")) button.addEventListener("click", () => attempt(button));
  one("reveal").addEventListener("click", () => {
    unveil();
    show();
    slider.focus();
  });
  one("copy").addEventListener("click", copy);
  one("save").addEventListener("click", () => save(one("views"), one("plane canvas"), `${toAddress(about, state).replace(/[^\w.-]+/g, "-").slice(1)}.png`));
  one("copy-cell")?.addEventListener("click", copyCell);
  one("draw")?.addEventListener("click", draw);
  for (const word of all("word")) word.addEventListener("change", article);
  if (one("views")) drag(one("views"));
  addEventListener("hashchange", fromLink);
  if (!fromLink()) show();
  if (about.plane) loaded().then(mountPlane);

  /** The figure is drawn once the page itself has come. */
  async function mountPlane() {
    const { mount } = await import(`./plane-${about.plane.kind}.mjs`);
    figure = mount(root.querySelector(".stage-plane > div"), about, move);
    figure.draw({ ...state });
  }

  /** The state that the address asks for, if it does; whether it did. */
  function fromLink() {
    const asked = fromAddress(location.hash, about);
    if (asked) open(asked);
    return asked !== null;
  }

  function open(asked) {
    Object.assign(state, asked);
    if (state.guess !== null) unveil();
    show();
    root.scrollIntoView({ block: "nearest" });
  }

  function move(change) {
    Object.assign(state, change);
    for (const chip of all("chip")) chip.setAttribute("aria-pressed", "false");
    one("look").textContent = words.look;
    show();
    later();
  }

  function attempt(chip) {
    move({ at: Number(chip.dataset.at), set: Number(chip.dataset.set), place: null });
    chip.setAttribute("aria-pressed", "true");
    one("look").textContent = chip.dataset.look;
  }

  function guess(number) {
    state.guess = number;
    unveil();
    show();
    later();
  }

  function unveil() {
    one("curve").removeAttribute("data-veiled");
  }

  function show() {
    const { at, set, guess } = state;
    const { rows, curve } = about.sets[set];
    slider.value = at;
    slider.style.setProperty("--share", `${(100 * at) / (about.stops.length - 1)}%`);
    const veiled = "veiled" in one("curve").dataset; // no number before the reader has guessed
    const row = rowAt(at);
    const says = filled(veiled || row.plain ? words.plain : words.says, row);
    slider.setAttribute("aria-valuetext", says);
    one("value").textContent = row.stop;
    one("says").textContent = says;
    for (const button of all("set")) button.setAttribute("aria-pressed", String(Number(button.dataset.set) === set));
    for (const button of all("option")) button.setAttribute("aria-pressed", String(Number(button.dataset.guess) === guess));
    curve.forEach((values, k) => trace(points(values, about.frame), k, at));
    mark(guess);
    if (one("views")) pictures();
    figure?.draw({ ...state });
    const cell = root.querySelector(".stage-notebook code");
    if (cell) cell.textContent = filled(about.code, settings());
  }

  /** The numbers of a stop, with its name in words. */
  function rowAt(at) {
    return { ...about.sets[state.set].rows[at], stop: words.stops[at] };
  }

  /** What the stage shows, as settings of the playground and of `sample`. */
  function settings() {
    return { ...about.live[state.at], ...about.sets[state.set].live };
  }

  /** A series of the curve, and its dot. */
  function trace(path, series, at) {
    const line = root.querySelector(`polyline[data-series="${series}"]`);
    line.setAttribute("points", path.filter(Boolean).map((p) => p.map((v) => v.toFixed(1)).join()).join(" "));
    const dot = root.querySelector(`circle[data-series="${series}"]`);
    dot.style.visibility = path[at] ? "" : "hidden";
    if (!path[at]) return;
    dot.setAttribute("cx", path[at][0].toFixed(1));
    dot.setAttribute("cy", path[at][1].toFixed(1));
  }

  function mark(guess) {
    one("answer").hidden = guess === null;
    const stop = guess === null ? null : about.guesses[guess]; // some guesses are no stop of the control
    one("mark").style.visibility = stop === null ? "hidden" : "visible";
    if (guess === null) return;
    one("answer").textContent = filled(words.answer, { guess: words.guesses[guess] });
    if (stop === null) return;
    const x = about.frame.left + (about.frame.width * stop) / (about.stops.length - 1);
    one("mark").setAttribute("transform", `translate(${x.toFixed(1)} 0)`);
  }

  /** The pictures of the state; those of a set when they have come, so that none stands under a wrong label. */
  async function pictures() {
    const { set } = state;
    const views = all("view");
    const first = views[0].querySelector("img");
    const source = about.folder + about.sets[set].file;
    const busy = (is) => views[0].parentElement.setAttribute("aria-busy", String(is));
    busy(set !== shown);
    if (set !== shown) {
      // The page itself asks for the first set's sheet.
      const sheet = first.getAttribute("src") === source ? first : Object.assign(new Image(), { src: source });
      const came = await sheet.decode().then(() => true, () => false);
      if (set !== state.set) return; // the reader has gone on to another
      busy(false);
      if (!came) {
        one("says").textContent = one("spoken").textContent = words.missing;
        return;
      }
      shown = set;
    }
    const row = rowAt(state.at);
    views.forEach((view, k) => {
      const image = view.querySelector("img");
      if (image.getAttribute("src") !== source) image.setAttribute("src", source);
      const { left, top } = placed(about.sheet, k * about.stops.length + state.at);
      image.style.left = `${left}%`;
      image.style.top = `${top}%`;
      image.alt = filled(words.alts[k], row);
    });
  }

  /** What comes of a change once it has settled: the address, and a sentence for those who cannot see. */
  function later() {
    clearTimeout(timer);
    timer = setTimeout(() => {
      history.replaceState(null, "", toAddress(about, state));
      const spoken = [one("says").textContent, state.guess === null ? "" : one("answer").textContent];
      one("spoken").textContent = spoken.join(" ");
    }, QUIET_MS);
  }

  /** A finger or a mouse on the pictures moves the control as the slider does. */
  function drag(area) {
    let from = null;
    const last = about.stops.length - 1;
    area.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      from = { x: event.clientX, at: state.at };
      area.setPointerCapture(event.pointerId);
    });
    area.addEventListener("pointermove", (event) => {
      if (!from) return;
      const share = (event.clientX - from.x) / area.clientWidth;
      const at = Math.min(Math.max(from.at + Math.round(1.2 * share * last), 0), last);
      if (at !== state.at) move({ at });
    });
    for (const end of ["pointerup", "pointercancel"]) area.addEventListener(end, () => (from = null));
  }

  /** "a" or "an", as the first word asks. */
  function article() {
    const ofTheObject = all("word").filter((word) => !["floor", "wall"].includes(word.name));
    const [first = "object"] = ofTheObject.map((word) => word.value).filter(Boolean);
    one("article").textContent = "aeiou".includes(first[0]) ? "an" : "a";
  }

  async function copy() {
    const link = new URL(toAddress(about, state), location.href).href;
    history.replaceState(null, "", link);
    try {
      await navigator.clipboard.writeText(link);
      one("spoken").textContent = one("copy").textContent = words.copied;
    } catch {
      one("copy").textContent = words.inAddress;
    }
  }

  async function copyCell() {
    const button = one("copy-cell");
    try {
      await navigator.clipboard.writeText(root.querySelector(".stage-notebook code").textContent);
      one("spoken").textContent = button.textContent = words.copied;
    } catch {
      getSelection().selectAllChildren(root.querySelector(".stage-notebook code"));
    }
  }

  /** The playground in the stage's own place, with the stage's settings. The press is the reader's word to load. */
  async function draw() {
    one("draw").disabled = true;
    const given = settings();
    const said = Object.fromEntries(all("word").filter((word) => word.value).map((word) => [word.name, word.value]));
    try {
      const [captions] = await Promise.all([import("./captions.mjs"), import("./element.mjs")]);
      if (all("word").length) given.prompt = captions.caption(said);
    } catch {
      one("draw").disabled = false;
      one("spoken").textContent = one("promise").textContent = words.missing;
      return;
    }
    const live = document.createElement("diffusion-playground");
    for (const [name, value] of Object.entries({ ...about.model, preset: about.preset, settings: JSON.stringify(given), begin: "" })) live.setAttribute(name, value);
    const head = document.createElement("p");
    head.className = "playground-title";
    head.slot = "head";
    head.textContent = words.live;
    live.append(head);
    one("offer").replaceWith(live);
    one("spoken").textContent = words.live;
  }
}

/** When the page and all that it asked for has come. */
function loaded() {
  return document.readyState === "complete" ? Promise.resolve() : new Promise((done) => addEventListener("load", done, { once: true }));
}

/** Save what the views show, side by side, or else the figure, as a PNG file. */
function save(views, figure, name) {
  const shown = [...(views?.querySelectorAll("img") ?? [])];
  let picture = figure;
  if (shown.length) {
    const side = 2 * Math.round(shown[0].parentElement.clientWidth);
    picture = Object.assign(document.createElement("canvas"), { width: side * shown.length, height: side });
    const context = picture.getContext("2d");
    shown.forEach((image, k) => {
      const [box, all] = [image.parentElement.getBoundingClientRect(), image.getBoundingClientRect()];
      const scale = side / box.width;
      context.save();
      context.beginPath();
      context.rect(k * side, 0, side, side);
      context.clip();
      context.drawImage(image, k * side + scale * (all.left - box.left), scale * (all.top - box.top), scale * all.width, scale * all.height);
      context.restore();
    });
  }
  picture.toBlob((blob) => {
    const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }, "image/png");
}

for (const root of document.querySelectorAll(".dt-stage")) start(root);
