import { describe, expect, test } from "vitest";
import { filled, fromAddress, moved, named, placed, points, toAddress } from "../src/parts-state.mjs";

const tokens = (...names) => names.map((name) => ({ name }));
const about = {
  name: "still-life",
  stops: [0, 8, 19],
  sets: [{ tokens: tokens("start", "a", "floor", "end") }, { tokens: tokens("start", "a", "cube", "end") }],
  guesses: 3,
  first: { at: 1, set: 0, token: "floor" },
};

describe("the address", () => {
  test.each([
    [{ set: 0, at: 2, word: 3, guess: null }, "#stage=still-life&sentence=1&word=3&step=19"],
    [{ set: 1, at: 0, word: 0, guess: 2 }, "#stage=still-life&sentence=2&word=0&step=0&guess=2"],
  ])("%o goes there and back", (state, hash) => {
    expect(toAddress(about, state)).toBe(hash);
    expect(fromAddress(hash, about)).toEqual(state);
  });

  test.each(["word=9&step=3", "word=-1", "sentence=0", "sentence=x&step=%00", "guess=3", ""])("%s is the first state", (said) => {
    expect(fromAddress(`#stage=still-life&${said}`, about)).toEqual({ set: 0, at: 1, word: 2, guess: null });
  });

  test("a sentence past the last is the first, and one without the word begins with its first word", () => {
    expect(fromAddress("#stage=still-life&sentence=3", about).set).toBe(0);
    expect(fromAddress("#stage=still-life&sentence=2", about).word).toBe(1);
  });

  test("another stage's is none", () => expect(fromAddress("#stage=first&step=8", about)).toBe(null));
});

test("a name is found, or the first word is taken", () => {
  expect(named(about.sets[0].tokens, "floor")).toBe(2);
  expect(named(about.sets[0].tokens, "wall")).toBe(1);
});

test("keys move along the sentence and stop at its ends", () => {
  expect(["ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp", "Home", "End", "a"].map((key) => moved(key, 1, 4))).toEqual([2, 2, 0, 0, 0, 3, null]);
  expect(moved("ArrowRight", 3, 4)).toBe(3);
  expect(moved("ArrowLeft", 0, 4)).toBe(0);
});

test("a picture lies where the sheet has it", () => {
  expect(placed({ side: 96, pad: 2, width: 1000 }, 2, 3)).toEqual({ left: (-100 * 302) / 96, top: (-100 * 202) / 96, width: 100000 / 96 });
});

test("a curve's points stand at their steps", () => {
  expect(points([0, 1, 0.5], [0, 8, 16], { left: 10, top: 5, width: 100, height: 50 })).toEqual([[10, 55], [60, 5], [110, 30]]);
});

test("sentences take their numbers and keep what they do not know", () => expect(filled("{a} of {b}", { a: 1 })).toBe("1 of {b}"));
