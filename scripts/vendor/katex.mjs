// Formulas to HTML and MathML: [{ tex, display }, …] comes in on standard input, [{ html } or { error }, …] goes out.

import { readFileSync } from "node:fs";
import katex from "katex";

const rendered = ({ tex, display }) => {
  try {
    return { html: katex.renderToString(tex, { displayMode: display, output: "htmlAndMathml", strict: "error", trust: false }) };
  } catch (error) {
    return { error: String(error.message) };
  }
};

process.stdout.write(JSON.stringify(JSON.parse(readFileSync(0, "utf8")).map(rendered)));
