;; y[n] = W[index[n]], rounded to f16's 11 bits as these numbers are elsewhere (int8_blocks.ts): x*8193 - (x*8193 - x).
;; Arguments: codes and scales as the products have them (products.ts), index i32 [N], y f32 [N, I], N, I/32, M. Rows are
;; shared out.
(func $gather_q8 (param $p i32) (param $thread i32) (param $threads i32)
  (local $n i32) (local $last i32) (local $at i32) (local $y i32) (local $blocks i32) (local $code i32)
  (local $end i32) (local $scale v128) (local $c v128)
  (local.set $n (call $share (i32.load offset=16 (local.get $p)) (local.get $thread) (local.get $threads)))
  (local.set $last
    (call $share (i32.load offset=16 (local.get $p)) (i32.add (local.get $thread) (i32.const 1)) (local.get $threads)))
  (block $done (loop $next
    (br_if $done (i32.ge_u (local.get $n) (local.get $last)))
    (local.set $blocks (i32.load offset=20 (local.get $p)))
    (local.set $at (call $first_block (local.get $blocks) (i32.load offset=24 (local.get $p))
      (i32.load (i32.add (i32.load offset=8 (local.get $p)) (i32.shl (local.get $n) (i32.const 2))))))
    (local.set $y (i32.add (i32.load offset=12 (local.get $p))
      (i32.shl (i32.mul (local.get $n) (local.get $blocks)) (i32.const 7))))
    (loop $block
      (local.set $scale
        (v128.load32_splat (i32.add (i32.load offset=4 (local.get $p)) (i32.shl (local.get $at) (i32.const 2)))))
      (local.set $code (i32.add (i32.load (local.get $p)) (i32.shl (local.get $at) (i32.const 5))))
      (local.set $end (i32.add (local.get $code) (i32.const 32)))
      (loop $eight
        (local.set $c (v128.load8x8_s (local.get $code)))
        (v128.store (local.get $y) (call $rounded
          (f32x4.mul (local.get $scale) (f32x4.convert_i32x4_s (i32x4.extend_low_i16x8_s (local.get $c))))))
        (v128.store offset=16 (local.get $y) (call $rounded
          (f32x4.mul (local.get $scale) (f32x4.convert_i32x4_s (i32x4.extend_high_i16x8_s (local.get $c))))))
        (local.set $y (i32.add (local.get $y) (i32.const 32)))
        (br_if $eight (i32.lt_u (local.tee $code (i32.add (local.get $code) (i32.const 8))) (local.get $end))))
      (local.set $at (i32.add (local.get $at) (i32.const 4)))
      (br_if $block (local.tee $blocks (i32.sub (local.get $blocks) (i32.const 1)))))
    (local.set $n (i32.add (local.get $n) (i32.const 1)))
    (br $next))))

(func $rounded (param $x v128) (result v128) (local $c v128)
  (local.set $c (f32x4.mul (local.get $x) (v128.const f32x4 8193 8193 8193 8193)))
  (f32x4.sub (local.get $c) (f32x4.sub (local.get $c) (local.get $x))))
