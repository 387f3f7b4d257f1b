// Whether WebAssembly runs, of the kind that the model needs.

// (module (func (result v128) i32.const 0 i8x16.splat)): the smallest program with SIMD
const SIMD = Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 8, 1, 6, 0, 65, 0, 253, 15, 11);

/** Why this browser cannot run the model at all, or "". */
export function unable() {
  try {
    return WebAssembly.validate(SIMD) ? "" : "this browser runs WebAssembly, but not the kind that the model needs";
  } catch {
    return "this browser does not run WebAssembly, which the model needs";
  }
}

/**
 * Why the model may not run here, or "": a site's security policy, or the browser's, can forbid WebAssembly that the
 * browser would be able to run. Only trying tells, and only where the model would run: a page and its worker may differ.
 */
export function forbidden() {
  try {
    return unable() || (new WebAssembly.Module(SIMD) && "");
  } catch {
    return "WebAssembly, which the model needs, is blocked here by the site or by the browser’s settings";
  }
}
