// The values that the Python package wrote for this run; see tests/playground.
import { readFileSync } from "node:fs";

export { apart } from "./apart.mjs";

const path = process.env.GOLDEN;
if (!path) throw new Error("GOLDEN is not set: these tests are run by `pytest tests/playground`");
export const golden = JSON.parse(readFileSync(path));
