;; y[o] = |W[o] + factor * b[o] * A|, the L2 norm of each row (DoRA). Arguments: W and its scales (as the products have
;; them), A f32 [R, I], b f32 [O, R], y f32 [O], O, I, R, factor (f32), form of W: 0 f32, 1 8-bit blocks, 2 NF4. Rows are
;; shared out.

(func $adapted_row_norm (param $p i32) (param $thread i32) (param $threads i32)
  (local $o i32) (local $last i32) (local $i i32) (local $r i32) (local $I i32) (local $a i32) (local $b i32)
  (local $w v128) (local $sum v128)
  (local.set $I (i32.load offset=24 (local.get $p)))
  (local.set $o (call $share (i32.load offset=20 (local.get $p)) (local.get $thread) (local.get $threads)))
  (local.set $last
    (call $share (i32.load offset=20 (local.get $p)) (i32.add (local.get $thread) (i32.const 1)) (local.get $threads)))
  (block $done (loop $next
    (br_if $done (i32.ge_u (local.get $o) (local.get $last)))
    (local.set $sum (v128.const f32x4 0 0 0 0))
    (local.set $i (i32.const 0))
    (loop $four
      (local.set $w (call $four_weights (local.get $p) (local.get $o) (local.get $i)))
      (local.set $a (i32.add (i32.load offset=8 (local.get $p)) (i32.shl (local.get $i) (i32.const 2))))
      (local.set $r (i32.load offset=28 (local.get $p)))
      (local.set $b (i32.add (i32.load offset=12 (local.get $p))
        (i32.shl (i32.mul (local.get $o) (local.get $r)) (i32.const 2))))
      (loop $rank
        (local.set $w (f32x4.add (local.get $w) (f32x4.mul (v128.load (local.get $a))
          (f32x4.splat (f32.mul (f32.load offset=32 (local.get $p)) (f32.load (local.get $b)))))))
        (local.set $a (i32.add (local.get $a) (i32.shl (local.get $I) (i32.const 2))))
        (local.set $b (i32.add (local.get $b) (i32.const 4)))
        (br_if $rank (local.tee $r (i32.sub (local.get $r) (i32.const 1)))))
      ;; Of the last four those behind the row's end count nothing.
      (local.set $w (v128.and (local.get $w) (i32x4.lt_u
        (i32x4.add (i32x4.splat (local.get $i)) (v128.const i32x4 0 1 2 3)) (i32x4.splat (local.get $I)))))
      (local.set $sum (f32x4.add (local.get $sum) (f32x4.mul (local.get $w) (local.get $w))))
      (br_if $four (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4))) (local.get $I))))
    (f32.store (i32.add (i32.load offset=16 (local.get $p)) (i32.shl (local.get $o) (i32.const 2)))
      (f32.sqrt (call $sum (local.get $sum))))
    (local.set $o (i32.add (local.get $o) (i32.const 1)))
    (br $next))))

;; Weights $i to $i + 3 of output $o, as f32.
(func $four_weights (param $p i32) (param $o i32) (param $i i32) (result v128) (local $bits i32) (local $at i32) (local $c v128)
  (if (i32.eqz (i32.load offset=36 (local.get $p)))
    (then (return (v128.load (i32.add (i32.load (local.get $p)) (i32.shl
      (i32.add (i32.mul (local.get $o) (i32.load offset=24 (local.get $p))) (local.get $i)) (i32.const 2)))))))
  ;; Blocks of 32 numbers, or of 64.
  (local.set $bits (i32.add (i32.const 4) (i32.load offset=36 (local.get $p))))
  (local.set $at (i32.add
    (call $first_block (i32.shr_u (i32.load offset=24 (local.get $p)) (local.get $bits)) (i32.load offset=20 (local.get $p))
      (local.get $o))
    (i32.shl (i32.shr_u (local.get $i) (local.get $bits)) (i32.const 2))))
  (if (i32.eq (i32.load offset=36 (local.get $p)) (i32.const 1)) (then (return (f32x4.mul
    (f32x4.convert_i32x4_s (i32x4.extend_low_i16x8_s (i16x8.extend_low_i8x16_s (v128.load32_zero (i32.add
      (i32.load (local.get $p)) (i32.or (i32.shl (local.get $at) (i32.const 5)) (i32.and (local.get $i) (i32.const 31))))))))
    (v128.load32_splat (i32.add (i32.load offset=4 (local.get $p)) (i32.shl (local.get $at) (i32.const 2))))))))
  ;; 16 bytes of codes are 32 numbers, 16 in the low and 16 in the high nibbles.
  (local.set $c (v128.and (i8x16.splat (i32.const 15)) (i16x8.shr_u
    (v128.load32_zero (i32.add (i32.load (local.get $p)) (i32.or (i32.shl (local.get $at) (i32.const 5)) (i32.or
      (i32.shr_u (i32.and (local.get $i) (i32.const 32)) (i32.const 1)) (i32.and (local.get $i) (i32.const 15))))))
    (i32.shr_u (i32.and (local.get $i) (i32.const 16)) (i32.const 2)))))
  (f32x4.mul
    (f32x4.convert_i32x4_s (i32x4.extend_low_i16x8_s
      (i8x16.shuffle 0 16 1 17 2 18 3 19 4 20 5 21 6 22 7 23
        (i8x16.relaxed_swizzle (v128.load (i32.const 192)) (local.get $c))
        (i8x16.relaxed_swizzle (v128.load (i32.const 208)) (local.get $c)))))
    (v128.load32_splat (i32.add (i32.load offset=4 (local.get $p)) (i32.shl (local.get $at) (i32.const 2))))))
