// From a prompt to the text encoder's numbers: the mirror of Still Life's tokenizer, in which every known word is one
// token. What the numbers are stands in the manifest.

import { unknownWords, wordsOf } from "./captions.mjs";
import { allowed } from "./errors.mjs";

/** A text has words outside the vocabulary. unknown: [{ word, nearest }]; field: which text it was. */
export class UnknownWordError extends Error {
  constructor(field, unknown) {
    const words = unknown.map(({ word, nearest }) => `“${word}”${nearest.length ? ` (nearest: ${nearest.join(", ")})` : ""}`);
    super(`unknown ${unknown.length === 1 ? "word" : "words"} ${words.join(", ")}`);
    this.name = "UnknownWordError";
    this.unknown = unknown;
    this.field = field;
  }
}

/** The token ids of a text, BigInt64Array of tokens.length. Throws for unknown words and for a text that is too long. */
export function encode(text, tokens, field = "prompt") {
  const unknown = unknownWords(text);
  if (unknown.length) throw new UnknownWordError(field, unknown);
  const words = wordsOf(text);
  const most = tokens.length - 2;
  if (words.length > most) {
    const error = new RangeError(allowed(`the number of words of ${field}`, words.length, `at most ${most}`));
    error.field = field;
    throw error;
  }
  const ids = new BigInt64Array(tokens.length).fill(BigInt(tokens.pad));
  [tokens.start, ...words.map((word) => tokens.words[word]), tokens.end].forEach((id, k) => (ids[k] = BigInt(id)));
  return ids;
}
