// What a stage shows, as it stands in the address: #stage=few-steps&steps=10&seed=1&guess=20. A value that the stage does
// not have is left out, so that an old link still opens.

/** { at, set, guess, place } for the stage `about` (its `name`, `key`, `setKey`, `stops`, `sets`, `guesses`, `first`), or null. */
export function fromAddress(hash, about) {
  const said = new URLSearchParams(hash.replace(/^#/, ""));
  if (said.get("stage") !== about.name) return null;
  const place = (list, value, otherwise) => (list.includes(value) ? list.indexOf(value) : otherwise);
  const guess = place(about.guesses.map((_, k) => nameOfGuess(about, k)), said.get("guess"), null);
  return {
    at: place(about.stops, said.get(about.key), about.first),
    set: place(about.sets.map(({ name }) => name), said.get(about.setKey), 0),
    guess,
    place: about.plane?.pad ? placeOf(said.get("place"), about.plane.reach) : null,
  };
}

/** How a guess stands in the address: the stop that it is, or its number from 1 on. */
function nameOfGuess({ guesses, stops }, k) {
  return guesses[k] === null ? String(k + 1) : stops[guesses[k]];
}

/** { x, y } of "0.25,-1" where both lie within reach, else null. */
function placeOf(text, reach) {
  const found = /^(-?\d{1,2}(?:\.\d{1,4})?),(-?\d{1,2}(?:\.\d{1,4})?)$/.exec(text ?? "");
  if (!found) return null;
  const [x, y] = found.slice(1).map(Number);
  return Math.abs(x) <= reach.x && Math.abs(y) <= reach.y ? { x, y } : null;
}

/** The part of the address after "#" that opens this state. */
export function toAddress(about, { at, set, guess, place = null }) {
  const said = new URLSearchParams({ stage: about.name, [about.key]: about.stops[at] });
  if (about.sets.length > 1) said.set(about.setKey, about.sets[set].name);
  if (guess !== null) said.set("guess", nameOfGuess(about, guess));
  if (place) said.set("place", `${place.x},${place.y}`);
  return `#${said}`;
}

/** A sentence with the numbers of `row` in its places: "{holds} of {n}". */
export function filled(sentence, row) {
  return sentence.replace(/\{(\w+)\}/g, (all, name) => row[name] ?? all);
}

/** Where the picture of a cell of a sheet lies, for an image that is larger than the square that shows it: lengths in %. */
export function placed({ columns, side, pad, width }, cell) {
  const size = side + 2 * pad;
  const part = (k) => (-100 * (k * size + pad)) / side;
  return { left: part(cell % columns), top: part(Math.floor(cell / columns)), width: (100 * width) / side };
}

/** The points of a curve: values (null for none), one a stop, in a frame { left, top, width, height, most }. */
export function points(values, { left, top, width, height, most }) {
  const last = Math.max(values.length - 1, 1);
  return values.map((v, k) => (v === null ? null : [left + (width * k) / last, top + height * (1 - Math.min(v, most) / most)]));
}
