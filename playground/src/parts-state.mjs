// What Still Life's stage shows, as it stands in the address: #stage=still-life&sentence=2&word=9&step=8&guess=1. A value
// that the stage does not have is left out, so that an old link still opens.

/** { at, set, word, guess } for the stage `about` (its `name`, `stops`, `sets`, `guesses`, `first`), or null. */
export function fromAddress(hash, about) {
  const said = new URLSearchParams(hash.replace(/^#/, ""));
  if (said.get("stage") !== about.name) return null;
  const number = (key, count, otherwise) => {
    const value = said.get(key);
    return /^\d+$/.test(value ?? "") && Number(value) < count ? Number(value) : otherwise;
  };
  const set = Math.max(number("sentence", about.sets.length + 1, 1), 1) - 1;
  const step = about.stops.indexOf(Number(said.get("step") ?? NaN));
  return {
    set,
    at: step < 0 ? about.first.at : step,
    word: number("word", about.sets[set].tokens.length, named(about.sets[set].tokens, about.first.token)),
    guess: number("guess", about.guesses, null),
  };
}

/** The part of the address after "#" that opens this state. */
export function toAddress(about, { at, set, word, guess }) {
  const said = new URLSearchParams({ stage: about.name, sentence: set + 1, word, step: about.stops[at] });
  if (guess !== null) said.set("guess", guess);
  return `#${said}`;
}

/** The place of a token of that name, or else of the first that is a word. */
export function named(tokens, name) {
  const place = tokens.findIndex((token) => token.name === name);
  return place < 0 ? 1 : place;
}

/** Where the picture of a view and a step lies, for an image that is larger than the square that shows it: lengths in %. */
export function placed({ side, pad, width }, view, at) {
  const size = side + 2 * pad;
  const part = (k) => (-100 * (k * size + pad)) / side;
  return { left: part(at), top: part(view), width: (100 * width) / side };
}

/** A sentence with the numbers of `row` in its places: "{weight} of {all}". */
export function filled(sentence, row) {
  return sentence.replace(/\{(\w+)\}/g, (all, name) => row[name] ?? all);
}

/** The points of a curve of shares in [0, 1] at some steps, in a frame { left, top, width, height }. */
export function points(values, steps, { left, top, width, height }) {
  const last = steps.at(-1);
  return values.map((v, k) => [left + (width * steps[k]) / last, top + height * (1 - v)]);
}

/** The place that a key moves to among `count` buttons in a row, or null for a key that moves nowhere. */
export function moved(key, at, count) {
  const to = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: count - 1 }[key];
  return to === undefined ? null : Math.min(Math.max(to, 0), count - 1);
}
