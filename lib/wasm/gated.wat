;; y = act(gate) * up, act(x) = x / (1 + e^-u): u = x for silu, x * (c + d*x^2) for gelu_tanh, since
;; 0.5 * (1 + tanh(v)) = 1 / (1 + e^-2v). Arguments: gate, up, y f32 [n], n, and c and d (f32; 1 and 0 for silu). Elements
;; are shared out by fours; memory holds whole fours.
(func $gated (param $p i32) (param $thread i32) (param $threads i32)
  (local $i i32) (local $end i32) (local $fours i32) (local $x v128) (local $c v128) (local $d v128)
  (local.set $c (v128.load32_splat offset=16 (local.get $p)))
  (local.set $d (v128.load32_splat offset=20 (local.get $p)))
  (local.set $fours (i32.shr_u (i32.add (i32.load offset=12 (local.get $p)) (i32.const 3)) (i32.const 2)))
  (local.set $i
    (i32.shl (call $share (local.get $fours) (local.get $thread) (local.get $threads)) (i32.const 4)))
  (local.set $end (i32.shl
    (call $share (local.get $fours) (i32.add (local.get $thread) (i32.const 1)) (local.get $threads)) (i32.const 4)))
  (block $done (loop $next
    (br_if $done (i32.ge_u (local.get $i) (local.get $end)))
    (local.set $x (v128.load (i32.add (i32.load (local.get $p)) (local.get $i))))
    (v128.store (i32.add (i32.load offset=8 (local.get $p)) (local.get $i)) (f32x4.mul
      (f32x4.div (local.get $x) (f32x4.add (v128.load32_splat (i32.const 300)) (call $exp (f32x4.neg (f32x4.mul (local.get $x)
        (f32x4.add (local.get $c) (f32x4.mul (local.get $d) (f32x4.mul (local.get $x) (local.get $x)))))))))
      (v128.load (i32.add (i32.load offset=4 (local.get $p)) (local.get $i)))))
    (local.set $i (i32.add (local.get $i) (i32.const 16)))
    (br $next))))
