// What a stage shows, as it stands in the address: #stage=few-steps&steps=10&seed=1&guess=20. A value that the stage does
// not have is left out, so that an old link still opens.

/** { at, set, guess } for the stage `about` (its `name`, `key`, `setKey`, `stops`, `sets`, `guesses`, `first`), or null. */
export function fromAddress(hash, about) {
  const said = new URLSearchParams(hash.replace(/^#/, ""));
  if (said.get("stage") !== about.name) return null;
  const place = (list, value, otherwise) => (list.includes(value) ? list.indexOf(value) : otherwise);
  const guess = place(about.stops, said.get("guess"), -1);
  return {
    at: place(about.stops, said.get(about.key), about.first),
    set: place(about.sets.map(({ name }) => name), said.get(about.setKey), 0),
    guess: about.guesses.includes(guess) ? guess : null,
  };
}

/** The part of the address after "#" that opens this state. */
export function toAddress(about, { at, set, guess }) {
  const said = new URLSearchParams({ stage: about.name, [about.key]: about.stops[at] });
  if (about.sets.length > 1) said.set(about.setKey, about.sets[set].name);
  if (guess !== null) said.set("guess", about.stops[guess]);
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
