/**
 * Products with frozen weights, y = x * W^T, as text of the module: W in NF4, or in 8-bit blocks of 32. A code of NF4
 * becomes a 16-bit integer, the nearest to its value times a factor (weight.ts), by two tables of 16 bytes for the low and
 * the high halves. Products are summed exactly in i32 within a block; sums of blocks are scaled and added as f32, lane by
 * lane and block by block, so that a row has the same result to the last bit whatever rows stand beside it.
 *
 * Weights lie by fours of outputs: for every four, for every block, the codes of the four, 32 bytes each, and in the same
 * order their scales. In 16 bytes of NF4 the low nibbles are 16 numbers and the high ones the 16 after these. The last four
 * end with the last output, even where the four before holds some of them too.
 *
 * What is read and written again and again lies at fixed places of a memory of the thread's own: V8 compares every other
 * address with the memory's size, which takes as long as a product. All is unrolled, hence text made by functions.
 */
import { nf4TablesAt } from "./weight.ts";

interface Form {
  name: "nf4" | "q8";
  /** Numbers of a block. */
  numbers: 64 | 32;
  locals: string;
  /** Calls `use` with a block's weights, i16, eight at a time from the first: of the output with codes `offset` behind $codes. */
  weights(offset: number, use: (step: number, value: string) => string): string;
}

/** Rows that a tile takes at a time: more of them only save writing out the weights, a sixth of the work. */
const tileRows = 8;

/** Places in the thread's own memory: sums f32 [8 rows, 4, 4], weights i16 [steps, 4, 8], scales f32 [4, 4]. */
const place = { sums: 0, weights: 512, scales: 1024 };

const lines = (count: number, line: (i: number) => string) =>
  Array.from({ length: count }, (_, i) => line(i)).join("\n");
const own = (at: number) => `$own offset=${at} (i32.const 0)`;
const table = (i: number) => `(v128.load (i32.const ${nf4TablesAt + 16 * i}))`;

const nf4: Form = {
  ...{ name: "nf4", numbers: 64 },
  locals: "(local $c v128) (local $n v128) (local $l v128) (local $h v128)",
  weights: (offset, use) =>
    lines(4, (part) => `
      ${part % 2 === 0 ? `(local.set $c (v128.load offset=${offset + 8 * part} (local.get $codes)))` : ""}
      (local.set $n (v128.and ${part % 2 ? "(i16x8.shr_u (local.get $c) (i32.const 4))" : "(local.get $c)"} ${
      table(2)
    }))
      (local.set $l (i8x16.relaxed_swizzle ${table(0)} (local.get $n)))
      (local.set $h (i8x16.relaxed_swizzle ${table(1)} (local.get $n)))
      ${use(2 * part, "(i8x16.shuffle 0 16 1 17 2 18 3 19 4 20 5 21 6 22 7 23 (local.get $l) (local.get $h))")}
      ${
      use(2 * part + 1, "(i8x16.shuffle 8 24 9 25 10 26 11 27 12 28 13 29 14 30 15 31 (local.get $l) (local.get $h))")
    }`),
};

const q8: Form = {
  ...{ name: "q8", numbers: 32, locals: "" },
  weights: (offset, use) =>
    lines(4, (step) => use(step, `(v128.load8x8_s offset=${offset + 8 * step} (local.get $codes))`)),
};

/**
 * The kernel. Arguments: x i16 [T, I], its scales f32 [T, I/32], codes, scales, y f32 [T, O], T, O, blocks of a row.
 * Outputs are shared out by fours; O is four at least.
 */
const product = ({ name }: Form) => `
(func $linear_${name} (param $p i32) (param $thread i32) (param $threads i32)
  (local $fours i32) (local $from i32) (local $to i32) (local $row i32) (local $rows i32)
  (local.set $fours (i32.shr_u (i32.add (i32.load offset=24 (local.get $p)) (i32.const 3)) (i32.const 2)))
  (local.set $from (call $share (local.get $fours) (local.get $thread) (local.get $threads)))
  (local.set $to (call $share (local.get $fours) (i32.add (local.get $thread) (i32.const 1)) (local.get $threads)))
  (local.set $rows (i32.load offset=20 (local.get $p)))
  (if (i32.eq (local.get $rows) (i32.const 1)) (then
    (call $${name}_row (local.get $p) (local.get $from) (local.get $to))
    (return)))
  (loop $next
    (call $${name}_tile (local.get $p) (local.get $from) (local.get $to)
      (local.get $row) (call $least (i32.const ${tileRows}) (i32.sub (local.get $rows) (local.get $row))))
    (br_if $next (i32.lt_u
      (local.tee $row (i32.add (local.get $row) (i32.const ${tileRows}))) (local.get $rows)))))`;

/** What both of the following begin with: where the weights of four number $four lie, and its outputs' place in a row of y. */
const begin = `
    (local.set $blocks (i32.load offset=28 (local.get $p)))
    (local.set $codes (i32.add (i32.load offset=8 (local.get $p))
      (i32.shl (i32.mul (local.get $four) (local.get $blocks)) (i32.const 7))))
    (local.set $scales (i32.add (i32.load offset=12 (local.get $p))
      (i32.shl (i32.mul (local.get $four) (local.get $blocks)) (i32.const 4))))
    (local.set $y (i32.add (i32.load offset=16 (local.get $p)) (i32.shl
      (call $least (i32.shl (local.get $four) (i32.const 2)) (i32.sub (local.get $outputs) (i32.const 4)))
      (i32.const 2))))`;

const step = (name: string, bytes: number) =>
  `(local.set $${name} (i32.add (local.get $${name}) (i32.const ${bytes})))`;

/** Fours $four to before $end of a single row. */
function row({ name, numbers, locals, weights }: Form): string {
  const dot = (i: number, value: string) => `(i32x4.dot_i16x8_s ${value} (local.get $x${i}))`;
  return `
(func $${name}_row (param $p i32) (param $four i32) (param $end i32)
  (local $outputs i32) (local $blocks i32) (local $codes i32) (local $scales i32) (local $y i32) (local $x i32) (local $s i32)
  ${lines(numbers / 8, (i) => `(local $x${i} v128)`)} (local $sum v128) (local $factor v128) ${locals}
  ${lines(4, (o) => `(local $a${o} v128)`)}
  (local.set $outputs (i32.load offset=24 (local.get $p)))
  (block $done (loop $next
    (br_if $done (i32.ge_u (local.get $four) (local.get $end)))
    ${begin}
    (local.set $x (i32.load (local.get $p)))
    (local.set $s (i32.load offset=4 (local.get $p)))
    ${lines(4, (o) => `(local.set $a${o} (v128.const f32x4 0 0 0 0))`)}
    (loop $block
      ${lines(numbers / 8, (i) => `(local.set $x${i} (v128.load offset=${16 * i} (local.get $x)))`)}
      (local.set $factor (v128.load32_splat (local.get $s)))
      ${
    lines(4, (o) => `
      ${
      weights(
        32 * o,
        (i, value) =>
          i === 0
            ? `(local.set $sum ${dot(i, value)})`
            : `(local.set $sum (i32x4.add (local.get $sum) ${dot(i, value)}))`,
      )
    }
      (local.set $a${o} (f32x4.relaxed_madd (f32x4.convert_i32x4_s (local.get $sum))
        (f32x4.mul (v128.load32_splat offset=${4 * o} (local.get $scales)) (local.get $factor)) (local.get $a${o})))`)
  }
      ${step("x", 2 * numbers)} ${step("s", numbers / 8)} ${step("codes", 128)} ${step("scales", 16)}
      (br_if $block (local.tee $blocks (i32.sub (local.get $blocks) (i32.const 1)))))
    (v128.store (local.get $y) (call $sums ${lines(4, (o) => `(local.get $a${o})`)}))
    ${step("four", 1)}
    (br $next))))`;
}

/**
 * Fours $four to before $end of $rows rows from $row on, eight at most: the weights of a block are written out as i16 once
 * and met by the rows, two by two. The last of an odd number has itself for company.
 */
function tile({ name, numbers, locals, weights }: Form): string {
  const steps = numbers / 8;
  const sum = (row: number, o: number) => own(place.sums + 64 * row + 16 * o);
  const weight = (i: number, o: number) => own(place.weights + 64 * i + 16 * o);
  const dot = (x: string, i: number, o: number) => `(i32x4.dot_i16x8_s (v128.load ${weight(i, o)}) (local.get $${x}))`;

  /** A block of two rows, at $x0 and $x1, their scales at $s0 and $s1. */
  const pair = (pair: number) => `
        (local.set $x0 ${pair === 0 ? "(local.get $x)" : "(i32.add (local.get $x1) (local.get $stride))"})
        (local.set $x1 (call $least
          (i32.add (local.get $x0) (local.get $stride)) (i32.add (local.get $x) (local.get $last))))
        (local.set $s0 (i32.add (local.get $s) (i32.shr_u (i32.sub (local.get $x0) (local.get $x)) (i32.const 4))))
        (local.set $s1 (i32.add (local.get $s) (i32.shr_u (i32.sub (local.get $x1) (local.get $x)) (i32.const 4))))
        ${
    lines(steps, (i) => `
        (local.set $a (v128.load offset=${16 * i} (local.get $x0)))
        (local.set $b (v128.load offset=${16 * i} (local.get $x1)))
        ${
      lines(4, (o) =>
        i === 0 ? `(local.set $i${o} ${dot("a", i, o)}) (local.set $j${o} ${dot("b", i, o)})` : `
        (local.set $i${o} (i32x4.add (local.get $i${o}) ${dot("a", i, o)}))
        (local.set $j${o} (i32x4.add (local.get $j${o}) ${dot("b", i, o)}))`)
    }`)
  }
        (local.set $a (v128.load32_splat (local.get $s0)))
        (local.set $b (v128.load32_splat (local.get $s1)))
        ${
    [["i", "a"], ["j", "b"]].map(([integers, scale], second) =>
      lines(4, (o) => `
        (v128.store ${
        sum(2 * pair + second, o)
      } (f32x4.relaxed_madd (f32x4.convert_i32x4_s (local.get $${integers}${o}))
          (f32x4.mul (v128.load ${own(place.scales + 16 * o)}) (local.get $${scale}))
          (v128.load ${sum(2 * pair + second, o)})))`)
    ).join("\n")
  }`;

  return `
(func $${name}_tile (param $p i32) (param $four i32) (param $end i32) (param $row i32) (param $rows i32)
  (local $outputs i32) (local $blocks i32) (local $codes i32) (local $scales i32) (local $y i32)
  (local $pairs i32) (local $stride i32) (local $last i32) (local $x i32) (local $s i32)
  (local $x0 i32) (local $x1 i32) (local $s0 i32) (local $s1 i32) (local $a v128) (local $b v128)
  ${lines(4, (o) => `(local $i${o} v128) (local $j${o} v128)`)} ${locals}
  (local.set $outputs (i32.load offset=24 (local.get $p)))
  (local.set $pairs (i32.shr_u (i32.add (local.get $rows) (i32.const 1)) (i32.const 1)))
  (local.set $stride (i32.mul (i32.load offset=28 (local.get $p)) (i32.const ${2 * numbers})))
  (local.set $last (i32.mul (i32.sub (local.get $rows) (i32.const 1)) (local.get $stride)))
  (block $done (loop $next
    (br_if $done (i32.ge_u (local.get $four) (local.get $end)))
    ${begin}
    (local.set $x (i32.add (i32.load (local.get $p)) (i32.mul (local.get $row) (local.get $stride))))
    (local.set $s (i32.add (i32.load offset=4 (local.get $p))
      (i32.shr_u (i32.mul (local.get $row) (local.get $stride)) (i32.const 4))))
    (local.set $a (v128.const f32x4 0 0 0 0))
    ${lines(4 * tileRows, (i) => `(v128.store ${own(place.sums + 16 * i)} (local.get $a))`)}
    (loop $block
      ${lines(4, (o) => weights(32 * o, (i, value) => `(v128.store ${weight(i, o)} ${value})`))}
      ${
    lines(
      4,
      (o) => `(v128.store ${own(place.scales + 16 * o)} (v128.load32_splat offset=${4 * o} (local.get $scales)))`,
    )
  }
      (block $met
        ${
    lines(tileRows / 2, (i) => `${i > 0 ? `(br_if $met (i32.eq (local.get $pairs) (i32.const ${i})))` : ""}${pair(i)}`)
  })
      ${step("x", 2 * numbers)} ${step("s", numbers / 8)} ${step("codes", 128)} ${step("scales", 16)}
      (br_if $block (local.tee $blocks (i32.sub (local.get $blocks) (i32.const 1)))))
    (local.set $y (i32.add (local.get $y) (i32.shl (i32.mul (local.get $row) (local.get $outputs)) (i32.const 2))))
    (block $stored
      ${
    lines(tileRows, (row) => `
      ${row > 0 ? `(br_if $stored (i32.eq (local.get $rows) (i32.const ${row})))` : ""}
      (v128.store (local.get $y) (call $sums ${lines(4, (o) => `(v128.load ${sum(row, o)})`)}))
      (local.set $y (i32.add (local.get $y) (i32.shl (local.get $outputs) (i32.const 2))))`)
  })
    ${step("four", 1)}
    (br $next))))`;
}

const helpers = `
(func $least (param $a i32) (param $b i32) (result i32)
  (select (local.get $a) (local.get $b) (i32.lt_u (local.get $a) (local.get $b))))

;; The place, counted in blocks, of output $o's first block; every next one lies four further.
(func $first_block (param $blocks i32) (param $outputs i32) (param $o i32) (result i32) (local $four i32)
  (local.set $four (i32.shr_u (local.get $o) (i32.const 2)))
  (i32.add (i32.shl (i32.mul (local.get $four) (local.get $blocks)) (i32.const 2)) (i32.sub (local.get $o)
    (call $least (i32.shl (local.get $four) (i32.const 2)) (i32.sub (local.get $outputs) (i32.const 4))))))`;

export const products = [helpers, ...[nf4, q8].flatMap((form) => [product(form), row(form), tile(form)])].join("\n");
