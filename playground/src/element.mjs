// <diffusion-playground preset="few-steps" manifest="…/manifest.json" megabytes="9.8">
//
// With "begin" the model is loaded at once: who put the element there had the reader's word. "settings", as JSON, are first
// values other than the preset's.
// With the attributes models="still-life still-life-flow" and sizes="the classic 9.8 MB, the flow 9.1 MB" it loads these
// models in place of the classic alone, and says beforehand what each weighs.
//
// What stands inside the element, a heading (slot "head") and pictures made beforehand, is what a reader sees without
// JavaScript, before the model is loaded, and where it cannot be. With the model the pictures give way to live ones
// (live.mjs, fetched then).

import { h } from "./dom.mjs";
import { STYLE } from "./style.mjs";

const NEAR = "240px"; // of the window: the element is about to be seen
const BEFOREHAND = "The pictures were made beforehand with the same model.";

export class DiffusionPlayground extends HTMLElement {
  #tools = null; // client.mjs, for presets that need the model
  #client = null;
  #parts = {};
  #live = null;
  #near = false;
  #observer = null;
  #onChange = () => this.#show();

  connectedCallback() {
    if (!this.shadowRoot) {
      this.attachShadow({ mode: "open" }).append(h("style", {}, STYLE), this.#frame());
      this.#parts.load.textContent = `Load the ${this.getAttribute("models") ? "models" : "model"}, ${this.getAttribute("megabytes")} MB`;
    }
    if (this.#downloads) this.#connect();
    this.#observer = new IntersectionObserver(
      (entries) => {
        this.#near = entries.at(-1).isIntersecting;
        if (this.#near) this.#arrive();
      },
      { rootMargin: NEAR },
    );
    this.#observer.observe(this);
    this.#show();
  }

  disconnectedCallback() {
    this.#observer.disconnect();
    this.#client?.removeEventListener("change", this.#onChange);
    this.#live?.cancel?.();
  }

  /** To the page's client, which tells how the model's download stands. */
  async #connect() {
    try {
      this.#tools ??= await import("./client.mjs");
    } catch {
      return this.#refuse("its program could not be loaded");
    }
    const manifest = this.getAttribute("manifest");
    if (manifest) this.#client ??= this.#tools.clientFor(new URL(manifest, document.baseURI).href, this.getAttribute("models")?.split(" "));
    if (!this.isConnected) return;
    this.#client?.addEventListener("change", this.#onChange);
    this.#show();
    if (this.hasAttribute("begin") && ["idle", "failed"].includes(this.#client?.phase) && !this.#tools.obstacle()) this.#client.load();
    else if (this.#near) this.#arrive();
  }

  get #downloads() {
    return this.getAttribute("preset") !== "mixture";
  }

  /** About to be seen: what costs no download is started, a model that is kept from an earlier visit too. */
  async #arrive() {
    if (!this.#downloads || this.#client?.phase === "ready") this.#begin();
    else if (this.#client?.phase === "idle" && !this.#tools.obstacle() && !this.#tools.savesData() && (await this.#client.isCached())) this.#client.load();
  }

  async #begin() {
    if (this.#live) return;
    this.#live = {};
    const { mount } = await import(this.#downloads ? "./live.mjs" : "./mixture-view.mjs");
    const { stills, live, load, stopLoad, spoken } = this.#parts;
    const at = this.shadowRoot.activeElement;
    stills.hidden = true;
    live.hidden = false;
    const given = JSON.parse(this.getAttribute("settings") ?? "{}");
    this.#live = mount(this.getAttribute("preset"), live, (text) => (spoken.textContent = text), this.#client, given);
    if (at === load || at === stopLoad) live.focus(); // the button is gone; the keyboard goes on from here
  }

  #frame() {
    const parts = this.#parts;
    parts.load = h("button", { type: "button", class: "main", onclick: () => this.#client.load() });
    parts.promise = h("p", { class: "note" });
    parts.meter = h("progress", { max: 1, value: 0, "aria-label": "Download of the model" });
    parts.bytes = h("span");
    parts.stopLoad = h("button", { type: "button", onclick: () => this.#client.cancelLoad() }, "Cancel");
    parts.offer = h("div", { class: "offer", hidden: true }, parts.load, parts.promise);
    parts.download = h("div", { class: "offer", hidden: true }, h("div", { class: "download" }, parts.meter, h("p", { class: "note" }, parts.bytes)), parts.stopLoad);
    parts.trouble = h("div", { class: "trouble", role: "alert", hidden: true });
    parts.stills = h("slot");
    parts.live = h("div", { class: "live", hidden: true, tabIndex: -1 });
    parts.spoken = h("p", { class: "spoken", role: "status" });
    const title = this.querySelector(".playground-title")?.textContent ?? this.getAttribute("preset");
    return h("section", { class: "card", "aria-label": `Playground: ${title}` },
      h("header", {}, h("slot", { name: "head" })), h("slot", { name: "kept" }), parts.stills, parts.live, parts.offer, parts.download, parts.trouble, parts.spoken);
  }

  #refuse(why) {
    const { trouble } = this.#parts;
    trouble.hidden = false;
    trouble.textContent = `Not live here: ${why}. ${BEFOREHAND}`;
  }

  #show() {
    if (!this.#tools) return; // nothing to load, or not yet
    const { obstacle, savesData } = this.#tools;
    const { offer, download, trouble, meter, bytes, promise, load, stopLoad, spoken } = this.#parts;
    const phase = this.#client?.phase ?? "absent";
    const wrong = phase === "absent" ? "this build of the page has no model" : obstacle() || (this.#client.blocked ? this.#client.reason : "");
    const at = this.shadowRoot.activeElement;
    const loading = ["loading", "starting"].includes(phase);
    offer.hidden = Boolean(wrong) || !["idle", "failed"].includes(phase);
    download.hidden = !loading;
    if (at === load && loading) stopLoad.focus();
    if (at === stopLoad && !offer.hidden) load.focus();
    trouble.hidden = !wrong && phase !== "failed";
    if (wrong) this.#refuse(wrong);
    else if (phase === "failed") {
      trouble.textContent = `The model could not be loaded: ${this.#client.reason}. ${BEFOREHAND}`;
      load.textContent = "Try again";
    }
    const sizes = this.getAttribute("sizes");
    const parts = sizes ? `They are ${sizes}; what is kept from an earlier visit is not fetched again. ` : "";
    promise.textContent = savesData()
      ? "Your browser asks pages to save data, so nothing is loaded unless you say so."
      : `${parts}${sizes ? "They then run" : "It then runs"} here, on your own machine. Nothing is sent.`;
    const { received, total } = this.#client ?? {};
    if (phase === "loading" && total) {
      meter.value = received / total;
      bytes.textContent = `${megabytes(received)} of ${megabytes(total)} MB`;
      const text = `Loading the model: ${25 * Math.floor((4 * received) / total)} percent.`;
      if (spoken.textContent !== text) spoken.textContent = text;
    } else if (loading) {
      meter.removeAttribute("value");
      bytes.textContent = phase === "loading" ? "Asking for the model …" : "Starting the model …";
    } else if (phase === "ready" && this.#near) this.#begin();
  }
}

function megabytes(bytes) {
  return (bytes / 1e6).toFixed(1);
}

if (!customElements.get("diffusion-playground")) customElements.define("diffusion-playground", DiffusionPlayground);
