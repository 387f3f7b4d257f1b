// Search by section, with Pagefind's index, which is loaded when a reader first searches.

import { ALIKE, LEFT_OUT } from "./search-words.mjs";

// Marks what readers see; the copy of this file for another language has it exchanged (scripts/translated/words.py).
const say = (text, fields = {}) => text.replace(/\{(\w+)\}/g, (all, name) => fields[name] ?? all);
const ROOT = new URL(document.documentElement.dataset.content_root ?? "./", document.baseURI);
const MOST = 12;
const LOOKED_AT = 24;
const PAUSE = 120;

/** The words of a text that say something, without the ending of a plural or a third person. */
const stems = (text) => text.toLowerCase().match(/[\p{L}\p{N}]+/gu)?.filter((word) => !LEFT_OUT.has(word))
  .map((word) => (word.length > 3 ? word.replace(/s$/, "") : word)) ?? [];

let loading;
function index() {
  loading ??= import(new URL("pagefind/pagefind.js", ROOT).href).then(async (pagefind) => {
    await pagefind.options({ baseUrl: ROOT.pathname, excerptLength: 24 });
    await pagefind.init();
    return pagefind;
  });
  return loading;
}

/** What to ask the index for a reader's words: [{ words, worth, name }], where `name` says what it is
 * worth that a section's title has the words; and a note where the book has nothing of the name. */
export function questions(typed) {
  const text = typed.trim().toLowerCase().replace(/[?!.,;:"“”()]+/g, " ").replace(/\s+/g, " ");
  const asked = [{ words: text, worth: 1, name: 1 }];
  const kept = text.split(" ").filter((word) => !LEFT_OUT.has(word)).join(" ");
  if (kept && kept !== text) asked.push({ words: kept, worth: 1, name: 1 });
  let note;
  const keys = Object.keys(ALIKE).filter((key) => ` ${text} `.includes(` ${key} `)).sort((a, b) => b.length - a.length);
  for (const key of keys.slice(0, 2)) {
    note ??= ALIKE[key].note;
    // Where the reader asks for more than the word, the word's own place is only one answer among others.
    const whole = kept.split(" ").length <= key.split(" ").length;
    for (const [k, other] of ALIKE[key].as.entries()) {
      asked.push({ words: other, worth: (whole ? 1.6 : 0.8) - 0.25 * k, name: whole ? 1 : 0.3 });
    }
  }
  return { asked, note, words: kept ? kept.split(" ") : [] };
}

/** The sections that answer best: [{ url, title, page, excerpt }], at most `most`. */
export async function find(typed, most = MOST) {
  const pagefind = await index();
  const { asked, note, words } = questions(typed);
  const scores = new Map();
  const take = async ({ words: text, worth }) => {
    const { results } = await pagefind.search(text);
    const best = results[0]?.score ?? 1;
    for (const result of results.slice(0, 40)) {
      const before = scores.get(result.id) ?? { result, score: 0 };
      scores.set(result.id, { result, score: Math.max(before.score, (worth * result.score) / best) });
    }
    return results.length;
  };
  let count = 0;
  for (const question of asked) count += await take(question);
  // No section has all the words: those that have some of them, the rarest first.
  if (count === 0 && words.length > 1) {
    for (const word of words) {
      const { results } = await pagefind.search(word);
      for (const result of results.slice(0, 40)) {
        const before = scores.get(result.id) ?? { result, score: 0 };
        scores.set(result.id, { result, score: before.score + 1 / Math.log2(2 + results.length) });
      }
    }
  }
  const ordered = [...scores.values()].sort((a, b) => b.score - a.score).slice(0, LOOKED_AT);
  const read = await Promise.all(ordered.map(async ({ result, score }) => ({ data: await result.data(), score })));
  // A section whose title is what was asked, or the book's name for it, comes first.
  const names = asked.map(({ words: text, name }) => ({ name: stems(text), worth: name }));
  for (const one of read) {
    const title = stems(one.data.meta.title);
    const place = [...title, ...stems(one.data.meta.page)];
    const best = names.map(({ name, worth }) => {
      const within = (some, whole) => some.length > 0 && some.every((word) => whole.includes(word));
      if (title.join(" ") === name.join(" ")) return worth;
      if (within(title, name) && within(name, place)) return 0.9 * worth; // "when does the negative prompt act"
      return within(name, title) ? 0.5 * worth : 0;
    });
    one.score += Math.max(...best);
  }
  read.sort((a, b) => b.score - a.score);
  const sections = read.slice(0, most).map(({ data }) => {
    return { url: new URL(data.raw_url.replace(/^\//, ""), ROOT).href, title: data.meta.title, page: data.meta.page, excerpt: withoutTitle(data.excerpt, data.meta.title, data.meta.page) };
  });
  return { sections, note };
}

/** An excerpt without the section's title and page, which stand above it. */
export function withoutTitle(excerpt, title, page) {
  const plain = (text) => text.replace(/<[^>]+>/g, "").replace(/[.…]+$/, "");
  const known = `${title} ${page}`.split(/\s+/).map(plain);
  const words = excerpt.split(/\s+/);
  let at = 0;
  while (at < known.length && at < words.length && plain(words[at]) === known[at]) at += 1;
  const whole = at === known.length || known.slice(at).join(" ") === "";
  const middle = known.findIndex((_, k) => k > 0 && known.slice(k).every((word, i) => word === plain(words[i] ?? "")));
  return whole ? words.slice(at).join(" ") : middle > 0 ? words.slice(known.length - middle).join(" ") : excerpt;
}

const made = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};

/** Answers under a search field, as one types. */
export function attach(input) {
  const said = made("p", { className: "dt-found-said" });
  said.setAttribute("role", "status");
  const list = made("ol", { className: "dt-found" });
  input.form.after(said, list);
  let turn = 0;
  let timer;

  const show = async () => {
    const mine = ++turn;
    if (!input.value.trim()) {
      list.replaceChildren();
      said.textContent = "";
      return;
    }
    let answer;
    try {
      answer = await find(input.value);
    } catch (error) {
      console.warn(error);
      said.textContent = say("Search does not work in this browser: it needs WebAssembly, which is blocked or missing here.");
      return;
    }
    if (mine !== turn) return;
    const { sections, note } = answer;
    const count = sections.length === 1 ? say("1 section.") : say("{n} sections.", { n: sections.length });
    said.textContent = [note, sections.length ? count : say("Nothing found. Try a single word, or see the glossary.")].filter(Boolean).join(" ");
    list.replaceChildren(...sections.map(({ url, title, page, excerpt }) => {
      const words = made("span", { className: "dt-found-words" });
      words.innerHTML = excerpt; // Pagefind's own: text with <mark>
      const name = made("span", { className: "dt-found-title" }, title);
      const place = page && page !== title ? [made("span", { className: "dt-found-page" }, page)] : [];
      return made("li", {}, made("a", { href: url }, name, ...place, words));
    }));
  };

  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(show, PAUSE);
  });
  const scope = input.closest("dialog") ?? input.form.parentElement;
  scope.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
    const links = [...list.querySelectorAll("a")];
    const at = links.indexOf(document.activeElement);
    const next = at + (event.key === "ArrowDown" ? 1 : -1);
    if (!links.length || next < -1) return;
    event.preventDefault();
    (next === -1 ? input : links[Math.min(next, links.length - 1)]).focus();
  });
  list.addEventListener("click", () => input.closest("dialog")?.close());
  index().catch(() => {});
  return show;
}
