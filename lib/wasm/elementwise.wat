;; y = a op b by element; op: 0 add, 1 mul, 2 div. Rows are shared out. Arguments: a f32 [T, N], b f32 [T, N], [N] or [1],
;; y f32 [T, N], T, N, op, the bytes from one row of b to the next (0: it has one only), and from one element of b to the
;; next (0: it has one only).

(func $combine (param $op i32) (param $a v128) (param $b v128) (result v128)
  (if (i32.eqz (local.get $op)) (then (return (f32x4.add (local.get $a) (local.get $b)))))
  (if (i32.eq (local.get $op) (i32.const 1)) (then (return (f32x4.mul (local.get $a) (local.get $b)))))
  (f32x4.div (local.get $a) (local.get $b)))

(func $elementwise (param $p i32) (param $thread i32) (param $threads i32)
  (local $a i32) (local $b i32) (local $y i32) (local $row i32) (local $last i32) (local $end i32) (local $whole i32)
  (local $op i32) (local $step i32) (local $one v128)
  (local.set $op (i32.load offset=20 (local.get $p)))
  (local.set $step (i32.load offset=28 (local.get $p)))
  (local.set $row (call $share (i32.load offset=12 (local.get $p)) (local.get $thread) (local.get $threads)))
  (local.set $last
    (call $share (i32.load offset=12 (local.get $p)) (i32.add (local.get $thread) (i32.const 1)) (local.get $threads)))
  (block $done (loop $next
    (br_if $done (i32.ge_u (local.get $row) (local.get $last)))
    (local.set $end (i32.shl (i32.load offset=16 (local.get $p)) (i32.const 2)))
    (local.set $a (i32.add (i32.load (local.get $p)) (i32.mul (local.get $row) (local.get $end))))
    (local.set $b
      (i32.add (i32.load offset=4 (local.get $p)) (i32.mul (local.get $row) (i32.load offset=24 (local.get $p)))))
    (local.set $y (i32.add (i32.load offset=8 (local.get $p)) (i32.mul (local.get $row) (local.get $end))))
    (local.set $end (i32.add (local.get $a) (local.get $end)))
    (local.set $whole (i32.sub (local.get $end) (i32.const 12)))
    (local.set $one (v128.load32_splat (local.get $b)))
    (block $narrow (loop $wide
      (br_if $narrow (i32.ge_u (local.get $a) (local.get $whole)))
      (if (local.get $step) (then (local.set $one (v128.load (local.get $b)))))
      (v128.store (local.get $y) (call $combine (local.get $op) (v128.load (local.get $a)) (local.get $one)))
      (local.set $a (i32.add (local.get $a) (i32.const 16)))
      (local.set $b (i32.add (local.get $b) (i32.const 16)))
      (local.set $y (i32.add (local.get $y) (i32.const 16)))
      (br $wide)))
    (block $over (loop $single
      (br_if $over (i32.ge_u (local.get $a) (local.get $end)))
      (if (local.get $step) (then (local.set $one (v128.load32_zero (local.get $b)))))
      (v128.store32_lane 0 (local.get $y)
        (call $combine (local.get $op) (v128.load32_zero (local.get $a)) (local.get $one)))
      (local.set $a (i32.add (local.get $a) (i32.const 4)))
      (local.set $b (i32.add (local.get $b) (i32.const 4)))
      (local.set $y (i32.add (local.get $y) (i32.const 4)))
      (br $single)))
    (local.set $row (i32.add (local.get $row) (i32.const 1)))
    (br $next))))
