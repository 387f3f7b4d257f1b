// The live part of a playground: settings, pictures, and the run that leads from the ones to the others. A change of
// any setting ends the run in progress; a picture and its label are replaced together, so a label never stands under
// a picture that was made with other settings. Where no new picture can be made, the last one stays under its own label.

import { unknownWords, wordsOf } from "./captions.mjs";
import { makeControl } from "./controls.mjs";
import { h } from "./dom.mjs";
import { STYLE } from "./live-style.mjs";
import { PRESETS } from "./presets.mjs";
import { SETTINGS } from "./settings.mjs";
import { Tile } from "./tile.mjs";
import { prompt, sentence, text } from "./words.mjs";

const QUIET_MS = 70; // of no change before a run starts

/**
 * Fill `root` with a preset's controls and pictures. say: speaks a sentence to those who cannot see; given: first values
 * other than the preset's own.
 */
export function mount(name, root, say, client, given = {}) {
  const { defaults, top, controls, more, groups, keeps = [] } = PRESETS[name];
  const settings = within({ ...defaults, ...given });
  const made = {}; // controls by the name of their setting
  const tiles = new Map();
  const rows = new Map(); // by the title of their group
  let job = null;
  let timer = 0;
  let undone = false; // these settings have no picture yet, and no run is making it

  const state = h("p", { class: "note" });
  const way = h("progress", { max: 1, value: 0, hidden: true, "aria-label": "Steps of the sampler" });
  const stop = h("button", { type: "button", hidden: true, onclick: stopOrGo });
  const kept = root.getRootNode().querySelector("slot[name=kept]"); // pictures to compare with, made beforehand
  build();
  run();
  return { cancel: () => job?.cancel() };

  function build() {
    const make = (field) => {
      const key = field === "sentence" ? "prompt" : field;
      made[field] = makeControl(field, SETTINGS[field], settings[key], (value) => set(key, value), { prompt, sentence, text });
      return made[field].root;
    };
    const above = h("div", { class: "fields top", role: "group", "aria-label": "Main settings" }, ...top.map(make));
    const below = h("div", { class: "fields", role: "group", "aria-label": "Other settings" }, ...controls.map(make));
    if (more.length) {
      below.append(h("details", { class: "field wide" }, h("summary", {}, "More settings"), h("div", { class: "fields" }, ...more.map(make))));
    }
    const stage = h("div", { class: "stage" });
    const shown = groups(settings);
    for (const { title, columns } of shown) {
      const row = h("div", { class: "row" });
      row.style.cssText = `--columns: ${columns}`;
      rows.set(title, row);
      stage.append(h("div", { class: "group" }, title ? h("p", { class: "name" }, title) : null, row));
    }
    if (kept) stage.prepend(kept);
    const bar = h("div", { class: "bar" }, state, way, stop);
    const beside = shown.length === 1 && shown[0].columns === 1;
    if (beside) root.classList.add("beside");
    root.append(h("style", {}, STYLE), ...(top.length ? [above] : []), ...(beside ? [stage, h("div", {}, below, bar)] : [bar, stage, below]));
    adjust();
  }

  function set(key, value) {
    if (settings[key] === value && !undone) return;
    settings[key] = value;
    adjust();
    job?.cancel();
    clearTimeout(timer);
    timer = setTimeout(run, QUIET_MS);
  }

  function adjust() {
    if (kept) kept.hidden = keeps.some((key) => settings[key] !== defaults[key]);
    const shown = groups(settings);
    const keys = shown.flatMap((group) => group.lanes.map(({ key }) => key));
    for (const [title, row] of rows) row.parentElement.hidden = !shown.some((group) => group.title === title);
    for (const { title, columns, lanes } of shown) {
      for (const lane of lanes) {
        if (tiles.has(lane.key)) continue;
        const tile = new Tile(lane.request.numImages, columns);
        tiles.set(lane.key, tile);
        rows.get(title).append(tile.root);
      }
    }
    for (const [key, { root }] of tiles) root.hidden = !keys.includes(key);
    made.start?.disable(settings.method === "free");
    made.stop?.disable(settings.method === "free");
    made.weight?.disable(settings.formula !== "both" && settings.formula !== "guessed");
    made.eta?.disable(settings.sampler !== "ddim" && settings.other !== "ddim");
  }

  function stopOrGo() {
    if (!job) return run();
    job.cancel();
    clearTimeout(timer);
    return give("Stopped.", "Run");
  }

  /** No run is in progress. */
  function rest(text, button) {
    job = null;
    way.hidden = true;
    state.textContent = text;
    stop.textContent = button;
    stop.hidden = !button;
  }

  /** No run will make the picture of these settings; what is on show stays. */
  function give(text, button) {
    undone = true;
    for (const tile of tiles.values()) tile.rest();
    rest(text, button);
  }

  /** Why these words make no picture, or ""; the reason stands under each text too. */
  function wrongWords() {
    const reasons = ["prompt", "negative"].map((name) => {
      const said = settings[name] ?? "";
      const unknown = unknownWords(said);
      const empty = wordsOf(said).length === 0 && (name === "prompt" || said.trim() !== "");
      const nearest = unknown.some((word) => word.nearest.length) ? " Nearest: " : "";
      const named = unknown.length ? `It does not know ${unknown.map(({ word }) => `“${word}”`).join(" and ")}.${nearest}` : "";
      const hint = name === "prompt" ? "Say what to draw, such as “a red sphere”." : "Leave it out, or say what to steer away from.";
      const message = empty ? `It holds no word. ${hint}` : named;
      made[name]?.complain(message, unknown);
      if (message) say(message);
      return empty ? `the ${name === "prompt" ? "prompt" : "negative prompt"} holds no word` : message && "a word is not known";
    });
    return reasons.find(Boolean) ?? "";
  }

  function run() {
    job?.cancel();
    const wrong = wrongWords();
    if (wrong) return give(`No new picture: ${wrong}.`, "");
    undone = false;
    const lanes = groups(settings).flatMap((group) => group.lanes);
    const wanted = lanes.filter((lane) => !tiles.get(lane.key).shows(lane));
    for (const lane of wanted) tiles.get(lane.key).expect(lane);
    const all = wanted.reduce((sum, lane) => sum + lane.request.numInferenceSteps, 0);
    const seen = new Set();
    const start = performance.now();
    let steps = 0;
    way.hidden = stop.hidden = false;
    way.value = 0;
    stop.textContent = "Stop";
    state.textContent = "Starting …";
    say("Sampling.");
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    job = client.run(
      wanted,
      {
        step: ({ key, index, of, images }) => {
          way.value = ++steps / all;
          const lane = wanted.length > 1 ? `Run ${seen.add(key).size} of ${wanted.length}, step` : "Step";
          state.textContent = `${lane} ${index + 1} of ${of}`;
          if (images) tiles.get(key).preview(images, index + 1);
        },
        lane: ({ key, images, nfe, seconds }) => tiles.get(key).finish(images, nfe, seconds),
        film: ({ key, film }) => tiles.get(key).film(film),
        done: () => {
          rest(`Done in ${((performance.now() - start) / 1000).toFixed(1)} s.`, "");
          say(`Done. ${wanted.slice(0, 3).map((lane) => `${lane.label ? `${lane.label}: ` : ""}${lane.text}`).join(". ")}`);
        },
        error: ({ message }) => {
          give(`No new picture: ${message}`, "Try again");
          say(state.textContent);
        },
        stopped: () => give("Stopped.", "Run"),
      },
      !still,
    );
  }
}

/** Settings with each number inside the range of its control, which a stage's list of stops may leave. */
function within(settings) {
  const inside = ([name, value]) => {
    const { kind, min, max } = SETTINGS[name] ?? {};
    return [name, kind === "range" ? Math.min(Math.max(value, min), max) : value];
  };
  return Object.fromEntries(Object.entries(settings).map(inside));
}
