// Still Life's stage: a sentence in its tokens, and where each is looked up while the picture comes. The page has all of it,
// and its first pictures; this moves it: words, step, guess, "try this", the address, and the model on the reader's word.

import { filled, fromAddress, moved, named, placed, points, toAddress } from "./parts-state.mjs";

const QUIET_MS = 300; // of no change before the address follows, and a sentence is spoken
const FINE = 16; // pixels that the shade of a place is drawn with

/** Bring the stage to life. */
export function start(root) {
  const about = JSON.parse(root.querySelector("script").textContent);
  const all = (name) => [...root.querySelectorAll(`.${name}`)];
  const one = (name) => root.querySelector(`.${name}`);
  const slider = root.querySelector("input[type=range]");
  const { words, first } = about;
  const state = { at: first.at, set: first.set, word: named(about.sets[first.set].tokens, first.token), guess: null };
  const shades = new Map(); // the shades that have come, by set
  let passing = null; // the word under the mouse
  let near = false; // whether the stage has been in sight: its shades are fetched then
  let timer = 0;

  slider.addEventListener("input", () => move({ at: slider.valueAsNumber }));
  for (const button of all("stage-option")) button.addEventListener("click", () => guess(Number(button.dataset.guess)));
  for (const button of all("stage-set")) button.addEventListener("click", () => choose(Number(button.dataset.set)));
  for (const button of all("stage-chip")) button.addEventListener("click", () => attempt(button));
  one("stage-reveal").addEventListener("click", () => {
    unveil();
    show();
    slider.focus();
  });
  one("stage-copy").addEventListener("click", copy);
  one("stage-draw")?.addEventListener("click", draw);
  listen();
  addEventListener("hashchange", fromLink);
  if (!fromLink()) show();
  const sight = new IntersectionObserver(([entry]) => {
    if (!entry.isIntersecting) return;
    sight.disconnect();
    near = true;
    show();
  });
  sight.observe(root);

  function fromLink() {
    const asked = fromAddress(location.hash, about);
    if (!asked) return false;
    const other = asked.set !== state.set;
    Object.assign(state, asked);
    if (other) sentence();
    if (state.guess !== null) unveil();
    show();
    root.scrollIntoView({ block: "nearest" });
    return true;
  }

  function move(change) {
    Object.assign(state, change);
    passing = null;
    for (const chip of all("stage-chip")) chip.setAttribute("aria-pressed", "false");
    one("stage-look").textContent = words.look;
    show();
    later();
  }

  /** Another sentence, at the word of the same name if it has it. */
  function choose(set) {
    const name = about.sets[state.set].tokens[state.word].name;
    const other = set !== state.set;
    state.set = set;
    if (other) sentence();
    move({ word: named(about.sets[set].tokens, name) });
  }

  function attempt(chip) {
    const set = Number(chip.dataset.set);
    if (set !== state.set) {
      state.set = set;
      sentence();
    }
    move({ at: Number(chip.dataset.at), word: Number(chip.dataset.word) });
    chip.setAttribute("aria-pressed", "true");
    one("stage-look").textContent = chip.dataset.look;
  }

  function guess(number) {
    unveil();
    move({ guess: number });
  }

  function unveil() {
    one("stage-curve").removeAttribute("data-veiled");
  }

  /** The buttons of the sentence, one a token. */
  function sentence() {
    const [like] = all("parts-word");
    const made = about.sets[state.set].tokens.map((token, k) => {
      const button = like.cloneNode(true);
      button.dataset.word = k;
      button.classList.toggle("parts-mark", token.kind === "mark");
      button.querySelector("span").textContent = words.marks[token.name] ?? token.name;
      button.querySelector("small").textContent = token.id;
      return button;
    });
    one("parts-words").replaceChildren(...made);
    listen();
  }

  /** A word is picked by tap, by Enter and by the arrow keys; a mouse that passes over it shows it. */
  function listen() {
    const buttons = all("parts-word");
    buttons.forEach((button, k) => {
      button.addEventListener("click", () => move({ word: k }));
      button.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && pass(k));
      button.addEventListener("pointerleave", () => pass(null));
      button.addEventListener("keydown", (event) => {
        const to = moved(event.key, k, buttons.length);
        if (to === null) return;
        event.preventDefault();
        move({ word: to });
        buttons[to].focus();
      });
    });
  }

  function pass(word) {
    if (passing === word) return;
    passing = word;
    show();
  }

  function show() {
    const { at, set, guess } = state;
    const { tokens, sentence: text } = about.sets[set];
    const word = passing ?? state.word;
    const token = tokens[word];
    const name = words.marks[token.name] ?? token.name;
    const row = { word: name, weight: percent(token.weights[at]), step: about.stops[at], sentence: text, even: percent(token.count / about.places) };
    slider.value = at;
    slider.style.setProperty("--share", `${(100 * at) / (about.stops.length - 1)}%`);
    slider.setAttribute("aria-valuetext", filled(words.plain, row));
    one("stage-value").textContent = about.stops[at];
    one("stage-says").textContent = filled(words.says, row);
    for (const button of all("stage-set")) button.setAttribute("aria-pressed", String(Number(button.dataset.set) === set));
    for (const button of all("stage-option")) button.setAttribute("aria-pressed", String(Number(button.dataset.guess) === guess));
    all("parts-word").forEach((button, k) => {
      button.setAttribute("aria-pressed", String(k === state.word));
      button.tabIndex = k === state.word ? 0 : -1;
      button.classList.toggle("parts-passing", k === passing);
    });
    one("parts-lit").querySelector("figcaption").textContent = filled(words.lit, row);
    one("stage-answer").hidden = guess === null;
    if (guess !== null) one("stage-answer").textContent = filled(words.answer, { guess: words.guesses[guess] });
    curve(about.kinds[token.kind], row);
    pictures(row);
    if (near) shade(word);
  }

  /** What was measured of words of this kind, with a dot at the step; nothing of words without a region. */
  function curve(kind, row) {
    const { top, height } = about.frame;
    one("parts-none").hidden = Boolean(kind);
    one("stage-data").style.visibility = kind ? "" : "hidden";
    one("parts-title").textContent = kind ? filled(words.curves[kind.region], row) : filled(words.none, row);
    if (!kind) return;
    const { at } = state;
    [kind.pointed, kind.shuffled].forEach((values, series) => {
      const path = points(values, about.stops, about.frame);
      root.querySelector(`polyline[data-series="${series}"]`).setAttribute("points", path.map((p) => p.map((v) => v.toFixed(1)).join()).join(" "));
      const dot = root.querySelector(`circle[data-series="${series}"]`);
      dot.setAttribute("cx", path[at][0].toFixed(1));
      dot.setAttribute("cy", path[at][1].toFixed(1));
    });
    one("parts-chance").setAttribute("transform", `translate(0 ${(top + height * (1 - about.shares[kind.region])).toFixed(1)})`);
  }

  function pictures(row) {
    all("parts-view").forEach((view, k) => {
      const [key, form, line] = about.views[k];
      const source = about.folder + about.sets[state.set][key];
      const image = view.querySelector("img");
      if (image.getAttribute("src") !== source) image.setAttribute("src", source);
      const { left, top } = placed(about[form], line, state.at);
      image.style.left = `${left}%`;
      image.style.top = `${top}%`;
      image.alt = filled(words.alts[k], row);
    });
  }

  /** The shade over the picture: what looks the word up little is dark. */
  async function shade(word) {
    const { set, at } = state;
    const { map, shades: file } = about.sets[set];
    const [high, wide] = map;
    const canvas = one("parts-shade");
    if (!shades.has(set)) {
      const picture = new Image();
      picture.src = about.folder + file;
      shades.set(set, picture.decode().then(() => picture, () => null));
    }
    const picture = await shades.get(set);
    if (!picture) {
      shades.delete(set);
      one("stage-says").textContent = words.missing;
      return;
    }
    if (set !== state.set || at !== state.at || word !== (passing ?? state.word)) return; // the reader has gone on
    canvas.width = wide * FINE;
    canvas.height = high * FINE;
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(picture, at * wide, word * high, wide, high, 0, 0, canvas.width, canvas.height);
    canvas.dataset.shown = `${set} ${word} ${at}`;
  }

  function later() {
    clearTimeout(timer);
    timer = setTimeout(() => {
      history.replaceState(null, "", toAddress(about, state));
      one("stage-spoken").textContent = [one("stage-says").textContent, state.guess === null ? "" : one("stage-answer").textContent].join(" ").trim();
    }, QUIET_MS);
  }

  async function copy() {
    const link = new URL(toAddress(about, state), location.href).href;
    history.replaceState(null, "", link);
    try {
      await navigator.clipboard.writeText(link);
      one("stage-spoken").textContent = one("stage-copy").textContent = words.copied;
    } catch {
      one("stage-copy").textContent = words.inAddress;
    }
  }

  /** The playground in the stage's own place, with this sentence. The press is the reader's word to load. */
  async function draw() {
    one("stage-draw").disabled = true;
    try {
      await import("./element.mjs");
    } catch {
      one("stage-draw").disabled = false;
      one("stage-spoken").textContent = one("stage-promise").textContent = words.missing;
      return;
    }
    const settings = JSON.stringify({ ...about.live, prompt: about.sets[state.set].sentence });
    const live = document.createElement("diffusion-playground");
    for (const [name, value] of Object.entries({ ...about.model, preset: about.preset, settings, begin: "" })) live.setAttribute(name, value);
    const head = document.createElement("p");
    head.className = "playground-title";
    head.slot = "head";
    head.textContent = words.live;
    live.append(head);
    one("stage-offer").replaceWith(live);
    one("stage-spoken").textContent = words.live;
  }
}

function percent(share) {
  return `${Math.round(100 * share)}%`;
}

for (const root of document.querySelectorAll(".dt-parts")) start(root);
