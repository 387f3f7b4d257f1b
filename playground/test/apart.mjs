/** The largest difference of two lists, which must be of one length. */
export function apart(one, other) {
  if (one.length !== other.length) throw new Error(`lengths ${one.length} and ${other.length}`);
  let most = 0;
  for (let k = 0; k < one.length; k++) most = Math.max(most, Math.abs(Number(one[k]) - Number(other[k])));
  return Number.isNaN(most) ? Infinity : most;
}
