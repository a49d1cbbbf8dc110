// Matrix product on tensor cores: f16 operands, f32 sums, subgroups of 32.
//   y[m, start + n] = (or +=) scale * (sum over k of a[m, k] * B[k, n] + lowScale * sum over r of low_a[m, r] * L[r, n])
//                     + plus[m, start + n]
// a [M, K]; b [N, K] where transB, else B = b [K, N]. Where `low`: low_a [M, R], low_b [N, R] where transB, else [R, N].
// plus: f32 or f16, none (0), a vector [width] (1) or y's shape (2). y [M, width] in f32 or f16.
// K, N, R, width and start are multiples of 8; M is anything.
//
// A workgroup makes a tile of 32 * fragments rows x 32 * columns columns, each subgroup 16 * fragments x 32 of it, in steps
// of 64 along K. While one step is multiplied, the operands of the next are on their way from memory into registers.
// a and b are only read, but bound for writing: a compiler may move loads from a read-only buffer down to where their
// values are used, behind the barrier, and does, which halves the speed (storageBarrier holds them where they stand).
// Grid: [ceil(N / (32 * columns)), ceil(M / (32 * fragments))]; tiles are walked in strips of 8 rows of tiles, so that
// workgroups that run together share operands in the cache.

enable f16;
enable subgroups;
enable chromium_experimental_subgroup_matrix;
diagnostic(off, chromium.subgroup_matrix_uniformity);

const fragments = 4u; // 4 or 2
const columns = 4u; // 4 or 2
const transB: bool = true;
const low: bool = false;
const plusKind = 0;
const accumulate: bool = false;
alias Plus = f32;
alias Y = f32;

struct Params { M: u32, N: u32, K: u32, R: u32, width: u32, start: u32, scale: f32, lowScale: f32 }

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> a: array<vec4<u32>>; // 8 numbers each
@group(0) @binding(2) var<storage, read_write> b: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> low_a: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read> low_b: array<vec4<u32>>;
@group(0) @binding(5) var<storage, read> plus: array<vec4<Plus>>;
@group(0) @binding(6) var<storage, read_write> y: array<vec4<Y>>;

alias Left = subgroup_matrix_left<f16, 16, 16>;
alias Right = subgroup_matrix_right<f16, 16, 16>;
alias Sum = subgroup_matrix_result<f32, 16, 16>;

const threads = 64u * columns;
const tile_rows = 32u * fragments;
const tile_columns = 32u * columns;
/** Vectors of 8 in a row of a tile: 64 numbers, or a tile's width, and 8 more, so that rows start in other banks. */
const stride_a = 9u;
const stride_b = select(4u * columns + 1u, 9u, transB);
const tile_b = tile_rows * 9u;

/** Both operands' tiles, a's first; at the end the results on their way out, as f32. */
var<workgroup> tile: array<vec4<u32>, tile_b + tile_columns * 9u>;

fn times(v: vec4<u32>, factor: f16) -> vec4<u32> {
  return vec4<u32>(
    bitcast<u32>(bitcast<vec2<f16>>(v.x) * factor),
    bitcast<u32>(bitcast<vec2<f16>>(v.y) * factor),
    bitcast<u32>(bitcast<vec2<f16>>(v.z) * factor),
    bitcast<u32>(bitcast<vec2<f16>>(v.w) * factor),
  );
}

/** Adds and writes 8 neighbours of a row of a 16 x 16 result that begins at `block` of the tile and at (m, n) of y. */
fn put(m: u32, n: u32, block: u32, lane: u32) {
  let row = m + (lane >> 1u);
  let column = n + (lane & 1u) * 8u;
  if (row < p.M && column < p.N) {
    var first = bitcast<vec4<f32>>(tile[block + lane * 2u]) * p.scale;
    var second = bitcast<vec4<f32>>(tile[block + lane * 2u + 1u]) * p.scale;
    let i = (row * p.width + p.start + column) >> 2u;
    if (plusKind != 0) {
      let j = select(i, (p.start + column) >> 2u, plusKind == 1);
      first += vec4<f32>(plus[j]);
      second += vec4<f32>(plus[j + 1u]);
    }
    if (accumulate) {
      first += vec4<f32>(y[i]);
      second += vec4<f32>(y[i + 1u]);
    }
    y[i] = vec4<Y>(first);
    y[i + 1u] = vec4<Y>(second);
  }
}

@compute @workgroup_size(threads)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let index = group.y * groups.x + group.x;
  let strip = index / (8u * groups.x);
  let strip_rows = min(8u, groups.y - strip * 8u);
  let within = index % (8u * groups.x);
  let m0 = (strip * 8u + within % strip_rows) * tile_rows;
  let n0 = (within / strip_rows) * tile_columns;
  let subgroup = t >> 5u;
  let lane = t & 31u;
  let row0 = (subgroup / columns) * 16u * fragments;
  let column0 = (subgroup % columns) * 32u;

  // Each thread brings four vectors of 8 of either operand: rows of a (and of b where transB) 8 threads apart; where b is
  // [K, N], rows of it are 4 * columns vectors long.
  let ka = t & 7u;
  let ra = t >> 3u;
  let last_m = p.M - 1u;
  let depth = p.K >> 3u;
  let a0 = min(m0 + ra, last_m) * depth;
  let a1 = min(m0 + ra + threads / 8u, last_m) * depth;
  let a2 = min(m0 + ra + threads / 4u, last_m) * depth;
  let a3 = min(m0 + ra + 3u * threads / 8u, last_m) * depth;
  let cb = select(t % (4u * columns), ka, transB);
  let rb = select(t / (4u * columns), ra, transB);
  const step_b = select(16u, threads / 8u, transB);
  let last_n = p.N - 1u;
  let width_b = p.N >> 3u;
  let column_b = min((n0 >> 3u) + cb, width_b - 1u);
  let b0 = select(column_b, min(n0 + rb, last_n) * depth, transB);
  let b1 = select(column_b, min(n0 + rb + step_b, last_n) * depth, transB);
  let b2 = select(column_b, min(n0 + rb + 2u * step_b, last_n) * depth, transB);
  let b3 = select(column_b, min(n0 + rb + 3u * step_b, last_n) * depth, transB);

  let ai = row0 * stride_a;
  let bi = tile_b + select(column0 >> 3u, column0 * stride_b, transB);

  var va0: vec4<u32>; var va1: vec4<u32>; var va2: vec4<u32>; var va3: vec4<u32>;
  var vb0: vec4<u32>; var vb1: vec4<u32>; var vb2: vec4<u32>; var vb3: vec4<u32>;
  var c00: Sum; var c01: Sum; var c10: Sum; var c11: Sum;
  var c20: Sum; var c21: Sum; var c30: Sum; var c31: Sum;

  // Steps along K, then (where `low`) along R. Step s is fetched while step s - 1 is multiplied; nothing may touch what was
  // fetched before that, or it would have to be waited for.
  let main_steps = (p.K + 63u) >> 6u;
  let steps = main_steps + select(0u, (p.R + 63u) >> 6u, low);
  for (var s = 0u; s <= steps; s++) {
    if (s > 0u) {
      workgroupBarrier();
      storageBarrier();
      // Behind K (or R) zeros of a make whatever finite numbers b holds there count nothing.
      let of_low = low && s > main_steps;
      let behind = select((s - 1u) * 8u + ka >= depth, (s - 1u - main_steps) * 8u + ka >= (p.R >> 3u), of_low);
      if (of_low || behind) {
        let factor = select(select(1h, f16(p.lowScale), of_low), 0h, behind);
        tile[ra * stride_a + ka] = times(va0, factor);
        tile[(ra + threads / 8u) * stride_a + ka] = times(va1, factor);
        tile[(ra + threads / 4u) * stride_a + ka] = times(va2, factor);
        tile[(ra + 3u * threads / 8u) * stride_a + ka] = times(va3, factor);
      } else {
        tile[ra * stride_a + ka] = va0;
        tile[(ra + threads / 8u) * stride_a + ka] = va1;
        tile[(ra + threads / 4u) * stride_a + ka] = va2;
        tile[(ra + 3u * threads / 8u) * stride_a + ka] = va3;
      }
      tile[tile_b + rb * stride_b + cb] = vb0;
      tile[tile_b + (rb + step_b) * stride_b + cb] = vb1;
      tile[tile_b + (rb + 2u * step_b) * stride_b + cb] = vb2;
      tile[tile_b + (rb + 3u * step_b) * stride_b + cb] = vb3;
      workgroupBarrier();
    }
    if (s < main_steps) {
      let ki = min(s * 8u + ka, depth - 1u);
      va0 = a[a0 + ki]; va1 = a[a1 + ki]; va2 = a[a2 + ki]; va3 = a[a3 + ki];
      if (transB) {
        vb0 = b[b0 + ki]; vb1 = b[b1 + ki]; vb2 = b[b2 + ki]; vb3 = b[b3 + ki];
      } else {
        let r = s * 64u + rb;
        let last_k = p.K - 1u;
        vb0 = b[b0 + min(r, last_k) * width_b];
        vb1 = b[b1 + min(r + step_b, last_k) * width_b];
        vb2 = b[b2 + min(r + 2u * step_b, last_k) * width_b];
        vb3 = b[b3 + min(r + 3u * step_b, last_k) * width_b];
      }
    } else if (low && s < steps) {
      let rank = p.R >> 3u;
      let ri = min((s - main_steps) * 8u + ka, rank - 1u);
      va0 = low_a[min(m0 + ra, last_m) * rank + ri];
      va1 = low_a[min(m0 + ra + threads / 8u, last_m) * rank + ri];
      va2 = low_a[min(m0 + ra + threads / 4u, last_m) * rank + ri];
      va3 = low_a[min(m0 + ra + 3u * threads / 8u, last_m) * rank + ri];
      if (transB) {
        vb0 = low_b[min(n0 + rb, last_n) * rank + ri];
        vb1 = low_b[min(n0 + rb + step_b, last_n) * rank + ri];
        vb2 = low_b[min(n0 + rb + 2u * step_b, last_n) * rank + ri];
        vb3 = low_b[min(n0 + rb + 3u * step_b, last_n) * rank + ri];
      } else {
        let r = (s - main_steps) * 64u + rb;
        let last_r = p.R - 1u;
        vb0 = low_b[min(r, last_r) * width_b + column_b];
        vb1 = low_b[min(r + step_b, last_r) * width_b + column_b];
        vb2 = low_b[min(r + 2u * step_b, last_r) * width_b + column_b];
        vb3 = low_b[min(r + 3u * step_b, last_r) * width_b + column_b];
      }
    }
    if (s > 0u) {
      // The four steps of 16, written out: a loop keeps the compiler from loading ahead.
      {
        let w0 = subgroupMatrixLoad<Left, row_major>(&tile, ai, stride_a);
        let w1 = subgroupMatrixLoad<Left, row_major>(&tile, ai + 16u * stride_a, stride_a);
        var x0: Right;
        var x1: Right;
        if (transB) {
          x0 = subgroupMatrixLoad<Right, col_major>(&tile, bi, stride_b);
          x1 = subgroupMatrixLoad<Right, col_major>(&tile, bi + 16u * stride_b, stride_b);
        } else {
          x0 = subgroupMatrixLoad<Right, row_major>(&tile, bi, stride_b);
          x1 = subgroupMatrixLoad<Right, row_major>(&tile, bi + 2u, stride_b);
        }
        c00 = subgroupMatrixMultiplyAccumulate(w0, x0, c00);
        c10 = subgroupMatrixMultiplyAccumulate(w1, x0, c10);
        c01 = subgroupMatrixMultiplyAccumulate(w0, x1, c01);
        c11 = subgroupMatrixMultiplyAccumulate(w1, x1, c11);
        if (fragments == 4u) {
          let w2 = subgroupMatrixLoad<Left, row_major>(&tile, ai + 32u * stride_a, stride_a);
          let w3 = subgroupMatrixLoad<Left, row_major>(&tile, ai + 48u * stride_a, stride_a);
          c20 = subgroupMatrixMultiplyAccumulate(w2, x0, c20);
          c30 = subgroupMatrixMultiplyAccumulate(w3, x0, c30);
          c21 = subgroupMatrixMultiplyAccumulate(w2, x1, c21);
          c31 = subgroupMatrixMultiplyAccumulate(w3, x1, c31);
        }
      }
      {
        let w0 = subgroupMatrixLoad<Left, row_major>(&tile, ai + 2u, stride_a);
        let w1 = subgroupMatrixLoad<Left, row_major>(&tile, ai + 16u * stride_a + 2u, stride_a);
        var x0: Right;
        var x1: Right;
        if (transB) {
          x0 = subgroupMatrixLoad<Right, col_major>(&tile, bi + 2u, stride_b);
          x1 = subgroupMatrixLoad<Right, col_major>(&tile, bi + 16u * stride_b + 2u, stride_b);
        } else {
          x0 = subgroupMatrixLoad<Right, row_major>(&tile, bi + 16u * stride_b, stride_b);
          x1 = subgroupMatrixLoad<Right, row_major>(&tile, bi + 16u * stride_b + 2u, stride_b);
        }
        c00 = subgroupMatrixMultiplyAccumulate(w0, x0, c00);
        c10 = subgroupMatrixMultiplyAccumulate(w1, x0, c10);
        c01 = subgroupMatrixMultiplyAccumulate(w0, x1, c01);
        c11 = subgroupMatrixMultiplyAccumulate(w1, x1, c11);
        if (fragments == 4u) {
          let w2 = subgroupMatrixLoad<Left, row_major>(&tile, ai + 32u * stride_a + 2u, stride_a);
          let w3 = subgroupMatrixLoad<Left, row_major>(&tile, ai + 48u * stride_a + 2u, stride_a);
          c20 = subgroupMatrixMultiplyAccumulate(w2, x0, c20);
          c30 = subgroupMatrixMultiplyAccumulate(w3, x0, c30);
          c21 = subgroupMatrixMultiplyAccumulate(w2, x1, c21);
          c31 = subgroupMatrixMultiplyAccumulate(w3, x1, c31);
        }
      }
      {
        let w0 = subgroupMatrixLoad<Left, row_major>(&tile, ai + 4u, stride_a);
        let w1 = subgroupMatrixLoad<Left, row_major>(&tile, ai + 16u * stride_a + 4u, stride_a);
        var x0: Right;
        var x1: Right;
        if (transB) {
          x0 = subgroupMatrixLoad<Right, col_major>(&tile, bi + 4u, stride_b);
          x1 = subgroupMatrixLoad<Right, col_major>(&tile, bi + 16u * stride_b + 4u, stride_b);
        } else {
          x0 = subgroupMatrixLoad<Right, row_major>(&tile, bi + 32u * stride_b, stride_b);
          x1 = subgroupMatrixLoad<Right, row_major>(&tile, bi + 32u * stride_b + 2u, stride_b);
        }
        c00 = subgroupMatrixMultiplyAccumulate(w0, x0, c00);
        c10 = subgroupMatrixMultiplyAccumulate(w1, x0, c10);
        c01 = subgroupMatrixMultiplyAccumulate(w0, x1, c01);
        c11 = subgroupMatrixMultiplyAccumulate(w1, x1, c11);
        if (fragments == 4u) {
          let w2 = subgroupMatrixLoad<Left, row_major>(&tile, ai + 32u * stride_a + 4u, stride_a);
          let w3 = subgroupMatrixLoad<Left, row_major>(&tile, ai + 48u * stride_a + 4u, stride_a);
          c20 = subgroupMatrixMultiplyAccumulate(w2, x0, c20);
          c30 = subgroupMatrixMultiplyAccumulate(w3, x0, c30);
          c21 = subgroupMatrixMultiplyAccumulate(w2, x1, c21);
          c31 = subgroupMatrixMultiplyAccumulate(w3, x1, c31);
        }
      }
      {
        let w0 = subgroupMatrixLoad<Left, row_major>(&tile, ai + 6u, stride_a);
        let w1 = subgroupMatrixLoad<Left, row_major>(&tile, ai + 16u * stride_a + 6u, stride_a);
        var x0: Right;
        var x1: Right;
        if (transB) {
          x0 = subgroupMatrixLoad<Right, col_major>(&tile, bi + 6u, stride_b);
          x1 = subgroupMatrixLoad<Right, col_major>(&tile, bi + 16u * stride_b + 6u, stride_b);
        } else {
          x0 = subgroupMatrixLoad<Right, row_major>(&tile, bi + 48u * stride_b, stride_b);
          x1 = subgroupMatrixLoad<Right, row_major>(&tile, bi + 48u * stride_b + 2u, stride_b);
        }
        c00 = subgroupMatrixMultiplyAccumulate(w0, x0, c00);
        c10 = subgroupMatrixMultiplyAccumulate(w1, x0, c10);
        c01 = subgroupMatrixMultiplyAccumulate(w0, x1, c01);
        c11 = subgroupMatrixMultiplyAccumulate(w1, x1, c11);
        if (fragments == 4u) {
          let w2 = subgroupMatrixLoad<Left, row_major>(&tile, ai + 32u * stride_a + 6u, stride_a);
          let w3 = subgroupMatrixLoad<Left, row_major>(&tile, ai + 48u * stride_a + 6u, stride_a);
          c20 = subgroupMatrixMultiplyAccumulate(w2, x0, c20);
          c30 = subgroupMatrixMultiplyAccumulate(w3, x0, c30);
          c21 = subgroupMatrixMultiplyAccumulate(w2, x1, c21);
          c31 = subgroupMatrixMultiplyAccumulate(w3, x1, c31);
        }
      }
    }
  }

  // Out through workgroup memory, four blocks of each subgroup at a time.
  let m = m0 + row0;
  let n = n0 + column0;
  let at = subgroup * 256u;
  workgroupBarrier();
  subgroupMatrixStore<row_major>(&tile, at, c00, 4u);
  subgroupMatrixStore<row_major>(&tile, at + 64u, c01, 4u);
  subgroupMatrixStore<row_major>(&tile, at + 128u, c10, 4u);
  subgroupMatrixStore<row_major>(&tile, at + 192u, c11, 4u);
  workgroupBarrier();
  put(m, n, at, lane);
  put(m, n + 16u, at + 64u, lane);
  put(m + 16u, n, at + 128u, lane);
  put(m + 16u, n + 16u, at + 192u, lane);
  if (fragments == 4u) {
    workgroupBarrier();
    subgroupMatrixStore<row_major>(&tile, at, c20, 4u);
    subgroupMatrixStore<row_major>(&tile, at + 64u, c21, 4u);
    subgroupMatrixStore<row_major>(&tile, at + 128u, c30, 4u);
    subgroupMatrixStore<row_major>(&tile, at + 192u, c31, 4u);
    workgroupBarrier();
    put(m + 32u, n, at, lane);
    put(m + 32u, n + 16u, at + 64u, lane);
    put(m + 48u, n, at + 128u, lane);
    put(m + 48u, n + 16u, at + 192u, lane);
  }
}
