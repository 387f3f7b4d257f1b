// Where the sections and equations of a page went when it was split: an old link still leads to them. Loaded by site.mjs
// when an address names a place that its page does not have.

/** page -> (id on the page as it was -> page and id where it is now) */
export const MOVED = {
  "few-steps": {
    ...gone("solvers", [
      "ddim-is-a-solver",
      "continuous-time-and-the-same-equation-with-noise",
      "how-the-error-falls-with-the-number-of-steps",
      "one-step-four-names",
      "the-stiff-end",
      "how-many-steps-and-which-sampler",
      "with-guidance",
      "equation-eq-ode",
      "equation-eq-exponential",
      "equation-eq-ddim-euler",
      "equation-eq-semilinear",
      "equation-eq-vp",
      "equation-eq-reverse-sde",
      "equation-eq-order",
      "equation-eq-heun",
      "equation-eq-2m",
      "equation-eq-multistep",
      "equation-eq-karras",
    ]),
    ...gone("schedules", [
      "which-levels-spacing-and-the-end-that-is-not-noise",
      "what-becomes-of-a-wrong-start",
      "the-leak-counted",
      "a-perfect-network-would-do-the-same",
      "what-to-do-about-it",
      "after-ddim",
      "equation-eq-leak",
      "equation-eq-v",
      "equation-eq-forget",
      "equation-eq-fisher",
    ]),
    "on-pictures": "few-steps#what-there-is-to-see",
  },
};

function gone(page, ids) {
  return Object.fromEntries(ids.map((id) => [id, `${page}#${id}`]));
}

/** The address that an old one stands for, or null. */
export function follow(address) {
  const here = new URL(address);
  const page = here.pathname.split("/").pop().replace(/\.html$/, "");
  const [to, id] = MOVED[page]?.[decodeURIComponent(here.hash.slice(1))]?.split("#") ?? [];
  return to ? new URL(`${to}.html#${id}`, here).href : null;
}
