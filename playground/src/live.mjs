// The live part of a playground: settings, pictures, and the run that leads from the ones to the others. A change of
// any setting ends the run in progress; a picture and its label are replaced together, so a label never stands under
// a picture that was made with other settings.

import { unknownWords } from "./captions.mjs";
import { CONTROLS } from "./controls.mjs";
import { h } from "./dom.mjs";
import { makeField } from "./fields.mjs";
import { PRESETS } from "./presets.mjs";
import { Tile } from "./tile.mjs";
import { prompt, sentence } from "./words.mjs";

const QUIET_MS = 70; // of no change before a run starts

/** Fill `root` with a preset's controls and pictures. say: speaks a sentence to those who cannot see. */
export function mount(name, root, say, client) {
  const { defaults, top, controls, more, groups } = PRESETS[name];
  const settings = { ...defaults };
  const fields = {};
  const tiles = new Map();
  const rows = new Map(); // by the title of their group
  let job = null;
  let timer = 0;
  let failed = false;

  const state = h("p", { class: "note" });
  const way = h("progress", { max: 1, value: 0, hidden: true, "aria-label": "Steps of the sampler" });
  const stop = h("button", { type: "button", hidden: true, onclick: stopOrGo });
  build();
  run();
  return { cancel: () => job?.cancel() };

  function build() {
    const make = (field) => {
      const key = field === "sentence" ? "prompt" : field;
      fields[field] = makeField(field, CONTROLS[field], settings[key], (value) => set(key, value), { prompt, sentence });
      return fields[field].root;
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
    const kept = root.getRootNode().querySelector("slot[name=kept]"); // pictures to compare with, made beforehand
    if (kept) stage.prepend(kept);
    const bar = h("div", { class: "bar" }, state, way, stop);
    const beside = shown.length === 1 && shown[0].columns === 1;
    if (beside) root.classList.add("beside");
    root.append(...(top.length ? [above] : []), ...(beside ? [stage, h("div", {}, below, bar)] : [bar, stage, below]));
    adjust();
  }

  function set(key, value) {
    if (settings[key] === value && !failed) return;
    settings[key] = value;
    adjust();
    job?.cancel();
    clearTimeout(timer);
    timer = setTimeout(run, QUIET_MS);
  }

  function adjust() {
    const shown = groups(settings);
    const lanes = shown.flatMap((group) => group.lanes.map(({ key }) => key));
    for (const [title, row] of rows) row.parentElement.hidden = !shown.some((group) => group.title === title);
    for (const { title, columns, lanes: made } of shown) {
      for (const lane of made) {
        if (tiles.has(lane.key)) continue;
        const tile = new Tile(lane.request.numImages, columns);
        tiles.set(lane.key, tile);
        rows.get(title).append(tile.root);
      }
    }
    for (const [key, { root }] of tiles) root.hidden = !lanes.includes(key);
    fields.start?.disable(settings.method === "free");
    fields.stop?.disable(settings.method === "free");
    fields.weight?.disable(settings.formula !== "both" && settings.formula !== "guessed");
    fields.eta?.disable(settings.sampler !== "ddim" && settings.other !== "ddim");
  }

  function stopOrGo() {
    if (!job) return run();
    job.cancel();
    clearTimeout(timer);
    return rest("Stopped.", "Run");
  }

  /** No run is in progress. */
  function rest(text, button) {
    job = null;
    way.hidden = true;
    state.textContent = text;
    stop.textContent = button;
    stop.hidden = !button;
  }

  /** False, with the reason under the text, if the prompt has words that the model does not know. */
  function wordsAreKnown() {
    let good = true;
    for (const field of ["prompt", "negative"]) {
      const wrong = unknownWords(settings[field] ?? "");
      const nearest = wrong.some((word) => word.nearest.length) ? " Nearest: " : "";
      const message = wrong.length ? `It does not know ${wrong.map(({ word }) => `“${word}”`).join(" and ")}.${nearest}` : "";
      fields[field]?.complain(message, wrong);
      if (message) say(message);
      good &&= !message;
    }
    return good;
  }

  function run() {
    job?.cancel();
    failed = !wordsAreKnown();
    if (failed) {
      for (const tile of tiles.values()) tile.clear();
      rest("No picture: a word is not known.", "");
      return;
    }
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
          failed = true;
          for (const lane of wanted) tiles.get(lane.key).clear();
          rest(`No picture: ${message}`, "Try again");
          say(state.textContent);
        },
        stopped: () => rest("Stopped.", "Run"),
      },
      !still,
    );
  }
}
