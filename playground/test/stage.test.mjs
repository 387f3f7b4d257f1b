import { describe, expect, test } from "vitest";
import { filled, fromAddress, placed, points, toAddress } from "../src/stage-state.mjs";

const about = {
  name: "few-steps", key: "steps", setKey: "seed", first: 1, guesses: [0, 2, null],
  stops: ["1", "10", "1000"], sets: [{ name: "0" }, { name: "7" }],
};

describe("the address of a stage", () => {
  test("each state opens again", () => {
    for (const at of [0, 1, 2]) for (const set of [0, 1]) for (const guess of [null, 0, 1, 2])
      expect(fromAddress(toAddress(about, { at, set, guess }), about)).toEqual({ at, set, guess, place: null });
  });
  test("a place of a pad too, within its reach", () => {
    const pad = { ...about, plane: { pad: true, reach: { x: 2, y: 1 } } };
    const state = { at: 0, set: 1, guess: null, place: { x: -1.55, y: 0.75 } };
    expect(toAddress(pad, state)).toBe("#stage=few-steps&steps=1&seed=7&place=-1.55%2C0.75");
    expect(fromAddress(toAddress(pad, state), pad)).toEqual(state);
    for (const place of ["3,0", "0,1.5", "1", "1,2,3", "NaN,0", "1e1,0", ""]) {
      expect(fromAddress(`#stage=few-steps&place=${place}`, pad).place).toBeNull();
    }
    expect(fromAddress("#stage=few-steps&place=0,0", about).place).toBeNull(); // it has no pad
  });
  test("it can be read", () => expect(toAddress(about, { at: 2, set: 1, guess: 0 })).toBe("#stage=few-steps&steps=1000&seed=7&guess=1"));
  test("one set needs no name", () => expect(toAddress({ ...about, sets: [{ name: "0" }] }, { at: 0, set: 0, guess: null })).toBe("#stage=few-steps&steps=1"));
  test("another stage, or none, is not this one", () => {
    for (const hash of ["", "#", "#q-steps", "#stage=guidance&steps=10"]) expect(fromAddress(hash, about)).toBeNull();
  });
  test("a value that the stage does not have is left out", () => {
    for (const steps of ["11", "", "<b>", "__proto__", "1e9"]) {
      const hash = `#stage=few-steps&steps=${encodeURIComponent(steps)}&seed=${encodeURIComponent(steps)}&guess=10`;
      expect(fromAddress(hash, about)).toEqual({ at: 1, set: 0, guess: null, place: null });
    }
  });
});

test("a name that a row lacks stays in the sentence", () => {
  expect(filled("{a} of {b}, {c}", { a: "1", b: 0 })).toBe("1 of 0, {c}");
});

test("a cell's picture fills its square, without the edge around it", () => {
  const sheet = { columns: 3, side: 96, pad: 2, width: 300 };
  for (const cell of [0, 1, 2, 3, 7]) {
    const { left, top, width } = placed(sheet, cell);
    const scale = width / 100 / sheet.width; // squares a pixel of the sheet
    expect(-left / 100 / scale).toBeCloseTo((cell % 3) * 100 + 2, 6);
    expect(-top / 100 / scale).toBeCloseTo(Math.floor(cell / 3) * 100 + 2, 6);
    expect(96 * scale).toBeCloseTo(1, 9);
  }
});

test("a curve goes through its values, and leaves out what was not measured", () => {
  const frame = { left: 10, top: 5, width: 100, height: 50, most: 2 };
  expect(points([0, null, 2, 3], frame)).toEqual([[10, 55], null, [10 + 200 / 3, 5], [110, 5]]);
});
