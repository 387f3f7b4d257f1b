// The rules of a stylesheet that pages can use: { css, pages, scripts, keep } comes in, { css } goes out.
// `pages` are HTML files; `scripts` are files whose words may name a class; `keep` are patterns of selectors that stay.

import { readFileSync } from "node:fs";
import { PurgeCSS } from "purgecss";

const { css, pages, scripts, keep } = JSON.parse(readFileSync(0, "utf8"));
const words = (text) => text.match(/[\w-]+/g) ?? [];
const attributes = (text) => {
  const found = { attributes: { names: [], values: [] }, classes: [], ids: [], tags: [], undetermined: [] };
  for (const [, tag, rest] of text.matchAll(/<([a-z][\w-]*)((?:\s+[^\s=>"]+(?:="[^"]*")?)*)\s*\/?>/gi)) {
    found.tags.push(tag.toLowerCase());
    for (const [, name, value = ""] of rest.matchAll(/([^\s=>"]+)(?:="([^"]*)")?/g)) {
      found.attributes.names.push(name);
      if (name === "class") found.classes.push(...value.split(/\s+/));
      else if (name === "id") found.ids.push(value);
      else found.attributes.values.push(value);
    }
  }
  for (const key of ["classes", "ids", "tags"]) found[key] = [...new Set(found[key])];
  for (const key of ["names", "values"]) found.attributes[key] = [...new Set(found.attributes[key])];
  return found;
};
const [result] = await new PurgeCSS().purge({
  css: [{ raw: css }],
  content: [...pages, ...scripts],
  extractors: [
    { extractor: attributes, extensions: ["html"] },
    { extractor: words, extensions: ["js", "mjs"] },
  ],
  safelist: { standard: ["html", "body", ":root"], greedy: keep.map((pattern) => new RegExp(pattern)) },
  keyframes: true,
  fontFace: false,
  variables: false,
  dynamicAttributes: ["open", "data-theme", "data-mode", "data-code", "aria-expanded", "aria-current", "aria-sort", "hidden"],
});
process.stdout.write(JSON.stringify({ css: result.css }));
