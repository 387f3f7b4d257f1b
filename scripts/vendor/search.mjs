// The search index: { sections: [{ url, page, html }], to } comes in, { sections, errors } goes out.
// Each section is a record of its own, so that an answer is a section and not a page.

import { readFileSync } from "node:fs";
import { close, createIndex } from "pagefind";

const { sections, to } = JSON.parse(readFileSync(0, "utf8"));
const { index, errors } = await createIndex({ forceLanguage: "en", maxFragments: 40 });
const found = [...errors];
for (const { url, html } of sections) {
  const made = await index.addHTMLFile({ url, content: html });
  found.push(...made.errors);
}
found.push(...(await index.writeFiles({ outputPath: to })).errors);
await close();
process.stdout.write(JSON.stringify({ sections: sections.length, errors: found }));
