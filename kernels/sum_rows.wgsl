// Sum over the first axis.
//   y[o] = sum over t of x[t, o]
// x [rows, width], y [width]; width counts elements of X: vectors of four, or single numbers where O is no multiple of
// four. A workgroup takes 8 columns, 32 lanes each: lane s adds rows s, s+32, ..., then one lane adds the 32 sums.
// Grid: [ceil(width / 8), 1, 1].

alias X = vec4<f32>;
alias Y = vec4<f32>;
alias Float = vec4<f32>;

struct Params { rows: u32, width: u32 }

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<X>;
@group(0) @binding(2) var<storage, read_write> y: array<Y>;

var<workgroup> partial: array<Float, 256>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let column = group.x * 8u + (lane & 7u);
  let own = min(column, p.width - 1u);
  let stride = 32u * p.width;
  var t = lane >> 3u;
  var i = t * p.width + own;
  // Four chains of additions keep four loads under way.
  var a = Float();
  var b = Float();
  var c = Float();
  var d = Float();
  while (t + 96u < p.rows) {
    a += Float(x[i]);
    b += Float(x[i + stride]);
    c += Float(x[i + 2u * stride]);
    d += Float(x[i + 3u * stride]);
    t += 128u;
    i += 4u * stride;
  }
  while (t < p.rows) {
    a += Float(x[i]);
    t += 32u;
    i += stride;
  }
  partial[lane] = (a + b) + (c + d);
  workgroupBarrier();
  if (lane < 8u && column < p.width) {
    var sum = Float();
    for (var s = lane; s < 256u; s += 8u) { sum += partial[s]; }
    y[column] = Y(sum);
  }
}
