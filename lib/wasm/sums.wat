;; Pieces of other kernels: sums across lanes, dot products, the exponential function.

;; (0 + 1) + (2 + 3), as $sums does.
(func $sum (param $v v128) (result f32)
  (f32.add
    (f32.add (f32x4.extract_lane 0 (local.get $v)) (f32x4.extract_lane 1 (local.get $v)))
    (f32.add (f32x4.extract_lane 2 (local.get $v)) (f32x4.extract_lane 3 (local.get $v)))))

;; The sums of four vectors, each (0 + 1) + (2 + 3).
(func $sums (param $a v128) (param $b v128) (param $c v128) (param $d v128) (result v128) (local $ab v128) (local $cd v128)
  (local.set $ab (f32x4.add
    (i8x16.shuffle 0 1 2 3 8 9 10 11 16 17 18 19 24 25 26 27 (local.get $a) (local.get $b))
    (i8x16.shuffle 4 5 6 7 12 13 14 15 20 21 22 23 28 29 30 31 (local.get $a) (local.get $b))))
  (local.set $cd (f32x4.add
    (i8x16.shuffle 0 1 2 3 8 9 10 11 16 17 18 19 24 25 26 27 (local.get $c) (local.get $d))
    (i8x16.shuffle 4 5 6 7 12 13 14 15 20 21 22 23 28 29 30 31 (local.get $c) (local.get $d))))
  (f32x4.add
    (i8x16.shuffle 0 1 2 3 8 9 10 11 16 17 18 19 24 25 26 27 (local.get $ab) (local.get $cd))
    (i8x16.shuffle 4 5 6 7 12 13 14 15 20 21 22 23 28 29 30 31 (local.get $ab) (local.get $cd))))

;; sum a[i] * b[i] of $n f32, n any.
(func $dot (param $a i32) (param $b i32) (param $n i32) (result f32) (local $end i32) (local $whole i32) (local $acc v128)
  (local.set $end (i32.add (local.get $a) (i32.shl (local.get $n) (i32.const 2))))
  (local.set $whole (i32.sub (local.get $end) (i32.const 12)))
  (block $narrow (loop $wide
    (br_if $narrow (i32.ge_u (local.get $a) (local.get $whole)))
    (local.set $acc
      (f32x4.relaxed_madd (v128.load (local.get $a)) (v128.load (local.get $b)) (local.get $acc)))
    (local.set $a (i32.add (local.get $a) (i32.const 16)))
    (local.set $b (i32.add (local.get $b) (i32.const 16)))
    (br $wide)))
  (block $over (loop $single
    (br_if $over (i32.ge_u (local.get $a) (local.get $end)))
    (local.set $acc
      (f32x4.relaxed_madd (v128.load32_zero (local.get $a)) (v128.load32_zero (local.get $b)) (local.get $acc)))
    (local.set $a (i32.add (local.get $a) (i32.const 4)))
    (local.set $b (i32.add (local.get $b) (i32.const 4)))
    (br $single)))
  (call $sum (local.get $acc)))

;; e^x within 2 units of the last place; below -87 what it is there. x = n*ln 2 + r, the polynomial for r of Cephes' expf.
;; Its numbers (module.ts) are read from memory: a constant of a vector takes several instructions wherever it is used.
(func $exp (param $x v128) (result v128) (local $n v128) (local $r v128) (local $y v128)
  (local.set $x (f32x4.pmax
    (f32x4.pmin (local.get $x) (v128.load32_splat (i32.const 256))) (v128.load32_splat (i32.const 260))))
  (local.set $n (f32x4.nearest (f32x4.mul (local.get $x) (v128.load32_splat (i32.const 264)))))
  (local.set $r (f32x4.sub
    (f32x4.sub (local.get $x) (f32x4.mul (local.get $n) (v128.load32_splat (i32.const 268))))
    (f32x4.mul (local.get $n) (v128.load32_splat (i32.const 272)))))
  (local.set $y (v128.load32_splat (i32.const 276)))
  (local.set $y (f32x4.add (f32x4.mul (local.get $y) (local.get $r)) (v128.load32_splat (i32.const 280))))
  (local.set $y (f32x4.add (f32x4.mul (local.get $y) (local.get $r)) (v128.load32_splat (i32.const 284))))
  (local.set $y (f32x4.add (f32x4.mul (local.get $y) (local.get $r)) (v128.load32_splat (i32.const 288))))
  (local.set $y (f32x4.add (f32x4.mul (local.get $y) (local.get $r)) (v128.load32_splat (i32.const 292))))
  (local.set $y (f32x4.add (f32x4.mul (local.get $y) (local.get $r)) (v128.load32_splat (i32.const 296))))
  (local.set $y (f32x4.add
    (f32x4.add (f32x4.mul (local.get $y) (f32x4.mul (local.get $r) (local.get $r))) (local.get $r))
    (v128.load32_splat (i32.const 300))))
  (f32x4.mul (local.get $y) (i32x4.shl
    (i32x4.add (i32x4.relaxed_trunc_f32x4_s (local.get $n)) (i32x4.splat (i32.const 127))) (i32.const 23))))
