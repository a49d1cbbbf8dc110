;; y = factor * x * W^T + plus in f32. Arguments: x f32 [T, I], W f32 [O, I], y f32 [T, O], plus f32 [T, O] or 0, T, O, I,
;; factor (f32). Outputs are shared out by fours.

(func $linear_f32 (param $p i32) (param $thread i32) (param $threads i32)
  (local $fours i32) (local $from i32) (local $to i32) (local $o i32) (local $O i32) (local $bytes i32) (local $y i32)
  (local $w i32) (local $row i32) (local $x i32) (local $few i32) (local $v v128)
  (local.set $O (i32.load offset=20 (local.get $p)))
  (local.set $bytes (i32.shl (i32.load offset=24 (local.get $p)) (i32.const 2)))
  (local.set $fours (i32.shr_u (i32.add (local.get $O) (i32.const 3)) (i32.const 2)))
  (local.set $from (call $share (local.get $fours) (local.get $thread) (local.get $threads)))
  (local.set $to (call $share (local.get $fours) (i32.add (local.get $thread) (i32.const 1)) (local.get $threads)))
  (block $done (loop $four
    (br_if $done (i32.ge_u (local.get $from) (local.get $to)))
    (local.set $o (i32.shl (local.get $from) (i32.const 2)))
    (local.set $w (i32.add (i32.load offset=4 (local.get $p)) (i32.mul (local.get $o) (local.get $bytes))))
    (local.set $few (call $least (i32.sub (local.get $O) (local.get $o)) (i32.const 4)))
    (local.set $row (i32.const 0))
    (loop $next
      (local.set $x (i32.add (i32.load (local.get $p)) (i32.mul (local.get $row) (local.get $bytes))))
      (local.set $y (i32.shl (i32.add (i32.mul (local.get $row) (local.get $O)) (local.get $o)) (i32.const 2)))
      (local.set $v (f32x4.mul
        (if (result v128) (i32.eq (local.get $few) (i32.const 4))
          (then (call $dots (local.get $x) (local.get $w) (local.get $bytes)))
          (else (call $few_dots (local.get $x) (local.get $w) (local.get $bytes) (local.get $few))))
        (v128.load32_splat offset=28 (local.get $p))))
      ;; Memory holds whole fours: what is read of `plus` behind its end is not stored.
      (if (i32.load offset=12 (local.get $p)) (then (local.set $v
        (f32x4.add (local.get $v) (v128.load (i32.add (i32.load offset=12 (local.get $p)) (local.get $y)))))))
      (call $store_few (i32.add (i32.load offset=8 (local.get $p)) (local.get $y)) (local.get $v) (local.get $few))
      (br_if $next (i32.lt_u (local.tee $row (i32.add (local.get $row) (i32.const 1))) (i32.load offset=16 (local.get $p)))))
    (local.set $from (i32.add (local.get $from) (i32.const 1)))
    (br $four))))

(func $store_few (param $y i32) (param $v v128) (param $few i32)
  (if (i32.eq (local.get $few) (i32.const 4)) (then (v128.store (local.get $y) (local.get $v)) (return)))
  (v128.store32_lane 0 (local.get $y) (local.get $v))
  (if (i32.gt_u (local.get $few) (i32.const 1)) (then (v128.store32_lane offset=4 1 (local.get $y) (local.get $v))))
  (if (i32.gt_u (local.get $few) (i32.const 2)) (then (v128.store32_lane offset=8 2 (local.get $y) (local.get $v)))))

;; Dot products of x with four rows of W, $bytes long each.
(func $dots (param $x i32) (param $w i32) (param $bytes i32) (result v128)
  (local $end i32) (local $whole i32) (local $w1 i32) (local $w2 i32) (local $w3 i32) (local $v v128)
  (local $a v128) (local $b v128) (local $c v128) (local $d v128)
  (local.set $end (i32.add (local.get $x) (local.get $bytes)))
  (local.set $whole (i32.sub (local.get $end) (i32.const 12)))
  (local.set $w1 (i32.add (local.get $w) (local.get $bytes)))
  (local.set $w2 (i32.add (local.get $w1) (local.get $bytes)))
  (local.set $w3 (i32.add (local.get $w2) (local.get $bytes)))
  (block $narrow (loop $wide
    (br_if $narrow (i32.ge_u (local.get $x) (local.get $whole)))
    (local.set $v (v128.load (local.get $x)))
    (local.set $a (f32x4.relaxed_madd (local.get $v) (v128.load (local.get $w)) (local.get $a)))
    (local.set $b (f32x4.relaxed_madd (local.get $v) (v128.load (local.get $w1)) (local.get $b)))
    (local.set $c (f32x4.relaxed_madd (local.get $v) (v128.load (local.get $w2)) (local.get $c)))
    (local.set $d (f32x4.relaxed_madd (local.get $v) (v128.load (local.get $w3)) (local.get $d)))
    (local.set $x (i32.add (local.get $x) (i32.const 16)))
    (local.set $w (i32.add (local.get $w) (i32.const 16)))
    (local.set $w1 (i32.add (local.get $w1) (i32.const 16)))
    (local.set $w2 (i32.add (local.get $w2) (i32.const 16)))
    (local.set $w3 (i32.add (local.get $w3) (i32.const 16)))
    (br $wide)))
  (block $over (loop $single
    (br_if $over (i32.ge_u (local.get $x) (local.get $end)))
    (local.set $v (v128.load32_zero (local.get $x)))
    (local.set $a (f32x4.relaxed_madd (local.get $v) (v128.load32_zero (local.get $w)) (local.get $a)))
    (local.set $b (f32x4.relaxed_madd (local.get $v) (v128.load32_zero (local.get $w1)) (local.get $b)))
    (local.set $c (f32x4.relaxed_madd (local.get $v) (v128.load32_zero (local.get $w2)) (local.get $c)))
    (local.set $d (f32x4.relaxed_madd (local.get $v) (v128.load32_zero (local.get $w3)) (local.get $d)))
    (local.set $x (i32.add (local.get $x) (i32.const 4)))
    (local.set $w (i32.add (local.get $w) (i32.const 4)))
    (local.set $w1 (i32.add (local.get $w1) (i32.const 4)))
    (local.set $w2 (i32.add (local.get $w2) (i32.const 4)))
    (local.set $w3 (i32.add (local.get $w3) (i32.const 4)))
    (br $single)))
  (call $sums (local.get $a) (local.get $b) (local.get $c) (local.get $d)))

;; The same of one to three rows.
(func $few_dots (param $x i32) (param $w i32) (param $bytes i32) (param $few i32) (result v128) (local $v v128)
  (local.set $v (f32x4.replace_lane 0 (local.get $v)
    (call $dot (local.get $x) (local.get $w) (i32.shr_u (local.get $bytes) (i32.const 2)))))
  (if (i32.gt_u (local.get $few) (i32.const 1)) (then (local.set $v (f32x4.replace_lane 1 (local.get $v) (call $dot
    (local.get $x) (i32.add (local.get $w) (local.get $bytes)) (i32.shr_u (local.get $bytes) (i32.const 2)))))))
  (if (i32.gt_u (local.get $few) (i32.const 2)) (then (local.set $v (f32x4.replace_lane 2 (local.get $v) (call $dot
    (local.get $x) (i32.add (local.get $w) (i32.shl (local.get $bytes) (i32.const 1)))
    (i32.shr_u (local.get $bytes) (i32.const 2)))))))
  (local.get $v))
