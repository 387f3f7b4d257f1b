// Controls for a prompt: free text over the words that the model knows, and a sentence with a choice in each place.

import { ATTRIBUTES, caption, parse, replaceWord } from "./captions.mjs";
import { h } from "./dom.mjs";

/** A text. `button`, if there is one, stands beside it and says what Enter does. */
export function text(name, { label, placeholder, button }, value, changed) {
  const input = h("input", { type: "text", id: name, placeholder: placeholder ?? "", autocomplete: "off", spellcheck: false, autocapitalize: "off" });
  const wrong = h("div", { class: "wrong", id: `${name}-wrong`, hidden: true });
  input.setAttribute("aria-describedby", wrong.id);
  input.value = value;
  const take = () => changed(input.value.trim());
  input.addEventListener("change", take);
  input.addEventListener("keydown", (event) => event.key === "Enter" && take());
  const write = (from, to) => {
    input.value = replaceWord(input.value, from, to);
    take();
    input.focus();
  };
  const complain = (message, hints = []) => {
    input.setAttribute("aria-invalid", String(Boolean(message)));
    wrong.hidden = !message;
    wrong.replaceChildren(
      message,
      ...hints.flatMap(({ word, nearest }) =>
        nearest.map((near) => h("button", { type: "button", "aria-label": `Write ${near} for ${word}`, onclick: () => write(word, near) }, h("span", {}, near))),
      ),
    );
  };
  const line = h("div", { class: "typed" }, input, button ? h("button", { type: "button", onclick: take }, button) : null);
  const root = h("div", { class: "field" }, h("label", { for: name }, label), line, wrong);
  return { root, set: (x) => (input.value = x), disable: (off) => (input.disabled = off), complain, input };
}

/** A text with the words that the model knows below it; choosing one puts it in its place in the sentence. */
export function prompt(name, about, value, changed) {
  const chips = [];
  const words = h("div", { class: "words" });
  const field = text(name, about, value, (x) => {
    mark();
    changed(x);
  });
  const said = () => {
    try {
      return parse(field.input.value);
    } catch {
      return null; // a word that the model does not know: the sentence starts anew
    }
  };
  const mark = () => {
    const now = said() ?? {};
    for (const { chip, key, word } of chips) chip.setAttribute("aria-pressed", String(now[key] === word));
  };
  for (const [key, values] of Object.entries(ATTRIBUTES)) {
    const row = h("div");
    for (const word of values) {
      const chip = h("button", { type: "button" }, h("span", {}, word));
      chip.addEventListener("click", () => {
        const now = { ...said() };
        if (now[key] === word) delete now[key];
        else now[key] = word;
        field.set(caption(now));
        mark();
        changed(field.input.value);
      });
      chips.push({ chip, key, word });
      row.append(chip);
    }
    words.append(h("fieldset", { class: "chips" }, h("legend", {}, key), row));
  }
  mark();
  const more = h("details", { class: "field wide" }, h("summary", {}, "Words that it knows"), words);
  const root = h("div", { class: "field wide" }, field.root, more);
  return { ...field, root, set: (x) => { field.set(x); mark(); } };
}

/** A prompt with a choice in each place. */
export function sentence(name, { label }, value, changed) {
  const said = parse(value);
  const article = h("span", {}, "a");
  const choice = (key, none) => {
    const input = h(
      "select",
      { "aria-label": key },
      h("option", { value: "" }, none),
      ...ATTRIBUTES[key].map((word) => h("option", { value: word }, word)),
    );
    input.value = said[key] ?? "";
    input.addEventListener("change", () => {
      if (input.value) said[key] = input.value;
      else delete said[key];
      const now = caption(said);
      article.textContent = now.split(" ")[0];
      changed(now);
    });
    return h("span", { class: "word" }, input);
  };
  const root = h(
    "div",
    { class: "sentence", role: "group", "aria-label": label },
    article, " ", choice("size", "any size"), " ", choice("material", "any material"), " ", choice("colour", "any colour"), " ",
    choice("shape", "object"), " on a ", choice("floor", "any"), " floor in front of a ", choice("wall", "any"), " wall",
  );
  return { root };
}
