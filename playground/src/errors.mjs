// How a wrong value is named: the mirror of diffusion_tutorial/errors.py.

/** "name is value; allowed: what is". */
export function allowed(name, value, what) {
  return `${name} is ${typeof value === "string" ? `“${value}”` : String(value)}; allowed: ${what}`;
}

/** `value`, or a RangeError unless it is one of the list. */
export function checkChoice(name, value, choices) {
  if (!choices.includes(value)) throw new RangeError(allowed(name, value, choices.join(", ")));
  return value;
}
