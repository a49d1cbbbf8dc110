// Sums over tokens on tensor cores, the gradients of LoRA's matrices: f16 operands, f32 sums, subgroups of 32.
//   y[c, r] = scale * sum over t of wide[t, c] * thin[t, r], or y[r, c] where turned
// wide [T, C], thin [T, R]; y [C, R], or [R, C] where turned, f32 or f16. C and R multiples of 8; R <= 16 * fragments.
// Up to three sums that do not depend on each other are one dispatch, as in gemm_thin_matrix.wgsl; they share T, R, scale.
//
// A workgroup makes `columns` columns of `wide`, 64 in steps of 128 tokens or 32 in steps of 256; each of its 8 subgroups
// takes 16 of them and 64 of the tokens. What a step reads is fetched while the one before is multiplied; wide and thin are
// bound for writing for the reason given in gemm_matrix.wgsl. Grid: [ceil(largest C / columns), products].

enable f16;
enable subgroups;
enable chromium_experimental_subgroup_matrix;
diagnostic(off, chromium.subgroup_matrix_uniformity);

const columns = 64u; // 64, or 32 with 1 or 2 fragments
const fragments = 1u; // 1, 2 or 4
const turned: bool = false;
const ragged: bool = false; // whether T is no multiple of a step or R none of 16 * fragments
const products = 1u;
const same_first: bool = false; // whether wide0 is the wide of all
alias Y = f32;

struct Params { T: u32, R: u32, scale: f32, C0: u32, C1: u32, C2: u32 }

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> wide0: array<vec4<u32>>; // 8 numbers each
@group(0) @binding(2) var<storage, read_write> thin0: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read_write> y0: array<Y>;
@group(0) @binding(4) var<storage, read_write> wide1: array<vec4<u32>>;
@group(0) @binding(5) var<storage, read_write> thin1: array<vec4<u32>>;
@group(0) @binding(6) var<storage, read_write> y1: array<Y>;
@group(0) @binding(7) var<storage, read_write> wide2: array<vec4<u32>>;
@group(0) @binding(8) var<storage, read_write> thin2: array<vec4<u32>>;
@group(0) @binding(9) var<storage, read_write> y2: array<Y>;

alias Left = subgroup_matrix_left<f16, 16, 16>;
alias Right = subgroup_matrix_right<f16, 16, 16>;
alias Sum = subgroup_matrix_result<f32, 16, 16>;
alias Sums = array<Sum, 4>;
alias Matrix = ptr<storage, array<vec4<u32>>, read_write>;

/** Tokens of a step. */
const tokens = 8192u / columns;
/** Vectors of 8 in a row of wide's tile. */
const row_vectors = columns / 8u;
/** The same, one more than it needs, so that rows start in other banks. */
const stride_wide = row_vectors + 1u;
const stride_thin = 2u * fragments + 1u;
const tile_thin = tokens * stride_wide;
/** Rows of wide and of thin that the threads bring at once, and how often those of thin. */
const wide_step = 256u / row_vectors;
const thin_step = 128u / fragments;
const thin_times = tokens / thin_step;
/** Subgroups beside each other, and of those that add up other tokens. */
const beside = columns / 16u;
const halves = 8u / beside;

/** Rows of wide, then of thin; at the end the subgroups' sums, one block of 16 x 16 each, as f32. */
var<workgroup> tile: array<vec4<u32>, tile_thin + tokens * stride_thin>;

/** What a thread brings of a step: four rows of wide, and of thin up to four. */
struct Vectors {
  w0: vec4<u32>, w1: vec4<u32>, w2: vec4<u32>, w3: vec4<u32>,
  n0: vec4<u32>, n1: vec4<u32>, n2: vec4<u32>, n3: vec4<u32>,
}

fn fetch_thin(thin: Matrix, row: u32, column: u32) -> vec4<u32> {
  let width = p.R >> 3u;
  if (!ragged) { return thin[row * width + column]; }
  return thin[min(row, p.T - 1u) * width + min(column, width - 1u)];
}

fn fetch(wide: Matrix, thin: Matrix, C: u32, column: u32, s: u32, t: u32) -> Vectors {
  let rows = s * tokens + t / row_vectors + wide_step * vec4<u32>(0u, 1u, 2u, 3u);
  let i = select(rows, min(rows, vec4<u32>(p.T - 1u)), ragged) * (C >> 3u) + column;
  let row = s * tokens + t / (2u * fragments);
  let thin_column = t % (2u * fragments);
  var v: Vectors;
  v.w0 = wide[i.x];
  v.w1 = wide[i.y];
  v.w2 = wide[i.z];
  v.w3 = wide[i.w];
  v.n0 = fetch_thin(thin, row, thin_column);
  if (thin_times > 1u) { v.n1 = fetch_thin(thin, row + thin_step, thin_column); }
  if (thin_times > 2u) {
    v.n2 = fetch_thin(thin, row + 2u * thin_step, thin_column);
    v.n3 = fetch_thin(thin, row + 3u * thin_step, thin_column);
  }
  return v;
}

/** Zeros of thin behind T and R make whatever finite numbers stand for wide count nothing. */
fn inside(v: vec4<u32>, row: u32, column: u32) -> vec4<u32> {
  return select(v, vec4<u32>(), ragged && (row >= p.T || column >= (p.R >> 3u)));
}

fn keep(v: Vectors, s: u32, t: u32) {
  const next = wide_step * stride_wide;
  let to = (t / row_vectors) * stride_wide + t % row_vectors;
  tile[to] = v.w0;
  tile[to + next] = v.w1;
  tile[to + 2u * next] = v.w2;
  tile[to + 3u * next] = v.w3;
  let row = t / (2u * fragments);
  let column = t % (2u * fragments);
  let token = s * tokens + row;
  let to_thin = tile_thin + row * stride_thin + column;
  tile[to_thin] = inside(v.n0, token, column);
  if (thin_times > 1u) { tile[to_thin + thin_step * stride_thin] = inside(v.n1, token + thin_step, column); }
  if (thin_times > 2u) {
    tile[to_thin + 2u * thin_step * stride_thin] = inside(v.n2, token + 2u * thin_step, column);
    tile[to_thin + 3u * thin_step * stride_thin] = inside(v.n3, token + 3u * thin_step, column);
  }
}

/** Adds 16 tokens from `row` of the tile on, for the 16 columns from vector `column` of it on. */
fn add_block(c: ptr<function, Sums>, row: u32, column: u32) {
  let left = subgroupMatrixLoad<Left, col_major>(&tile, row * stride_wide + column, stride_wide);
  let at = tile_thin + row * stride_thin;
  c[0] = subgroupMatrixMultiplyAccumulate(left, subgroupMatrixLoad<Right, row_major>(&tile, at, stride_thin), c[0]);
  if (fragments > 1u) {
    c[1] = subgroupMatrixMultiplyAccumulate(left, subgroupMatrixLoad<Right, row_major>(&tile, at + 2u, stride_thin), c[1]);
  }
  if (fragments > 2u) {
    c[2] = subgroupMatrixMultiplyAccumulate(left, subgroupMatrixLoad<Right, row_major>(&tile, at + 4u, stride_thin), c[2]);
    c[3] = subgroupMatrixMultiplyAccumulate(left, subgroupMatrixLoad<Right, row_major>(&tile, at + 6u, stride_thin), c[3]);
  }
}

fn partial(block: u32, i: u32) -> f32 { return bitcast<f32>(tile[block * 64u + (i >> 2u)][i & 3u]); }

/** Adds up what the subgroups have of the same columns and writes these, by 16 rows of thin. */
fn put(y: ptr<storage, array<Y>, read_write>, C: u32, sum: Sum, f: u32, c0: u32, t: u32) {
  workgroupBarrier();
  subgroupMatrixStore<row_major>(&tile, (t >> 5u) * 64u, sum, 4u);
  workgroupBarrier();
  for (var i = t; i < columns * 16u; i += 256u) {
    // Neighbouring threads write neighbouring elements.
    let column = select(i >> 4u, i % columns, turned);
    let row = select(i & 15u, i / columns, turned);
    let c = c0 + column;
    let r = f * 16u + row;
    if (c < C && r < p.R) {
      let element = (column & 15u) * 16u + row;
      var total = 0.0;
      for (var half = 0u; half < halves; half++) { total += partial(half * beside + (column >> 4u), element); }
      y[select(c * p.R + r, r * C + c, turned)] = Y(total * p.scale);
    }
  }
}

fn sum_tokens(wide: Matrix, thin: Matrix, y: ptr<storage, array<Y>, read_write>, C: u32, c0: u32, t: u32) {
  if (c0 >= C) { return; }
  let column = min((c0 >> 3u) + t % row_vectors, (C >> 3u) - 1u);
  let subgroup = t >> 5u;
  let own = (subgroup % beside) * 2u;
  let row = (subgroup / beside) * 64u;
  let steps = (p.T + tokens - 1u) / tokens;
  var c: Sums;
  var v = fetch(wide, thin, C, column, 0u, t);
  for (var s = 0u; s < steps; s++) {
    workgroupBarrier();
    storageBarrier();
    keep(v, s, t);
    workgroupBarrier();
    v = fetch(wide, thin, C, column, min(s + 1u, steps - 1u), t);
    add_block(&c, row, own);
    add_block(&c, row + 16u, own);
    add_block(&c, row + 32u, own);
    add_block(&c, row + 48u, own);
  }
  put(y, C, c[0], 0u, c0, t);
  if (fragments > 1u) { put(y, C, c[1], 1u, c0, t); }
  if (fragments > 2u) {
    put(y, C, c[2], 2u, c0, t);
    put(y, C, c[3], 3u, c0, t);
  }
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) t: u32) {
  let c0 = group.x * columns;
  if (products == 1u || group.y == 0u) {
    sum_tokens(&wide0, &thin0, &y0, p.C0, c0, t);
  } else if (products == 2u || group.y == 1u) {
    if (same_first) { sum_tokens(&wide0, &thin1, &y1, p.C1, c0, t); } else { sum_tokens(&wide1, &thin1, &y1, p.C1, c0, t); }
  } else {
    if (same_first) { sum_tokens(&wide0, &thin2, &y2, p.C2, c0, t); } else { sum_tokens(&wide2, &thin2, &y2, p.C2, c0, t); }
  }
}
