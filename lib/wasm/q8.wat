;; y = x * W^T with W in 8-bit blocks of 32, and rows of W written out. Arguments: x i16 [T, I], its scales f32
;; [T, I/32], codes i8 [O, I], scales f32 [O, I/32], y f32 [T, O], T, O, I/32. Outputs are shared out by fours, O is four at
;; least.

(func $linear_q8 (param $p i32) (param $thread i32) (param $threads i32)
  (local $fours i32) (local $from i32) (local $to i32)
  (local.set $fours (i32.shr_u (i32.add (i32.load offset=24 (local.get $p)) (i32.const 3)) (i32.const 2)))
  (local.set $from (call $share (local.get $fours) (local.get $thread) (local.get $threads)))
  (local.set $to (call $share (local.get $fours) (i32.add (local.get $thread) (i32.const 1)) (local.get $threads)))
  (if (i32.eq (i32.load offset=20 (local.get $p)) (i32.const 1))
    (then (call $q8_outputs (local.get $p) (i32.shl (local.get $from) (i32.const 2))
      (call $least (i32.shl (local.get $to) (i32.const 2)) (i32.load offset=24 (local.get $p)))))
    (else (call $q8_fours (local.get $p) (call $scratch (local.get $thread)) (local.get $from) (local.get $to)))))

;; Outputs $o to before $end of a single row.
(func $q8_outputs (param $p i32) (param $o i32) (param $end i32)
  (local $y i32) (local $codes i32) (local $scales i32) (local $x i32) (local $s i32) (local $stop i32) (local $acc v128)
  (local.set $codes (i32.add (i32.load offset=8 (local.get $p))
    (i32.mul (local.get $o) (i32.shl (i32.load offset=28 (local.get $p)) (i32.const 5)))))
  (local.set $scales (i32.add (i32.load offset=12 (local.get $p))
    (i32.mul (local.get $o) (i32.shl (i32.load offset=28 (local.get $p)) (i32.const 2)))))
  (local.set $stop (i32.add (i32.load (local.get $p)) (i32.shl (i32.load offset=28 (local.get $p)) (i32.const 6))))
  (local.set $y (i32.add (i32.load offset=16 (local.get $p)) (i32.shl (local.get $o) (i32.const 2))))
  (block $done (loop $output
    (br_if $done (i32.ge_u (local.get $o) (local.get $end)))
    (local.set $x (i32.load (local.get $p)))
    (local.set $s (i32.load offset=4 (local.get $p)))
    (local.set $acc (v128.const f32x4 0 0 0 0))
    (loop $block
      (local.set $acc (f32x4.relaxed_madd
        (f32x4.convert_i32x4_s (i32x4.add
          (i32x4.add
            (i32x4.dot_i16x8_s (v128.load8x8_s (local.get $codes)) (v128.load (local.get $x)))
            (i32x4.dot_i16x8_s (v128.load8x8_s offset=8 (local.get $codes)) (v128.load offset=16 (local.get $x))))
          (i32x4.add
            (i32x4.dot_i16x8_s (v128.load8x8_s offset=16 (local.get $codes)) (v128.load offset=32 (local.get $x)))
            (i32x4.dot_i16x8_s (v128.load8x8_s offset=24 (local.get $codes)) (v128.load offset=48 (local.get $x))))))
        (f32x4.mul (v128.load32_splat (local.get $scales)) (v128.load32_splat (local.get $s))) (local.get $acc)))
      (local.set $codes (i32.add (local.get $codes) (i32.const 32)))
      (local.set $scales (i32.add (local.get $scales) (i32.const 4)))
      (local.set $s (i32.add (local.get $s) (i32.const 4)))
      (br_if $block (i32.lt_u (local.tee $x (i32.add (local.get $x) (i32.const 64))) (local.get $stop))))
    ;; $sum without a call.
    (f32.store (local.get $y) (f32.add
      (f32.add (f32x4.extract_lane 0 (local.get $acc)) (f32x4.extract_lane 1 (local.get $acc)))
      (f32.add (f32x4.extract_lane 2 (local.get $acc)) (f32x4.extract_lane 3 (local.get $acc)))))
    (local.set $y (i32.add (local.get $y) (i32.const 4)))
    (local.set $o (i32.add (local.get $o) (i32.const 1)))
    (br $output))))

;; Fours of outputs $from to before $to of all rows, as $nf4_fours.
(func $q8_fours (param $p i32) (param $w i32) (param $from i32) (param $to i32)
  (local $o i32) (local $k i32) (local $blocks i32) (local $scales i32)
  (local.set $blocks (i32.load offset=28 (local.get $p)))
  (local.set $scales (i32.add (local.get $w) (i32.shl (local.get $blocks) (i32.const 8))))
  (block $done (loop $four
    (br_if $done (i32.ge_u (local.get $from) (local.get $to)))
    (local.set $o (call $least (i32.shl (local.get $from) (i32.const 2))
      (i32.sub (i32.load offset=24 (local.get $p)) (i32.const 4))))
    (local.set $k (i32.const 0))
    (loop $output
      (call $q8_unpack
        (i32.add (i32.load offset=8 (local.get $p))
          (i32.mul (i32.add (local.get $o) (local.get $k)) (i32.shl (local.get $blocks) (i32.const 5))))
        (i32.add (i32.load offset=12 (local.get $p))
          (i32.mul (i32.add (local.get $o) (local.get $k)) (i32.shl (local.get $blocks) (i32.const 2))))
        (local.get $blocks)
        (i32.add (local.get $w) (i32.shl (local.get $k) (i32.const 4)))
        (i32.add (local.get $scales) (i32.shl (local.get $k) (i32.const 2))))
      (br_if $output (i32.lt_u (local.tee $k (i32.add (local.get $k) (i32.const 1))) (i32.const 4))))
    (call $tiles (local.get $p) (local.get $w) (local.get $scales) (local.get $blocks) (i32.const 1)
      (i32.add (i32.load offset=16 (local.get $p)) (i32.shl (local.get $o) (i32.const 2)))
      (i32.const 0) (i32.load offset=20 (local.get $p)))
    (local.set $from (i32.add (local.get $from) (i32.const 1)))
    (br $four))))

;; As $nf4_unpack.
(func $q8_unpack (param $codes i32) (param $scales i32) (param $blocks i32) (param $w i32) (param $to i32)
  (loop $block
    (v128.store (local.get $w) (v128.load8x8_s (local.get $codes)))
    (v128.store offset=64 (local.get $w) (v128.load8x8_s offset=8 (local.get $codes)))
    (v128.store offset=128 (local.get $w) (v128.load8x8_s offset=16 (local.get $codes)))
    (v128.store offset=192 (local.get $w) (v128.load8x8_s offset=24 (local.get $codes)))
    (f32.store (local.get $to) (f32.load (local.get $scales)))
    (local.set $codes (i32.add (local.get $codes) (i32.const 32)))
    (local.set $scales (i32.add (local.get $scales) (i32.const 4)))
    (local.set $to (i32.add (local.get $to) (i32.const 16)))
    (local.set $w (i32.add (local.get $w) (i32.const 256)))
    (br_if $block (local.tee $blocks (i32.sub (local.get $blocks) (i32.const 1))))))

;; y[n] = W[index[n]], rounded to f16's 11 bits as these numbers are elsewhere (int8_blocks.ts): x*8193 - (x*8193 - x). Arguments: codes i8 [M, I], scales f32 [M, I/32], index i32 [N], y f32 [N, I], N, I/32. Rows are
;; shared out.
(func $gather_q8 (param $p i32) (param $thread i32) (param $threads i32)
  (local $n i32) (local $last i32) (local $row i32) (local $codes i32) (local $scales i32) (local $y i32) (local $end i32)
  (local $scale v128) (local $c v128)
  (local.set $n (call $share (i32.load offset=16 (local.get $p)) (local.get $thread) (local.get $threads)))
  (local.set $last
    (call $share (i32.load offset=16 (local.get $p)) (i32.add (local.get $thread) (i32.const 1)) (local.get $threads)))
  (block $done (loop $next
    (br_if $done (i32.ge_u (local.get $n) (local.get $last)))
    (local.set $row (i32.mul (i32.load offset=20 (local.get $p))
      (i32.load (i32.add (i32.load offset=8 (local.get $p)) (i32.shl (local.get $n) (i32.const 2))))))
    (local.set $codes (i32.add (i32.load (local.get $p)) (i32.shl (local.get $row) (i32.const 5))))
    (local.set $scales (i32.add (i32.load offset=4 (local.get $p)) (i32.shl (local.get $row) (i32.const 2))))
    (local.set $y (i32.add (i32.load offset=12 (local.get $p))
      (i32.shl (i32.mul (local.get $n) (i32.load offset=20 (local.get $p))) (i32.const 7))))
    (local.set $end (i32.add (local.get $codes) (i32.shl (i32.load offset=20 (local.get $p)) (i32.const 5))))
    (loop $eight
      (local.set $scale (v128.load32_splat (local.get $scales)))
      (local.set $c (v128.load8x8_s (local.get $codes)))
      (v128.store (local.get $y) (call $rounded
        (f32x4.mul (local.get $scale) (f32x4.convert_i32x4_s (i32x4.extend_low_i16x8_s (local.get $c))))))
      (v128.store offset=16 (local.get $y) (call $rounded
        (f32x4.mul (local.get $scale) (f32x4.convert_i32x4_s (i32x4.extend_high_i16x8_s (local.get $c))))))
      (local.set $y (i32.add (local.get $y) (i32.const 32)))
      (local.set $codes (i32.add (local.get $codes) (i32.const 8)))
      ;; A scale for every four eights.
      (local.set $scales (i32.add (local.get $scales) (i32.shl (i32.eqz (i32.and
        (i32.sub (local.get $end) (local.get $codes)) (i32.const 31))) (i32.const 2))))
      (br_if $eight (i32.lt_u (local.get $codes) (local.get $end))))
    (local.set $n (i32.add (local.get $n) (i32.const 1)))
    (br $next))))

(func $rounded (param $x v128) (result v128) (local $c v128)
  (local.set $c (f32x4.mul (local.get $x) (v128.const f32x4 8193 8193 8193 8193)))
  (f32x4.sub (local.get $c) (f32x4.sub (local.get $c) (local.get $x))))
