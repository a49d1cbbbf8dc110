;; The searches of ggml's K-quants: for each small group of elements the step (and minimum) with which its codes come
;; closest to it. Every sum runs in llama.cpp's order in f32, so that the results are llama.cpp's bit for bit (as built
;; for x86-64, which has no fused multiply-add); four groups are searched at once, one in each lane of a vector.
;; Scratch memory, bytes: 0 x, 512 weights (later weight * x), 1024 codes as f32; each [element][lane].
(module
  (import "env" "memory" (memory 1))

  ;; Nearest integers as ggml's nearest_int finds them: from the bits after adding 1.5 * 2^23.
  (func $nearest (param $v v128) (result v128)
    (i32x4.sub
      (v128.and (f32x4.add (local.get $v) (f32x4.splat (f32.const 12582912))) (i32x4.splat (i32.const 0x7fffff)))
      (i32x4.splat (i32.const 0x400000))))

  ;; One element of each of four groups that lie `stride` bytes apart.
  (func $lanes (param $x i32) (param $stride i32) (result v128)
    (local $v v128)
    (local.set $v (v128.load32_zero (local.get $x)))
    (local.set $x (i32.add (local.get $x) (local.get $stride)))
    (local.set $v (v128.load32_lane 1 (local.get $x) (local.get $v)))
    (local.set $x (i32.add (local.get $x) (local.get $stride)))
    (local.set $v (v128.load32_lane 2 (local.get $x) (local.get $v)))
    (local.set $x (i32.add (local.get $x) (local.get $stride)))
    (v128.load32_lane 3 (local.get $x) (local.get $v)))

  ;; Groups of 32, value = step * code + min with min <= 0 and code 0 to `most` (ggml: make_qkx2_quants).
  ;; x f32 [fours][4][32] -> found f32 [fours][4 kinds][4 lanes]: step, -min, and of the codes that were best: their
  ;; factor and origin, code = nearest(factor * (x - origin)).
  (func (export "search_with_minimum") (param $x i32) (param $found i32) (param $fours i32)
    (param $most f32) (param $first f32) (param $tries i32)
    (local $p i32) (local $try i32)
    (local $v v128) (local $w v128) (local $l v128) (local $wl v128) (local $d v128)
    (local $min v128) (local $max v128) (local $flat v128) (local $better v128) (local $top v128)
    (local $sum_w v128) (local $sum_x v128) (local $sum_l v128) (local $sum_l2 v128) (local $sum_xl v128)
    (local $step v128) (local $factor v128) (local $origin v128) (local $error v128)
    (local $best_step v128) (local $best_factor v128) (local $best_error v128)
    (local.set $top (i32x4.trunc_sat_f32x4_s (f32x4.splat (local.get $most))))
    (loop $next_four
      ;; x and its squares' sum; weights sqrt(mean of squares) + |x|
      (local.set $sum_x (v128.const i32x4 0 0 0 0))
      (local.set $p (i32.const 0))
      (loop $element
        (local.set $v (call $lanes (i32.add (local.get $x) (i32.shr_u (local.get $p) (i32.const 2))) (i32.const 128)))
        (v128.store (local.get $p) (local.get $v))
        (local.set $sum_x (f32x4.add (local.get $sum_x) (f32x4.mul (local.get $v) (local.get $v))))
        (local.set $p (i32.add (local.get $p) (i32.const 16)))
        (br_if $element (i32.lt_u (local.get $p) (i32.const 512))))
      (local.set $d (f32x4.sqrt (f32x4.div (local.get $sum_x) (f32x4.splat (f32.const 32)))))
      (local.set $min (v128.load (i32.const 0)))
      (local.set $max (local.get $min))
      (local.set $sum_w (v128.const i32x4 0 0 0 0))
      (local.set $sum_x (v128.const i32x4 0 0 0 0))
      (local.set $p (i32.const 0))
      (loop $element
        (local.set $v (v128.load (local.get $p)))
        (local.set $w (f32x4.add (local.get $d) (f32x4.abs (local.get $v))))
        (v128.store offset=512 (local.get $p) (local.get $w))
        (local.set $min (f32x4.pmin (local.get $min) (local.get $v)))
        (local.set $max (f32x4.pmax (local.get $max) (local.get $v)))
        (local.set $sum_w (f32x4.add (local.get $sum_w) (local.get $w)))
        (local.set $sum_x (f32x4.add (local.get $sum_x) (f32x4.mul (local.get $w) (local.get $v))))
        (local.set $p (i32.add (local.get $p) (i32.const 16)))
        (br_if $element (i32.lt_u (local.get $p) (i32.const 512))))
      (local.set $min (f32x4.pmin (local.get $min) (v128.const i32x4 0 0 0 0)))
      (local.set $flat (f32x4.eq (local.get $max) (local.get $min)))

      ;; The error of the codes that span the whole range.
      (local.set $best_factor (f32x4.div (f32x4.splat (local.get $most)) (f32x4.sub (local.get $max) (local.get $min))))
      (local.set $best_step (f32x4.div (f32x4.splat (f32.const 1)) (local.get $best_factor)))
      (local.set $origin (local.get $min))
      (local.set $best_error (v128.const i32x4 0 0 0 0))
      (local.set $p (i32.const 0))
      (loop $element
        (local.set $v (v128.load (local.get $p)))
        (local.set $l (f32x4.convert_i32x4_s (i32x4.max_s (v128.const i32x4 0 0 0 0)
          (i32x4.min_s (local.get $top)
            (call $nearest (f32x4.mul (local.get $best_factor) (f32x4.sub (local.get $v) (local.get $min))))))))
        (local.set $d (f32x4.sub
          (f32x4.add (f32x4.mul (local.get $best_step) (local.get $l)) (local.get $min)) (local.get $v)))
        (local.set $best_error (f32x4.add (local.get $best_error)
          (f32x4.mul (v128.load offset=512 (local.get $p)) (f32x4.mul (local.get $d) (local.get $d)))))
        (local.set $p (i32.add (local.get $p) (i32.const 16)))
        (br_if $element (i32.lt_u (local.get $p) (i32.const 512))))

      ;; Slightly other factors: step and minimum by weighted least squares for the codes that each gives. A better
      ;; minimum is where the tries after it start from.
      (local.set $try (i32.const 0))
      (loop $next_try
        (local.set $factor (f32x4.div
          (f32x4.splat (f32.add (local.get $most) (f32.add (local.get $first)
            (f32.mul (f32.const 0.1) (f32.convert_i32_s (local.get $try))))))
          (f32x4.sub (local.get $max) (local.get $min))))
        (local.set $sum_l (v128.const i32x4 0 0 0 0))
        (local.set $sum_l2 (v128.const i32x4 0 0 0 0))
        (local.set $sum_xl (v128.const i32x4 0 0 0 0))
        (local.set $p (i32.const 0))
        (loop $element
          (local.set $v (v128.load (local.get $p)))
          (local.set $l (f32x4.convert_i32x4_s (i32x4.max_s (v128.const i32x4 0 0 0 0)
            (i32x4.min_s (local.get $top)
              (call $nearest (f32x4.mul (local.get $factor) (f32x4.sub (local.get $v) (local.get $min))))))))
          (v128.store offset=1024 (local.get $p) (local.get $l))
          (local.set $wl (f32x4.mul (v128.load offset=512 (local.get $p)) (local.get $l)))
          (local.set $sum_l (f32x4.add (local.get $sum_l) (local.get $wl)))
          (local.set $sum_l2 (f32x4.add (local.get $sum_l2) (f32x4.mul (local.get $wl) (local.get $l))))
          (local.set $sum_xl (f32x4.add (local.get $sum_xl) (f32x4.mul (local.get $wl) (local.get $v))))
          (local.set $p (i32.add (local.get $p) (i32.const 16)))
          (br_if $element (i32.lt_u (local.get $p) (i32.const 512))))
        (local.set $d (f32x4.sub
          (f32x4.mul (local.get $sum_w) (local.get $sum_l2)) (f32x4.mul (local.get $sum_l) (local.get $sum_l))))
        (local.set $step (f32x4.div (f32x4.sub
          (f32x4.mul (local.get $sum_w) (local.get $sum_xl)) (f32x4.mul (local.get $sum_x) (local.get $sum_l)))
          (local.get $d)))
        (local.set $w (f32x4.div (f32x4.sub
          (f32x4.mul (local.get $sum_l2) (local.get $sum_x)) (f32x4.mul (local.get $sum_l) (local.get $sum_xl)))
          (local.get $d))) ;; the new minimum; where it is above 0, 0 and the best step for that
        (local.set $better (f32x4.gt (local.get $w) (v128.const i32x4 0 0 0 0)))
        (local.set $w (v128.andnot (local.get $w) (local.get $better)))
        (local.set $step (v128.bitselect
          (f32x4.div (local.get $sum_xl) (local.get $sum_l2)) (local.get $step) (local.get $better)))
        (local.set $error (v128.const i32x4 0 0 0 0))
        (local.set $p (i32.const 0))
        (loop $element
          (local.set $v (f32x4.sub
            (f32x4.add (f32x4.mul (local.get $step) (v128.load offset=1024 (local.get $p))) (local.get $w))
            (v128.load (local.get $p))))
          (local.set $error (f32x4.add (local.get $error)
            (f32x4.mul (v128.load offset=512 (local.get $p)) (f32x4.mul (local.get $v) (local.get $v)))))
          (local.set $p (i32.add (local.get $p) (i32.const 16)))
          (br_if $element (i32.lt_u (local.get $p) (i32.const 512))))
        (local.set $better (v128.andnot
          (v128.and (f32x4.gt (local.get $d) (v128.const i32x4 0 0 0 0))
            (f32x4.lt (local.get $error) (local.get $best_error)))
          (local.get $flat)))
        (local.set $best_error (v128.bitselect (local.get $error) (local.get $best_error) (local.get $better)))
        (local.set $best_step (v128.bitselect (local.get $step) (local.get $best_step) (local.get $better)))
        (local.set $best_factor (v128.bitselect (local.get $factor) (local.get $best_factor) (local.get $better)))
        (local.set $origin (v128.bitselect (local.get $min) (local.get $origin) (local.get $better)))
        (local.set $min (v128.bitselect (local.get $w) (local.get $min) (local.get $better)))
        (local.set $try (i32.add (local.get $try) (i32.const 1)))
        (br_if $next_try (i32.lt_u (local.get $try) (local.get $tries))))

      ;; A group of one value (or of zeros) has step 0 and codes 0.
      (v128.store (local.get $found) (v128.andnot (local.get $best_step) (local.get $flat)))
      (v128.store offset=16 (local.get $found) (f32x4.neg (local.get $min)))
      (v128.store offset=32 (local.get $found) (v128.andnot (local.get $best_factor) (local.get $flat)))
      (v128.store offset=48 (local.get $found) (v128.andnot (local.get $origin) (local.get $flat)))
      (local.set $found (i32.add (local.get $found) (i32.const 64)))
      (local.set $x (i32.add (local.get $x) (i32.const 512)))
      (local.set $fours (i32.sub (local.get $fours) (i32.const 1)))
      (br_if $next_four (local.get $fours))))

  ;; Groups of 16, value = step * code with code -`most` to `most` - 1 (ggml: make_qx_quants with weights x^2).
  ;; x f32 [fours][4][16] -> found f32 [fours][2 kinds][4 lanes]: step, and the factor of the codes that were best,
  ;; code = nearest(factor * x); both 0 where no |x| reaches 1e-15.
  (func (export "search_symmetric") (param $x i32) (param $found i32) (param $fours i32) (param $most f32)
    (local $p i32) (local $try i32)
    (local $v v128) (local $w v128) (local $l v128) (local $largest v128) (local $amax v128) (local $mask v128)
    (local $low v128) (local $high v128) (local $sum_xl v128) (local $sum_l2 v128)
    (local $step v128) (local $factor v128) (local $best v128) (local $best_factor v128)
    (local.set $low (i32x4.trunc_sat_f32x4_s (f32x4.splat (f32.neg (local.get $most)))))
    (local.set $high (i32x4.sub (i32x4.neg (local.get $low)) (i32x4.splat (i32.const 1))))
    (loop $next_four
      ;; The first value of largest magnitude; weights x^2 and weight * x
      (local.set $amax (v128.const i32x4 0 0 0 0))
      (local.set $largest (v128.const i32x4 0 0 0 0))
      (local.set $p (i32.const 0))
      (loop $element
        (local.set $v (call $lanes (i32.add (local.get $x) (i32.shr_u (local.get $p) (i32.const 2))) (i32.const 64)))
        (local.set $mask (f32x4.gt (f32x4.abs (local.get $v)) (local.get $amax)))
        (local.set $amax (v128.bitselect (f32x4.abs (local.get $v)) (local.get $amax) (local.get $mask)))
        (local.set $largest (v128.bitselect (local.get $v) (local.get $largest) (local.get $mask)))
        (local.set $w (f32x4.mul (local.get $v) (local.get $v)))
        (v128.store (local.get $p) (local.get $v))
        (v128.store offset=256 (local.get $p) (local.get $w))
        (v128.store offset=512 (local.get $p) (f32x4.mul (local.get $w) (local.get $v)))
        (local.set $p (i32.add (local.get $p) (i32.const 16)))
        (br_if $element (i32.lt_u (local.get $p) (i32.const 256))))

      ;; Factors -(most + try/10) / largest; the first is that of try 0, then -9 to 9 in order.
      (local.set $try (i32.const -10))
      (loop $next_try
        (local.set $factor (f32x4.div
          (f32x4.splat (f32.neg (f32.add (local.get $most) (f32.mul (f32.const 0.1) (f32.convert_i32_s
            (select (i32.const 0) (local.get $try) (i32.eq (local.get $try) (i32.const -10))))))))
          (local.get $largest)))
        (local.set $sum_xl (v128.const i32x4 0 0 0 0))
        (local.set $sum_l2 (v128.const i32x4 0 0 0 0))
        (local.set $p (i32.const 0))
        (loop $element
          (local.set $l (f32x4.convert_i32x4_s (i32x4.max_s (local.get $low) (i32x4.min_s (local.get $high)
            (call $nearest (f32x4.mul (local.get $factor) (v128.load (local.get $p))))))))
          (local.set $sum_xl (f32x4.add (local.get $sum_xl)
            (f32x4.mul (v128.load offset=512 (local.get $p)) (local.get $l))))
          (local.set $sum_l2 (f32x4.add (local.get $sum_l2)
            (f32x4.mul (f32x4.mul (v128.load offset=256 (local.get $p)) (local.get $l)) (local.get $l))))
          (local.set $p (i32.add (local.get $p) (i32.const 16)))
          (br_if $element (i32.lt_u (local.get $p) (i32.const 256))))
        (if (i32.eq (local.get $try) (i32.const -10))
          (then
            (local.set $step (v128.andnot (f32x4.div (local.get $sum_xl) (local.get $sum_l2))
              (f32x4.eq (local.get $sum_l2) (v128.const i32x4 0 0 0 0))))
            (local.set $best (f32x4.mul (local.get $step) (local.get $sum_xl)))
            (local.set $best_factor (local.get $factor)))
          (else
            (local.set $mask (v128.and (f32x4.gt (local.get $sum_l2) (v128.const i32x4 0 0 0 0))
              (f32x4.gt (f32x4.mul (local.get $sum_xl) (local.get $sum_xl))
                (f32x4.mul (local.get $best) (local.get $sum_l2)))))
            (local.set $step (v128.bitselect
              (f32x4.div (local.get $sum_xl) (local.get $sum_l2)) (local.get $step) (local.get $mask)))
            (local.set $best (v128.bitselect
              (f32x4.mul (local.get $step) (local.get $sum_xl)) (local.get $best) (local.get $mask)))
            (local.set $best_factor (v128.bitselect
              (local.get $factor) (local.get $best_factor) (local.get $mask)))))
        (local.set $try (i32.add (local.get $try) (i32.const 1)))
        (if (i32.eqz (local.get $try)) (then (local.set $try (i32.const 1))))
        (br_if $next_try (i32.le_s (local.get $try) (i32.const 9))))

      (local.set $mask (f32x4.lt (local.get $amax) (f32x4.splat (f32.const 1e-15))))
      (v128.store (local.get $found) (v128.andnot (local.get $step) (local.get $mask)))
      (v128.store offset=16 (local.get $found) (v128.andnot (local.get $best_factor) (local.get $mask)))
      (local.set $found (i32.add (local.get $found) (i32.const 32)))
      (local.set $x (i32.add (local.get $x) (i32.const 256)))
      (local.set $fours (i32.sub (local.get $fours) (i32.const 1)))
      (br_if $next_four (local.get $fours))))

  ;; Codes for steps that are known: nearest((x + min) / step), or nearest(factor * (x - origin)) where the step became
  ;; 0, clamped to [low, high], plus offset. x f32 [groups][bytes], steps f32 [groups][step, min, factor, origin]
  ;; -> codes u8 [groups][bytes], `bytes` being 16 or 32.
  (func (export "round") (param $x i32) (param $steps i32) (param $codes i32) (param $groups i32)
    (param $bytes i32) (param $low i32) (param $high i32) (param $offset i32)
    (local $end i32) (local $zero i32) (local $divisor v128) (local $shift v128) (local $factor v128)
    (local $a v128) (local $b v128)
    (loop $group
      (local.set $zero (f32.eq (f32.load (local.get $steps)) (f32.const 0)))
      (local.set $divisor (v128.load32_splat (local.get $steps)))
      (local.set $shift (v128.load32_splat offset=4 (local.get $steps)))
      (local.set $factor (v128.load32_splat offset=8 (local.get $steps)))
      (if (local.get $zero)
        (then (local.set $shift (f32x4.neg (v128.load32_splat offset=12 (local.get $steps))))))
      (local.set $end (i32.add (local.get $codes) (local.get $bytes)))
      (loop $eight
        (local.set $a (f32x4.add (v128.load (local.get $x)) (local.get $shift)))
        (local.set $b (f32x4.add (v128.load offset=16 (local.get $x)) (local.get $shift)))
        (if (local.get $zero)
          (then
            (local.set $a (f32x4.mul (local.get $factor) (local.get $a)))
            (local.set $b (f32x4.mul (local.get $factor) (local.get $b))))
          (else
            (local.set $a (f32x4.div (local.get $a) (local.get $divisor)))
            (local.set $b (f32x4.div (local.get $b) (local.get $divisor)))))
        (local.set $a (i32x4.add (i32x4.splat (local.get $offset)) (i32x4.max_s (i32x4.splat (local.get $low))
          (i32x4.min_s (i32x4.splat (local.get $high)) (call $nearest (local.get $a))))))
        (local.set $b (i32x4.add (i32x4.splat (local.get $offset)) (i32x4.max_s (i32x4.splat (local.get $low))
          (i32x4.min_s (i32x4.splat (local.get $high)) (call $nearest (local.get $b))))))
        (local.set $a (i16x8.narrow_i32x4_s (local.get $a) (local.get $b)))
        (v128.store64_lane 0 (local.get $codes) (i8x16.narrow_i16x8_u (local.get $a) (local.get $a)))
        (local.set $codes (i32.add (local.get $codes) (i32.const 8)))
        (local.set $x (i32.add (local.get $x) (i32.const 32)))
        (br_if $eight (i32.lt_u (local.get $codes) (local.get $end))))
      (local.set $steps (i32.add (local.get $steps) (i32.const 16)))
      (local.set $groups (i32.sub (local.get $groups) (i32.const 1)))
      (br_if $group (local.get $groups)))))
