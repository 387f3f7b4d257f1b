// The values that the Python package wrote for this run; see tests/playground.
import { readFileSync } from "node:fs";

const path = process.env.GOLDEN;
if (!path) throw new Error("GOLDEN is not set: these tests are run by `pytest tests/playground`");
export const golden = JSON.parse(readFileSync(path));

/** The largest difference of two lists, which must be of one length. */
export function apart(one, other) {
  if (one.length !== other.length) throw new Error(`lengths ${one.length} and ${other.length}`);
  let most = 0;
  for (let k = 0; k < one.length; k++) most = Math.max(most, Math.abs(Number(one[k]) - Number(other[k])));
  return Number.isNaN(most) ? Infinity : most;
}
