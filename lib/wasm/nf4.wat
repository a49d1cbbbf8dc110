;; y = x * W^T with W in NF4. A code becomes a 16-bit integer, the nearest to its value times a factor, by two tables of 16
;; bytes for the low and the high halves; products are summed exactly in i32 within a block of 64.
;;
;; Codes lie as weight.ts puts them: 32 bytes a block, in each 16 bytes the low nibbles are 16 numbers and the high ones
;; the 16 after these. Tables: low bytes at 192, high bytes at 208.
;; Arguments: x i16 [T, I], its scales f32 [T, I/32], codes u8 [O, I/64, 32], scales f32 [O, I/64], y f32 [T, O], T, O,
;; I/64. Outputs are shared out by fours, O is four at least.

(func $linear_nf4 (param $p i32) (param $thread i32) (param $threads i32)
  (local $fours i32) (local $from i32) (local $to i32) (local $row i32) (local $rows i32)
  (local.set $fours (i32.shr_u (i32.add (i32.load offset=24 (local.get $p)) (i32.const 3)) (i32.const 2)))
  (local.set $from (call $share (local.get $fours) (local.get $thread) (local.get $threads)))
  (local.set $to (call $share (local.get $fours) (i32.add (local.get $thread) (i32.const 1)) (local.get $threads)))
  (local.set $rows (i32.load offset=20 (local.get $p)))
  (if (i32.eq (local.get $rows) (i32.const 1)) (then
    (call $nf4_outputs (local.get $p) (i32.shl (local.get $from) (i32.const 2))
      (call $least (i32.shl (local.get $to) (i32.const 2)) (i32.load offset=24 (local.get $p))))
    (return)))
  ;; As many rows at a time as a core's second cache holds.
  (loop $next
    (call $nf4_fours (local.get $p) (call $scratch (local.get $thread)) (local.get $from) (local.get $to)
      (local.get $row) (call $least (i32.add (local.get $row) (i32.const 128)) (local.get $rows)))
    (br_if $next (i32.lt_u (local.tee $row (i32.add (local.get $row) (i32.const 128))) (local.get $rows)))))

(func $least (param $a i32) (param $b i32) (result i32)
  (select (local.get $a) (local.get $b) (i32.lt_u (local.get $a) (local.get $b))))

;; Outputs $o to before $end of a single row.
(func $nf4_outputs (param $p i32) (param $o i32) (param $end i32)
  (local $y i32) (local $codes i32) (local $scales i32) (local $x i32) (local $s i32) (local $stop i32)
  (local $c v128) (local $i v128) (local $l v128) (local $h v128) (local $sum v128) (local $acc v128)
  (local $low v128) (local $high v128) (local $mask v128)
  (local.set $low (v128.load (i32.const 192)))
  (local.set $high (v128.load (i32.const 208)))
  (local.set $mask (i8x16.splat (i32.const 15)))
  (local.set $codes (i32.add (i32.load offset=8 (local.get $p))
    (i32.mul (local.get $o) (i32.shl (i32.load offset=28 (local.get $p)) (i32.const 5)))))
  (local.set $scales (i32.add (i32.load offset=12 (local.get $p))
    (i32.mul (local.get $o) (i32.shl (i32.load offset=28 (local.get $p)) (i32.const 2)))))
  (local.set $stop (i32.add (i32.load (local.get $p)) (i32.shl (i32.load offset=28 (local.get $p)) (i32.const 7))))
  (local.set $y (i32.add (i32.load offset=16 (local.get $p)) (i32.shl (local.get $o) (i32.const 2))))
  (block $done (loop $output
    (br_if $done (i32.ge_u (local.get $o) (local.get $end)))
    (local.set $x (i32.load (local.get $p)))
    (local.set $s (i32.load offset=4 (local.get $p)))
    (local.set $acc (v128.const f32x4 0 0 0 0))
    (loop $block
      (local.set $c (v128.load (local.get $codes)))
      (local.set $i (v128.and (local.get $c) (local.get $mask)))
      (local.set $l (i8x16.relaxed_swizzle (local.get $low) (local.get $i)))
      (local.set $h (i8x16.relaxed_swizzle (local.get $high) (local.get $i)))
      (local.set $sum (i32x4.dot_i16x8_s
        (i8x16.shuffle 0 16 1 17 2 18 3 19 4 20 5 21 6 22 7 23 (local.get $l) (local.get $h))
        (v128.load offset=0 (local.get $x))))
      (local.set $sum (i32x4.add (local.get $sum) (i32x4.dot_i16x8_s
        (i8x16.shuffle 8 24 9 25 10 26 11 27 12 28 13 29 14 30 15 31 (local.get $l) (local.get $h))
        (v128.load offset=16 (local.get $x)))))
      (local.set $i (v128.and (i16x8.shr_u (local.get $c) (i32.const 4)) (local.get $mask)))
      (local.set $l (i8x16.relaxed_swizzle (local.get $low) (local.get $i)))
      (local.set $h (i8x16.relaxed_swizzle (local.get $high) (local.get $i)))
      (local.set $sum (i32x4.add (local.get $sum) (i32x4.dot_i16x8_s
        (i8x16.shuffle 0 16 1 17 2 18 3 19 4 20 5 21 6 22 7 23 (local.get $l) (local.get $h))
        (v128.load offset=32 (local.get $x)))))
      (local.set $sum (i32x4.add (local.get $sum) (i32x4.dot_i16x8_s
        (i8x16.shuffle 8 24 9 25 10 26 11 27 12 28 13 29 14 30 15 31 (local.get $l) (local.get $h))
        (v128.load offset=48 (local.get $x)))))
      (local.set $c (v128.load offset=16 (local.get $codes)))
      (local.set $i (v128.and (local.get $c) (local.get $mask)))
      (local.set $l (i8x16.relaxed_swizzle (local.get $low) (local.get $i)))
      (local.set $h (i8x16.relaxed_swizzle (local.get $high) (local.get $i)))
      (local.set $sum (i32x4.add (local.get $sum) (i32x4.dot_i16x8_s
        (i8x16.shuffle 0 16 1 17 2 18 3 19 4 20 5 21 6 22 7 23 (local.get $l) (local.get $h))
        (v128.load offset=64 (local.get $x)))))
      (local.set $sum (i32x4.add (local.get $sum) (i32x4.dot_i16x8_s
        (i8x16.shuffle 8 24 9 25 10 26 11 27 12 28 13 29 14 30 15 31 (local.get $l) (local.get $h))
        (v128.load offset=80 (local.get $x)))))
      (local.set $i (v128.and (i16x8.shr_u (local.get $c) (i32.const 4)) (local.get $mask)))
      (local.set $l (i8x16.relaxed_swizzle (local.get $low) (local.get $i)))
      (local.set $h (i8x16.relaxed_swizzle (local.get $high) (local.get $i)))
      (local.set $sum (i32x4.add (local.get $sum) (i32x4.dot_i16x8_s
        (i8x16.shuffle 0 16 1 17 2 18 3 19 4 20 5 21 6 22 7 23 (local.get $l) (local.get $h))
        (v128.load offset=96 (local.get $x)))))
      (local.set $sum (i32x4.add (local.get $sum) (i32x4.dot_i16x8_s
        (i8x16.shuffle 8 24 9 25 10 26 11 27 12 28 13 29 14 30 15 31 (local.get $l) (local.get $h))
        (v128.load offset=112 (local.get $x)))))
      (local.set $acc (f32x4.relaxed_madd (f32x4.convert_i32x4_s (local.get $sum))
        (f32x4.mul (v128.load32_splat (local.get $scales)) (v128.load32_splat (local.get $s))) (local.get $acc)))
      (local.set $codes (i32.add (local.get $codes) (i32.const 32)))
      (local.set $scales (i32.add (local.get $scales) (i32.const 4)))
      (local.set $s (i32.add (local.get $s) (i32.const 8)))
      (br_if $block (i32.lt_u (local.tee $x (i32.add (local.get $x) (i32.const 128))) (local.get $stop))))
    ;; $sum, but a call would keep the tables out of registers.
    (f32.store (local.get $y) (f32.add
      (f32.add (f32x4.extract_lane 0 (local.get $acc)) (f32x4.extract_lane 1 (local.get $acc)))
      (f32.add (f32x4.extract_lane 2 (local.get $acc)) (f32x4.extract_lane 3 (local.get $acc)))))
    (local.set $y (i32.add (local.get $y) (i32.const 4)))
    (local.set $o (i32.add (local.get $o) (i32.const 1)))
    (br $output))))

;; Fours of outputs $from to before $to, rows $row to before $end: four outputs' weights are written out as integers, then
;; met by all rows. The last four end with the last output.
(func $nf4_fours (param $p i32) (param $w i32) (param $from i32) (param $to i32) (param $row i32) (param $end i32)
  (local $o i32) (local $k i32) (local $blocks i32) (local $scales i32)
  (local.set $blocks (i32.load offset=28 (local.get $p)))
  (local.set $scales (i32.add (local.get $w) (i32.shl (local.get $blocks) (i32.const 9))))
  (block $done (loop $four
    (br_if $done (i32.ge_u (local.get $from) (local.get $to)))
    (local.set $o (call $least (i32.shl (local.get $from) (i32.const 2))
      (i32.sub (i32.load offset=24 (local.get $p)) (i32.const 4))))
    (local.set $k (i32.const 0))
    (loop $output
      (call $nf4_unpack
        (i32.add (i32.load offset=8 (local.get $p))
          (i32.mul (i32.add (local.get $o) (local.get $k)) (i32.shl (local.get $blocks) (i32.const 5))))
        (i32.add (i32.load offset=12 (local.get $p))
          (i32.mul (i32.add (local.get $o) (local.get $k)) (i32.shl (local.get $blocks) (i32.const 2))))
        (local.get $blocks)
        (i32.add (local.get $w) (i32.shl (local.get $k) (i32.const 4)))
        (i32.add (local.get $scales) (i32.shl (local.get $k) (i32.const 2))))
      (br_if $output (i32.lt_u (local.tee $k (i32.add (local.get $k) (i32.const 1))) (i32.const 4))))
    (call $tiles (local.get $p) (local.get $w) (local.get $scales) (local.get $blocks) (i32.const 2)
      (i32.add (i32.load offset=16 (local.get $p)) (i32.shl (local.get $o) (i32.const 2))) (local.get $row) (local.get $end))
    (local.set $from (i32.add (local.get $from) (i32.const 1)))
    (br $four))))

;; An output's weights as i16 at every fourth 16 bytes of $w, and its scales at every fourth f32 of $to.
(func $nf4_unpack (param $codes i32) (param $scales i32) (param $blocks i32) (param $w i32) (param $to i32)
  (local $c v128) (local $i v128) (local $l v128) (local $h v128) (local $low v128) (local $high v128) (local $mask v128)
  (local.set $low (v128.load (i32.const 192)))
  (local.set $high (v128.load (i32.const 208)))
  (local.set $mask (i8x16.splat (i32.const 15)))
  (loop $block
    (local.set $c (v128.load (local.get $codes)))
    (local.set $i (v128.and (local.get $c) (local.get $mask)))
    (local.set $l (i8x16.relaxed_swizzle (local.get $low) (local.get $i)))
    (local.set $h (i8x16.relaxed_swizzle (local.get $high) (local.get $i)))
    (v128.store (local.get $w)
      (i8x16.shuffle 0 16 1 17 2 18 3 19 4 20 5 21 6 22 7 23 (local.get $l) (local.get $h)))
    (v128.store offset=64 (local.get $w)
      (i8x16.shuffle 8 24 9 25 10 26 11 27 12 28 13 29 14 30 15 31 (local.get $l) (local.get $h)))
    (local.set $i (v128.and (i16x8.shr_u (local.get $c) (i32.const 4)) (local.get $mask)))
    (local.set $l (i8x16.relaxed_swizzle (local.get $low) (local.get $i)))
    (local.set $h (i8x16.relaxed_swizzle (local.get $high) (local.get $i)))
    (v128.store offset=128 (local.get $w)
      (i8x16.shuffle 0 16 1 17 2 18 3 19 4 20 5 21 6 22 7 23 (local.get $l) (local.get $h)))
    (v128.store offset=192 (local.get $w)
      (i8x16.shuffle 8 24 9 25 10 26 11 27 12 28 13 29 14 30 15 31 (local.get $l) (local.get $h)))
    (local.set $c (v128.load offset=16 (local.get $codes)))
    (local.set $i (v128.and (local.get $c) (local.get $mask)))
    (local.set $l (i8x16.relaxed_swizzle (local.get $low) (local.get $i)))
    (local.set $h (i8x16.relaxed_swizzle (local.get $high) (local.get $i)))
    (v128.store offset=256 (local.get $w)
      (i8x16.shuffle 0 16 1 17 2 18 3 19 4 20 5 21 6 22 7 23 (local.get $l) (local.get $h)))
    (v128.store offset=320 (local.get $w)
      (i8x16.shuffle 8 24 9 25 10 26 11 27 12 28 13 29 14 30 15 31 (local.get $l) (local.get $h)))
    (local.set $i (v128.and (i16x8.shr_u (local.get $c) (i32.const 4)) (local.get $mask)))
    (local.set $l (i8x16.relaxed_swizzle (local.get $low) (local.get $i)))
    (local.set $h (i8x16.relaxed_swizzle (local.get $high) (local.get $i)))
    (v128.store offset=384 (local.get $w)
      (i8x16.shuffle 0 16 1 17 2 18 3 19 4 20 5 21 6 22 7 23 (local.get $l) (local.get $h)))
    (v128.store offset=448 (local.get $w)
      (i8x16.shuffle 8 24 9 25 10 26 11 27 12 28 13 29 14 30 15 31 (local.get $l) (local.get $h)))
    (f32.store (local.get $to) (f32.load (local.get $scales)))
    (local.set $codes (i32.add (local.get $codes) (i32.const 32)))
    (local.set $scales (i32.add (local.get $scales) (i32.const 4)))
    (local.set $to (i32.add (local.get $to) (i32.const 16)))
    (local.set $w (i32.add (local.get $w) (i32.const 512)))
    (br_if $block (local.tee $blocks (i32.sub (local.get $blocks) (i32.const 1))))))
