/** Comparison of arrays that a NaN cannot pass, and that says where and by how much it failed. */
import assert from "node:assert/strict";

/**
 * Every element within atol + rtol*|expected|. Without `atol`, differences are measured against rtol times the largest
 * |expected|, which is the right scale for sums of products where single elements may cancel to nearly zero.
 */
export function assertClose(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  options: { rtol: number; atol?: number; what?: string },
): void {
  const what = options.what ?? "array";
  assert.equal(actual.length, expected.length, `${what}: length`);
  let largest = 0;
  for (let i = 0; i < expected.length; i++) largest = Math.max(largest, Math.abs(expected[i]));
  const atol = options.atol ?? options.rtol * largest;
  let worst = -1, worstError = -1, failures = 0;
  for (let i = 0; i < expected.length; i++) {
    const error = Math.abs(actual[i] - expected[i]);
    const within = error <= atol + options.rtol * Math.abs(expected[i]) || actual[i] === expected[i];
    if (!within) {
      failures++;
      if (!(error <= worstError)) [worst, worstError] = [i, error];
    }
  }
  if (failures > 0) {
    assert.fail(
      `${what}: ${failures} of ${expected.length} differ; worst at ${worst}: got ${actual[worst]}, ` +
        `expected ${expected[worst]} (error ${worstError}, rtol ${options.rtol}, atol ${atol})`,
    );
  }
}
