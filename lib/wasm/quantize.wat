;; Rows of activations as integers for the products with frozen weights: in blocks of 64, x = round(x * most / max|x|) as
;; i16, and max|x| / most beside them, once for each 32 numbers. `most` and the largest integer of weights are such that
;; the sum of a block's 16 products in a lane of i32 stays below 2^31 (weight.ts). Blocks are shared out.
;; Arguments: x f32 [n, 64], q i16 [n, 64], scales f32 [n, 2], n, most (f32).
(func $quantize (param $p i32) (param $thread i32) (param $threads i32)
  (local $n i32) (local $last i32) (local $x i32) (local $q i32) (local $end i32) (local $max v128)
  (local.set $n (call $share (i32.load offset=12 (local.get $p)) (local.get $thread) (local.get $threads)))
  (local.set $last
    (call $share (i32.load offset=12 (local.get $p)) (i32.add (local.get $thread) (i32.const 1)) (local.get $threads)))
  (local.set $x (i32.add (i32.load (local.get $p)) (i32.shl (local.get $n) (i32.const 8))))
  (local.set $q (i32.add (i32.load offset=4 (local.get $p)) (i32.shl (local.get $n) (i32.const 7))))
  (block $done (loop $next
    (br_if $done (i32.ge_u (local.get $n) (local.get $last)))
    (local.set $end (i32.add (local.get $x) (i32.const 256)))
    (local.set $max (call $largest (local.get $x)))
    (v128.store64_lane 0
      (i32.add (i32.load offset=8 (local.get $p)) (i32.shl (local.get $n) (i32.const 3)))
      (f32x4.div (local.get $max) (v128.load32_splat offset=16 (local.get $p))))
    ;; Blocks of nothing: any finite factor.
    (local.set $max (f32x4.div (v128.load32_splat offset=16 (local.get $p))
      (f32x4.max (local.get $max) (v128.const f32x4 1e-30 1e-30 1e-30 1e-30))))
    (loop $round
      (v128.store (local.get $q) (i16x8.narrow_i32x4_s
        (i32x4.trunc_sat_f32x4_s (f32x4.nearest (f32x4.mul (v128.load (local.get $x)) (local.get $max))))
        (i32x4.trunc_sat_f32x4_s (f32x4.nearest (f32x4.mul (v128.load offset=16 (local.get $x)) (local.get $max))))))
      (local.set $q (i32.add (local.get $q) (i32.const 16)))
      (br_if $round (i32.lt_u (local.tee $x (i32.add (local.get $x) (i32.const 32))) (local.get $end))))
    (local.set $n (i32.add (local.get $n) (i32.const 1)))
    (br $next))))

;; The same integers times their scale, as f32: what others take that multiply in f32, so that their results are the
;; kernels' but for rounding. Arguments: x f32 [n, 64], y f32 [n, 64], n, most (f32). Blocks are shared out.
(func $round (param $p i32) (param $thread i32) (param $threads i32)
  (local $n i32) (local $last i32) (local $x i32) (local $y i32) (local $end i32) (local $max v128) (local $scale v128)
  (local.set $n (call $share (i32.load offset=8 (local.get $p)) (local.get $thread) (local.get $threads)))
  (local.set $last
    (call $share (i32.load offset=8 (local.get $p)) (i32.add (local.get $thread) (i32.const 1)) (local.get $threads)))
  (local.set $x (i32.add (i32.load (local.get $p)) (i32.shl (local.get $n) (i32.const 8))))
  (local.set $y (i32.add (i32.load offset=4 (local.get $p)) (i32.shl (local.get $n) (i32.const 8))))
  (block $done (loop $next
    (br_if $done (i32.ge_u (local.get $n) (local.get $last)))
    (local.set $end (i32.add (local.get $x) (i32.const 256)))
    (local.set $max (call $largest (local.get $x)))
    (local.set $scale (f32x4.div (local.get $max) (v128.load32_splat offset=12 (local.get $p))))
    (local.set $max (f32x4.div (v128.load32_splat offset=12 (local.get $p))
      (f32x4.max (local.get $max) (v128.const f32x4 1e-30 1e-30 1e-30 1e-30))))
    (loop $four
      (v128.store (local.get $y) (f32x4.mul (local.get $scale)
        (f32x4.nearest (f32x4.mul (v128.load (local.get $x)) (local.get $max)))))
      (local.set $y (i32.add (local.get $y) (i32.const 16)))
      (br_if $four (i32.lt_u (local.tee $x (i32.add (local.get $x) (i32.const 16))) (local.get $end))))
    (local.set $n (i32.add (local.get $n) (i32.const 1)))
    (br $next))))

;; max|x| of 64 numbers, in all lanes; NaN where one is.
(func $largest (param $x i32) (result v128) (local $end i32) (local $max v128)
  (local.set $end (i32.add (local.get $x) (i32.const 256)))
  (loop $next
    (local.set $max (f32x4.max (local.get $max) (f32x4.max
      (f32x4.abs (v128.load (local.get $x))) (f32x4.abs (v128.load offset=16 (local.get $x))))))
    (br_if $next (i32.lt_u (local.tee $x (i32.add (local.get $x) (i32.const 32))) (local.get $end))))
  (f32x4.splat (f32.max
    (f32.max (f32x4.extract_lane 0 (local.get $max)) (f32x4.extract_lane 1 (local.get $max)))
    (f32.max (f32x4.extract_lane 2 (local.get $max)) (f32x4.extract_lane 3 (local.get $max))))))
