;; Rows moved, normed and rotated; rows are shared out.

;; y[n] = table[index[n]]. Arguments: table f32 [M, D], index i32 [N], y f32 [N, D], N, D.
(func $gather_rows (param $p i32) (param $thread i32) (param $threads i32) (local $n i32) (local $last i32) (local $bytes i32)
  (local.set $bytes (i32.shl (i32.load offset=16 (local.get $p)) (i32.const 2)))
  (local.set $n (call $share (i32.load offset=12 (local.get $p)) (local.get $thread) (local.get $threads)))
  (local.set $last
    (call $share (i32.load offset=12 (local.get $p)) (i32.add (local.get $thread) (i32.const 1)) (local.get $threads)))
  (block $done (loop $next
    (br_if $done (i32.ge_u (local.get $n) (local.get $last)))
    (memory.copy
      (i32.add (i32.load offset=8 (local.get $p)) (i32.mul (local.get $n) (local.get $bytes)))
      (i32.add (i32.load (local.get $p)) (i32.mul
        (i32.load (i32.add (i32.load offset=4 (local.get $p)) (i32.shl (local.get $n) (i32.const 2))))
        (local.get $bytes)))
      (local.get $bytes))
    (local.set $n (i32.add (local.get $n) (i32.const 1)))
    (br $next))))

;; table[index[n]] = x[n]. Arguments: table f32 [M, D], index i32 [N], x f32 [N, D], N, D.
(func $store_rows (param $p i32) (param $thread i32) (param $threads i32) (local $n i32) (local $last i32) (local $bytes i32)
  (local.set $bytes (i32.shl (i32.load offset=16 (local.get $p)) (i32.const 2)))
  (local.set $n (call $share (i32.load offset=12 (local.get $p)) (local.get $thread) (local.get $threads)))
  (local.set $last
    (call $share (i32.load offset=12 (local.get $p)) (i32.add (local.get $thread) (i32.const 1)) (local.get $threads)))
  (block $done (loop $next
    (br_if $done (i32.ge_u (local.get $n) (local.get $last)))
    (memory.copy
      (i32.add (i32.load (local.get $p)) (i32.mul
        (i32.load (i32.add (i32.load offset=4 (local.get $p)) (i32.shl (local.get $n) (i32.const 2))))
        (local.get $bytes)))
      (i32.add (i32.load offset=8 (local.get $p)) (i32.mul (local.get $n) (local.get $bytes)))
      (local.get $bytes))
    (local.set $n (i32.add (local.get $n) (i32.const 1)))
    (br $next))))

;; y = x / sqrt(mean(x^2) + eps) * weight. Arguments: x f32 [N, S], weight f32 [S], y f32 [N, S], N, S, eps (f32).
(func $rms_norm (param $p i32) (param $thread i32) (param $threads i32)
  (local $n i32) (local $last i32) (local $bytes i32) (local $x i32) (local $w i32) (local $y i32) (local $end i32)
  (local $whole i32) (local $r v128)
  (local.set $bytes (i32.shl (i32.load offset=16 (local.get $p)) (i32.const 2)))
  (local.set $n (call $share (i32.load offset=12 (local.get $p)) (local.get $thread) (local.get $threads)))
  (local.set $last
    (call $share (i32.load offset=12 (local.get $p)) (i32.add (local.get $thread) (i32.const 1)) (local.get $threads)))
  (block $done (loop $next
    (br_if $done (i32.ge_u (local.get $n) (local.get $last)))
    (local.set $x (i32.add (i32.load (local.get $p)) (i32.mul (local.get $n) (local.get $bytes))))
    (local.set $w (i32.load offset=4 (local.get $p)))
    (local.set $y (i32.add (i32.load offset=8 (local.get $p)) (i32.mul (local.get $n) (local.get $bytes))))
    (local.set $end (i32.add (local.get $x) (local.get $bytes)))
    (local.set $whole (i32.sub (local.get $end) (i32.const 12)))
    (local.set $r (f32x4.splat (f32.div (f32.const 1) (f32.sqrt (f32.add
      (f32.div
        (call $dot (local.get $x) (local.get $x) (i32.load offset=16 (local.get $p)))
        (f32.convert_i32_u (i32.load offset=16 (local.get $p))))
      (f32.load offset=20 (local.get $p)))))))
    (block $narrow (loop $wide
      (br_if $narrow (i32.ge_u (local.get $x) (local.get $whole)))
      (v128.store (local.get $y)
        (f32x4.mul (f32x4.mul (v128.load (local.get $x)) (local.get $r)) (v128.load (local.get $w))))
      (local.set $x (i32.add (local.get $x) (i32.const 16)))
      (local.set $w (i32.add (local.get $w) (i32.const 16)))
      (local.set $y (i32.add (local.get $y) (i32.const 16)))
      (br $wide)))
    (block $over (loop $single
      (br_if $over (i32.ge_u (local.get $x) (local.get $end)))
      (f32.store (local.get $y) (f32.mul
        (f32.mul (f32.load (local.get $x)) (f32x4.extract_lane 0 (local.get $r))) (f32.load (local.get $w))))
      (local.set $x (i32.add (local.get $x) (i32.const 4)))
      (local.set $w (i32.add (local.get $w) (i32.const 4)))
      (local.set $y (i32.add (local.get $y) (i32.const 4)))
      (br $single)))
    (local.set $n (i32.add (local.get $n) (i32.const 1)))
    (br $next))))

;; (x1, x2) -> (x1*cos - x2*sin, x2*cos + x1*sin) for each head's halves. Arguments: x f32 [T, n, S], cos and sin
;; f32 [T, S/2], y f32 [T, n, S], T*n, n, S/2. Heads are shared out.
(func $rope (param $p i32) (param $thread i32) (param $threads i32)
  (local $n i32) (local $last i32) (local $bytes i32) (local $x i32) (local $cos i32) (local $sin i32) (local $y i32)
  (local $i i32) (local $a v128) (local $b v128) (local $c v128) (local $s v128)
  (local.set $bytes (i32.shl (i32.load offset=24 (local.get $p)) (i32.const 2)))
  (local.set $n (call $share (i32.load offset=16 (local.get $p)) (local.get $thread) (local.get $threads)))
  (local.set $last
    (call $share (i32.load offset=16 (local.get $p)) (i32.add (local.get $thread) (i32.const 1)) (local.get $threads)))
  (block $done (loop $next
    (br_if $done (i32.ge_u (local.get $n) (local.get $last)))
    (local.set $x
      (i32.add (i32.load (local.get $p)) (i32.shl (i32.mul (local.get $n) (local.get $bytes)) (i32.const 1))))
    (local.set $y
      (i32.add (i32.load offset=12 (local.get $p)) (i32.shl (i32.mul (local.get $n) (local.get $bytes)) (i32.const 1))))
    (local.set $i (i32.mul (i32.div_u (local.get $n) (i32.load offset=20 (local.get $p))) (local.get $bytes)))
    (local.set $cos (i32.add (i32.load offset=4 (local.get $p)) (local.get $i)))
    (local.set $sin (i32.add (i32.load offset=8 (local.get $p)) (local.get $i)))
    (local.set $i (i32.const 0))
    (block $narrow (loop $wide
      (br_if $narrow (i32.gt_u (i32.add (local.get $i) (i32.const 16)) (local.get $bytes)))
      (local.set $a (v128.load (i32.add (local.get $x) (local.get $i))))
      (local.set $b (v128.load (i32.add (i32.add (local.get $x) (local.get $bytes)) (local.get $i))))
      (local.set $c (v128.load (i32.add (local.get $cos) (local.get $i))))
      (local.set $s (v128.load (i32.add (local.get $sin) (local.get $i))))
      (v128.store (i32.add (local.get $y) (local.get $i))
        (f32x4.sub (f32x4.mul (local.get $a) (local.get $c)) (f32x4.mul (local.get $b) (local.get $s))))
      (v128.store (i32.add (i32.add (local.get $y) (local.get $bytes)) (local.get $i))
        (f32x4.add (f32x4.mul (local.get $b) (local.get $c)) (f32x4.mul (local.get $a) (local.get $s))))
      (local.set $i (i32.add (local.get $i) (i32.const 16)))
      (br $wide)))
    (block $over (loop $single
      (br_if $over (i32.ge_u (local.get $i) (local.get $bytes)))
      (local.set $a (v128.load32_zero (i32.add (local.get $x) (local.get $i))))
      (local.set $b (v128.load32_zero (i32.add (i32.add (local.get $x) (local.get $bytes)) (local.get $i))))
      (local.set $c (v128.load32_zero (i32.add (local.get $cos) (local.get $i))))
      (local.set $s (v128.load32_zero (i32.add (local.get $sin) (local.get $i))))
      (v128.store32_lane 0 (i32.add (local.get $y) (local.get $i))
        (f32x4.sub (f32x4.mul (local.get $a) (local.get $c)) (f32x4.mul (local.get $b) (local.get $s))))
      (v128.store32_lane 0 (i32.add (i32.add (local.get $y) (local.get $bytes)) (local.get $i))
        (f32x4.add (f32x4.mul (local.get $b) (local.get $c)) (f32x4.mul (local.get $a) (local.get $s))))
      (local.set $i (i32.add (local.get $i) (i32.const 4)))
      (br $single)))
    (local.set $n (i32.add (local.get $n) (i32.const 1)))
    (br $next))))
