/** Elementwise and row kernels against the float64 reference. */
import { assertClose } from "../helpers/close.ts";
import { type FloatType, integers, operand, operandOf, rounding } from "../helpers/operand.ts";
import { randomFloats } from "../helpers/random.ts";
import { gpuTest, input, output, runDispatches } from "../helpers/webgpu.ts";
import {
  addInPlace,
  binary,
  cast,
  copyWindow,
  fill,
  gatherRows,
  scale,
  scatterAddRows,
  scatterRows,
  sumRows,
} from "../../lib/webgpu/elementwise_kernels.ts";
import { opsFloat64 } from "../reference/ops_float64.ts";

/** Types of the operands and the result; every mix of f16 and f32 is allowed. */
const mixes: [FloatType, FloatType, FloatType][] = [
  ["f32", "f32", "f32"],
  ["f16", "f16", "f16"],
  ["f32", "f16", "f32"],
  ["f16", "f32", "f16"],
];

/** One operation in f32 (at most 2.5 units in the last place, which is division's), then rounding to the result's type. */
const once = (dtype: FloatType) => ({ rtol: 2.5 * 2 ** -23 + rounding[dtype].rtol, atol: rounding[dtype].atol });

gpuTest("cast() widens f16 exactly", async (gpu) => {
  const x = operand([7, 33], 1, { dtype: "f16" }), y = output([7, 33]);
  const [found] = await runDispatches(gpu, [cast(x.tensor, y)], [y]);
  assertClose(found, x.value.data, { rtol: 0, atol: 0 });
});

gpuTest("binary() with an operand of the same shape and with a vector", async (gpu) => {
  for (const [typeA, typeB, typeY] of mixes) {
    for (const shape of [[1, 33], [17, 72], [5, 131], [3, 1]]) {
      const a = operand(shape, 1, { dtype: typeA });
      for (const bShape of [shape, [shape[1]]]) {
        const count = bShape.reduce((a, b) => a * b, 1);
        const b = operandOf(bShape, randomFloats(count, 2).map((x) => x + 0.5 * Math.sign(x)), typeB);
        for (const op of ["add", "mul", "div"] as const) {
          const y = output(shape, typeY);
          const [found] = await runDispatches(gpu, [binary(op, a.tensor, b.tensor, y)], [y]);
          const what = `${op} ${typeA} ${typeB} ${typeY} [${shape}] [${bShape}]`;
          assertClose(found, opsFloat64[op](a.value, b.value).data, { ...once(typeY), what });
        }
      }
    }
  }
});

gpuTest("scale(), fill() and addInPlace()", async (gpu) => {
  for (const [typeX, , typeY] of mixes) {
    const x = operand([17, 131], 1, { dtype: typeX }), sum = operand([17, 131], 2, { dtype: typeY });
    const scaled = output([17, 131], typeY), filled = output([5, 33], typeY);
    const [found, constant, added] = await runDispatches(gpu, [
      scale(x.tensor, scaled, -0.375),
      fill(filled, 1.5),
      addInPlace(x.tensor, sum.tensor),
    ], [scaled, filled, sum.tensor]);
    assertClose(found, opsFloat64.scale(x.value, -0.375).data, { ...once(typeY), what: "scale" });
    assertClose(constant, new Float32Array(5 * 33).fill(1.5), { rtol: 0, atol: 0, what: "fill" });
    assertClose(added, opsFloat64.add(x.value, sum.value).data, { ...once(typeY), what: "addInPlace" });
  }
  const whole = output([7], "i32");
  const [found] = await runDispatches(gpu, [fill(whole, -3)], [whole]);
  assertClose(found, new Int32Array(7).fill(-3), { rtol: 0, atol: 0, what: "fill i32" });
});

gpuTest("sumRows()", async (gpu) => {
  for (const [typeX, , typeY] of mixes) {
    for (const [T, O] of [[1, 33], [17, 72], [131, 36], [224, 131], [517, 576]]) {
      const x = operand([T, O], 1, { dtype: typeX }), y = output([O], typeY);
      const [found] = await runDispatches(gpu, [sumRows(x.tensor, y)], [y]);
      // Every number passes through T/128 + 3 + 2 + 32 additions at most, each rounding a sum of less than T.
      const additions = T / 128 + 37, { rtol, atol } = rounding[typeY];
      const options = { rtol, atol: atol + additions * T * 2 ** -24, what: `${typeX} ${typeY} [${T}, ${O}]` };
      assertClose(found, opsFloat64.sumRows(x.value).data, options);
    }
  }
});

gpuTest("gatherRows() from a table in parts, scaled", async (gpu) => {
  for (const [typeX, , typeY] of mixes) {
    for (const D of [33, 72]) {
      const index = integers(10, 0, 7, 7, 3, 4);
      const table = operand([11, D], 1, { dtype: typeX }), y = output([6, D], typeY);
      const part = (from: number, to: number) =>
        input([to - from, D], table.tensor.data!.slice(from * D, to * D) as Float32Array, typeX);
      const [found] = await runDispatches(gpu, [
        gatherRows(part(7, 11), index.tensor, y, { scale: 1.5, firstRow: 7 }),
        gatherRows(part(4, 7), index.tensor, y, { scale: 1.5, firstRow: 4 }),
        gatherRows(part(0, 4), index.tensor, y, { scale: 1.5 }),
      ], [y]);
      const expected = opsFloat64.scale(opsFloat64.gatherRows(table.value, index.value), 1.5);
      assertClose(found, expected.data, { ...once(typeY), what: `${typeX} ${typeY} ${D}` });
    }
  }
});

gpuTest("scatterRows() and scatterAddRows() touch the rows of their indices only", async (gpu) => {
  for (const [typeX, , typeY] of mixes) {
    for (const D of [1, 33, 72]) {
      const x = operand([3, D], 1, { dtype: typeX }), index = integers(5, 0, 8);
      const y = operand([9, D], 2, { dtype: typeY }), zeroed = output([9, D], typeY);
      const expected = opsFloat64.scatterRows(x.value, index.value, y.value);
      const [found, added] = await runDispatches(gpu, [
        fill(zeroed, 0),
        scatterRows(x.tensor, index.tensor, zeroed),
        scatterAddRows(x.tensor, index.tensor, y.tensor),
      ], [zeroed, y.tensor]);
      assertClose(found, expected.data, { ...once(typeY), what: `scatterRows ${typeX} ${typeY} ${D}` });
      const sum = opsFloat64.add(y.value, expected).data;
      assertClose(added, sum, { ...once(typeY), what: `scatterAddRows ${typeX} ${typeY} ${D}` });
    }
  }
});

gpuTest("copyWindow() copies rows, columns and both", async (gpu) => {
  for (const dtype of ["f32", "f16"] as const) {
    for (const [row, rows, column, columns] of [[0, 9, 4, 16], [5, 3, 0, 24], [1, 2, 3, 7], [2, 1, 20, 4]]) {
      const x = operand([9, 24], 1, { dtype }), y = output([rows, columns], dtype);
      const [found] = await runDispatches(gpu, [copyWindow(x.tensor, y, { row, column })], [y]);
      const expected = Array.from(
        { length: rows * columns },
        (_, i) => x.value.data[(row + Math.floor(i / columns)) * 24 + column + i % columns],
      );
      assertClose(found, expected, { rtol: 0, atol: 0, what: `${dtype} ${row} ${rows} ${column} ${columns}` });
    }
  }
});
