// Still Life's captions: the mirror of diffusion_tutorial/still_life/captions.py. A test compares the two.

export const ATTRIBUTES = {
  shape: ["sphere", "cube", "cylinder", "cone", "torus"],
  colour: ["red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink"],
  size: ["small", "large"],
  material: ["matte", "shiny"],
  floor: ["red", "yellow", "green", "blue", "gray", "white"],
  wall: ["white", "yellow", "green", "blue"],
};

const GLUE = ["a", "an", "the", "object", "on", "in", "front", "of", "before", "with", "and", "floor", "wall"];
export const WORDS = [...new Set([...GLUE, ...Object.values(ATTRIBUTES).flat()])];
// What stands between words: white space and the marks of a sentence, those of Chinese too.
const BETWEEN = "\\s.,;:!?…\"“”„'‘’()，。、；：！？（）";
const APART = new RegExp(`[${BETWEEN}]+`);
const WORD = new RegExp(`[^${BETWEEN}]+`, "g");
const CUTOFF = 0.5;

/** The words of a text, in small letters, without punctuation. */
export function wordsOf(text) {
  return text.toLowerCase().split(APART).filter(Boolean);
}

/** The text with each word `from` (in small letters) replaced; the rest stays as it was written. */
export function replaceWord(text, from, to) {
  return text.replace(WORD, (word) => (word.toLowerCase() === from ? to : word));
}

/** The words of `text` outside the vocabulary, each once: [{ word, nearest }], nearest up to three known ones. */
export function unknownWords(text) {
  return [...new Set(wordsOf(text))].filter((word) => !WORDS.includes(word)).map((word) => ({ word, nearest: nearest(word) }));
}

/** The caption that names the attributes in `said`, such as { shape: "cube", floor: "green" }, in standard order. */
export function caption(said) {
  for (const [key, value] of Object.entries(said)) {
    if (!ATTRIBUTES[key]?.includes(value)) throw new RangeError(`said.${key} is ${value}; allowed: ${(ATTRIBUTES[key] ?? Object.keys(ATTRIBUTES)).join(", ")}`);
  }
  const thing = [...["size", "material", "colour"].filter((key) => said[key]).map((key) => said[key]), said.shape ?? "object"];
  const parts = [article(thing[0]), ...thing];
  if (said.floor) parts.push("on", article(said.floor), said.floor, "floor");
  if (said.wall) parts.push("in", "front", "of", article(said.wall), said.wall, "wall");
  return parts.join(" ");
}

/** The attributes that a caption names; the inverse of `caption`. Throws for a word outside the vocabulary. */
export function parse(text) {
  const [unknown] = unknownWords(text);
  if (unknown) throw new RangeError(`text has the unknown word ${unknown.word}`);
  const words = wordsOf(text);
  const said = {};
  words.forEach((here, k) => {
    const after = words[k + 1];
    if ((after === "floor" || after === "wall") && ATTRIBUTES[after].includes(here)) said[after] = here;
    else for (const key of ["shape", "colour", "size", "material"]) if (ATTRIBUTES[key].includes(here)) said[key] = here;
  });
  return said;
}

function article(word) {
  return "aeiou".includes(word[0]) ? "an" : "a";
}

/** As Python's difflib.get_close_matches(word, WORDS, 3, 0.5). */
function nearest(word) {
  return WORDS.map((known) => ({ known, ratio: (2 * matching(known, word)) / (known.length + word.length) }))
    .filter(({ ratio }) => ratio >= CUTOFF)
    .sort((one, other) => other.ratio - one.ratio || (other.known > one.known ? 1 : -1))
    .slice(0, 3)
    .map(({ known }) => known);
}

/** Letters in common, counted as difflib does: the longest common run, then the same to its left and right. */
function matching(a, b) {
  let [size, i, j] = [0, 0, 0];
  for (let p = 0; p < a.length; p++) {
    for (let q = 0; q < b.length; q++) {
      let n = 0;
      while (p + n < a.length && q + n < b.length && a[p + n] === b[q + n]) n++;
      if (n > size) [size, i, j] = [n, p, q];
    }
  }
  return size && size + matching(a.slice(0, i), b.slice(0, j)) + matching(a.slice(i + size), b.slice(j + size));
}
