// Does WebAssembly run, of the kind that the model needs?

// (module (func (result v128) i32.const 0 i8x16.splat))
const SIMD = Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 8, 1, 6, 0, 65, 0, 253, 15, 11);

/** Why this browser cannot run the model at all, or "". */
export function unable() {
  try {
    return WebAssembly.validate(SIMD) ? "" : "this browser lacks the kind of WebAssembly that the model needs";
  } catch {
    return "this browser does not run WebAssembly, which the model needs";
  }
}

/** Why it may not run here, or "". A policy can forbid what the browser could do; only trying, where it would run, tells. */
export function forbidden() {
  try {
    return unable() || (new WebAssembly.Module(SIMD) && "");
  } catch {
    return "WebAssembly, which the model needs, is blocked here by the site or by the browser’s settings";
  }
}
