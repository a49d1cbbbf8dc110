// Sum over tokens on tensor cores, the gradients of LoRA's matrices: f16 operands, f32 sums, subgroups of 32.
//   y[c, r] = scale * sum over t of wide[t, c] * thin[t, r], or y[r, c] where turned
// wide [T, C], thin [T, R]; y [C, R], or [R, C] where turned, f32 or f16. C and R multiples of 8; R <= 16 * fragments.
//
// A workgroup makes 64 columns of `wide` in steps of 64 tokens; each of its 4 subgroups makes 16 of them. What a step
// reads is fetched while the one before is multiplied; wide and thin are bound for writing for the reason given in
// gemm_matrix.wgsl. Grid: [ceil(C / 64)].

enable f16;
enable subgroups;
enable chromium_experimental_subgroup_matrix;
diagnostic(off, chromium.subgroup_matrix_uniformity);

const fragments = 1u; // 1, 2 or 4
const turned: bool = false;
alias Y = f32;

struct Params { T: u32, C: u32, R: u32, scale: f32 }

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> wide: array<vec4<u32>>; // 8 numbers each
@group(0) @binding(2) var<storage, read_write> thin: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read_write> y: array<Y>;

alias Left = subgroup_matrix_left<f16, 16, 16>;
alias Right = subgroup_matrix_right<f16, 16, 16>;
alias Sum = subgroup_matrix_result<f32, 16, 16>;

/** Vectors of four in a row of a tile, 8 numbers longer than it needs, so that rows start in other banks. */
const stride_wide = 18u;
const stride_thin = 4u * fragments + 2u;
var<workgroup> tile_wide: array<vec4<f16>, 64u * stride_wide>;
var<workgroup> tile_thin: array<vec4<f16>, 64u * stride_thin>;
var<workgroup> out: array<f32, 4u * 256u>;

fn fetch_wide(t: u32, column: u32) -> vec4<u32> {
  let width = p.C >> 3u;
  let v = wide[min(t, p.T - 1u) * width + min(column, width - 1u)];
  return select(vec4<u32>(), v, t < p.T);
}

fn fetch_thin(t: u32, column: u32) -> vec4<u32> {
  let width = p.R >> 3u;
  let v = thin[min(t, p.T - 1u) * width + min(column, width - 1u)];
  return select(vec4<u32>(), v, t < p.T && column < width);
}

fn store_wide(row: u32, column: u32, v: vec4<u32>) {
  tile_wide[row * stride_wide + column * 2u] = bitcast<vec4<f16>>(v.xy);
  tile_wide[row * stride_wide + column * 2u + 1u] = bitcast<vec4<f16>>(v.zw);
}

fn store_thin(row: u32, column: u32, v: vec4<u32>) {
  tile_thin[row * stride_thin + column * 2u] = bitcast<vec4<f16>>(v.xy);
  tile_thin[row * stride_thin + column * 2u + 1u] = bitcast<vec4<f16>>(v.zw);
}

fn put(c0: u32, r0: u32, subgroup: u32, lane: u32) {
  for (var i = lane; i < 256u; i += 32u) {
    // Neighbouring lanes write neighbouring elements.
    let c = c0 + select(i >> 4u, i & 15u, turned);
    let r = r0 + select(i & 15u, i >> 4u, turned);
    if (c < p.C && r < p.R) {
      let sum = out[subgroup * 256u + (c - c0) * 16u + (r - r0)] * p.scale;
      y[select(c * p.R + r, r * p.C + c, turned)] = Y(sum);
    }
  }
}

@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) t: u32) {
  let c0 = group.x * 64u;
  let subgroup = t >> 5u;
  let lane = t & 31u;
  let row = t >> 3u; // of 16: rows of `wide` are 8 vectors here
  let column = t & 7u;
  let thin_row = t / (2u * fragments);
  let thin_column = t % (2u * fragments);
  const thin_step = 64u / fragments;

  var w0: vec4<u32>; var w1: vec4<u32>; var w2: vec4<u32>; var w3: vec4<u32>;
  var n0: vec4<u32>; var n1: vec4<u32>; var n2: vec4<u32>; var n3: vec4<u32>;
  var s0: Sum; var s1: Sum; var s2: Sum; var s3: Sum;
  let steps = (p.T + 63u) >> 6u;
  for (var s = 0u; s <= steps; s++) {
    if (s > 0u) {
      workgroupBarrier();
      storageBarrier();
      store_wide(row, column, w0);
      store_wide(row + 16u, column, w1);
      store_wide(row + 32u, column, w2);
      store_wide(row + 48u, column, w3);
      store_thin(thin_row, thin_column, n0);
      if (fragments > 1u) { store_thin(thin_row + thin_step, thin_column, n1); }
      if (fragments > 2u) {
        store_thin(thin_row + 2u * thin_step, thin_column, n2);
        store_thin(thin_row + 3u * thin_step, thin_column, n3);
      }
      workgroupBarrier();
    }
    if (s < steps) {
      let token = s * 64u;
      let vector = (c0 >> 3u) + column;
      w0 = fetch_wide(token + row, vector);
      w1 = fetch_wide(token + row + 16u, vector);
      w2 = fetch_wide(token + row + 32u, vector);
      w3 = fetch_wide(token + row + 48u, vector);
      n0 = fetch_thin(token + thin_row, thin_column);
      if (fragments > 1u) { n1 = fetch_thin(token + thin_row + thin_step, thin_column); }
      if (fragments > 2u) {
        n2 = fetch_thin(token + thin_row + 2u * thin_step, thin_column);
        n3 = fetch_thin(token + thin_row + 3u * thin_step, thin_column);
      }
    }
    if (s > 0u) {
      for (var k = 0u; k < 4u; k++) {
        let left = subgroupMatrixLoad<Left, col_major>(&tile_wide, k * 16u * stride_wide + subgroup * 4u, stride_wide);
        let i = k * 16u * stride_thin;
        s0 = subgroupMatrixMultiplyAccumulate(left, subgroupMatrixLoad<Right, row_major>(&tile_thin, i, stride_thin), s0);
        if (fragments > 1u) {
          s1 = subgroupMatrixMultiplyAccumulate(left, subgroupMatrixLoad<Right, row_major>(&tile_thin, i + 4u, stride_thin), s1);
        }
        if (fragments > 2u) {
          s2 = subgroupMatrixMultiplyAccumulate(left, subgroupMatrixLoad<Right, row_major>(&tile_thin, i + 8u, stride_thin), s2);
          s3 = subgroupMatrixMultiplyAccumulate(left, subgroupMatrixLoad<Right, row_major>(&tile_thin, i + 12u, stride_thin), s3);
        }
      }
    }
  }
  let c = c0 + subgroup * 16u;
  let own = subgroup * 256u;
  subgroupMatrixStore<row_major>(&out, own, s0, 16u);
  workgroupBarrier();
  put(c, 0u, subgroup, lane);
  if (fragments > 1u) {
    workgroupBarrier();
    subgroupMatrixStore<row_major>(&out, own, s1, 16u);
    workgroupBarrier();
    put(c, 16u, subgroup, lane);
  }
  if (fragments > 2u) {
    workgroupBarrier();
    subgroupMatrixStore<row_major>(&out, own, s2, 16u);
    workgroupBarrier();
    put(c, 32u, subgroup, lane);
    workgroupBarrier();
    subgroupMatrixStore<row_major>(&out, own, s3, 16u);
    workgroupBarrier();
    put(c, 48u, subgroup, lane);
  }
}
