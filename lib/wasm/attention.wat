;; softmax(scale * q*k^T) * v over the keys that a query sees, query head h reading key head floor(h*G/H). Groups of tokens
;; and so many heads, which read the same keys, are dealt to the threads in turn; keys are taken 32 at a time, which stay in
;; the first cache for these heads. Arguments: q f32 [T, H, S], keys and values f32 [M, G, S], spans i32 [T, 2], y f32
;; [T, H, S], T, H, G, S, scale (f32), whether spans[t][1] is the end of what t sees (else that is t + 1), the heads of a
;; group, a divisor of H/G, and its tokens, one or four. Scores lie in the thread's part of the memory, f32 for each head
;; and key.

(func $attention (param $p i32) (param $thread i32) (param $threads i32)
  (local $n i32) (local $t i32) (local $all i32) (local $h i32) (local $tokens i32) (local $end i32)
  (local.set $all (i32.div_u (i32.load offset=24 (local.get $p)) (i32.load offset=44 (local.get $p))))
  (local.set $tokens (i32.load offset=48 (local.get $p)))
  (local.set $n (local.get $thread))
  (block $done (loop $next
    (local.set $t (i32.mul (i32.div_u (local.get $n) (local.get $all)) (local.get $tokens)))
    (br_if $done (i32.ge_u (local.get $t) (i32.load offset=20 (local.get $p))))
    (local.set $h (i32.mul (i32.rem_u (local.get $n) (local.get $all)) (i32.load offset=44 (local.get $p))))
    (local.set $end (call $least (i32.add (local.get $t) (local.get $tokens)) (i32.load offset=20 (local.get $p))))
    (if (call $follow (local.get $p) (local.get $t) (local.get $end))
      (then (call $attend_tokens (local.get $p) (local.get $t) (i32.const 4) (local.get $h) (call $scratch (local.get $thread))))
      (else (loop $token
        (call $attend_tokens (local.get $p) (local.get $t) (i32.const 1) (local.get $h) (call $scratch (local.get $thread)))
        (br_if $token (i32.lt_u (local.tee $t (i32.add (local.get $t) (i32.const 1))) (local.get $end))))))
    (local.set $n (i32.add (local.get $n) (local.get $threads)))
    (br $next))))

;; Where token $t's keys begin, and where they end.
(func $first_key (param $p i32) (param $t i32) (result i32)
  (i32.load (i32.add (i32.load offset=12 (local.get $p)) (i32.shl (local.get $t) (i32.const 3)))))
(func $keys_end (param $p i32) (param $t i32) (result i32)
  (select
    (i32.load offset=4 (i32.add (i32.load offset=12 (local.get $p)) (i32.shl (local.get $t) (i32.const 3))))
    (i32.add (local.get $t) (i32.const 1))
    (i32.load offset=40 (local.get $p))))

;; Whether $t to before $end are four tokens that $attend_four takes: their keys begin at one place, and each sees one more.
(func $follow (param $p i32) (param $t i32) (param $end i32) (result i32) (local $i i32)
  (if (i32.or (i32.ne (i32.sub (local.get $end) (local.get $t)) (i32.const 4))
    (i32.and (i32.load offset=32 (local.get $p)) (i32.const 3))) (then (return (i32.const 0))))
  (loop $next
    (local.set $i (i32.add (local.get $i) (i32.const 1)))
    (if (i32.or
      (i32.ne (call $first_key (local.get $p) (i32.add (local.get $t) (local.get $i))) (call $first_key (local.get $p) (local.get $t)))
      (i32.ne (call $keys_end (local.get $p) (i32.add (local.get $t) (local.get $i)))
        (i32.add (call $keys_end (local.get $p) (local.get $t)) (local.get $i))))
      (then (return (i32.const 0))))
    (br_if $next (i32.lt_u (local.get $i) (i32.const 3))))
  (i32.const 1))

;; $tokens tokens from $t on, one or four, and the heads from $h on of a group.
(func $attend_tokens (param $p i32) (param $t i32) (param $tokens i32) (param $h i32) (param $s i32)
  (local $row i32) (local $q i32) (local $k i32) (local $v i32) (local $count i32) (local $stride i32)
  (local.set $row (i32.shl (i32.mul (i32.load offset=28 (local.get $p)) (i32.load offset=32 (local.get $p))) (i32.const 2)))
  (local.set $count (i32.sub
    (call $keys_end (local.get $p) (i32.add (local.get $t) (i32.sub (local.get $tokens) (i32.const 1))))
    (call $first_key (local.get $p) (local.get $t))))
  ;; Bytes of a head's scores, whole fours and four more.
  (local.set $stride (i32.shl (i32.and (i32.add (local.get $count) (i32.const 7)) (i32.const -4)) (i32.const 2)))
  ;; Bytes from the table's begin to the first key of the heads.
  (local.set $k (i32.add (i32.mul (call $first_key (local.get $p) (local.get $t)) (local.get $row)) (i32.shl (i32.mul
    (i32.div_u (i32.mul (local.get $h) (i32.load offset=28 (local.get $p))) (i32.load offset=24 (local.get $p)))
    (i32.load offset=32 (local.get $p))) (i32.const 2))))
  (local.set $v (i32.add (i32.load offset=8 (local.get $p)) (local.get $k)))
  (local.set $k (i32.add (i32.load offset=4 (local.get $p)) (local.get $k)))
  (local.set $q (i32.shl (i32.mul
    (i32.add (i32.mul (local.get $t) (i32.load offset=24 (local.get $p))) (local.get $h)) (i32.load offset=32 (local.get $p)))
    (i32.const 2)))
  (if (i32.eq (local.get $tokens) (i32.const 4))
    (then (call $attend_four (local.get $p) (local.get $q) (local.get $k) (local.get $v) (local.get $row)
      (local.get $count) (local.get $stride) (local.get $s)))
    (else (call $attend (local.get $p) (local.get $q) (local.get $k) (local.get $v) (local.get $row)
      (local.get $count) (local.get $stride) (local.get $s)))))

;; One token: heads whose first query is $q bytes from q's begin, and $count keys from $k and $v on.
(func $attend (param $p i32) (param $q i32) (param $k i32) (param $v i32) (param $row i32) (param $count i32)
  (param $stride i32) (param $s i32)
  (local $from i32) (local $some i32) (local $m i32) (local $bytes i32) (local $heads i32) (local $y i32)
  (local.set $bytes (i32.shl (i32.load offset=32 (local.get $p)) (i32.const 2)))
  (local.set $heads (i32.load offset=44 (local.get $p)))
  (local.set $y (i32.add (i32.load offset=16 (local.get $p)) (local.get $q)))
  (local.set $q (i32.add (i32.load (local.get $p)) (local.get $q)))
  (loop $keys
    (local.set $some (call $least (i32.sub (local.get $count) (local.get $from)) (i32.const 32)))
    (local.set $m (i32.const 0))
    (loop $head
      (call $scores (i32.add (local.get $q) (i32.mul (local.get $m) (local.get $bytes)))
        (i32.add (local.get $k) (i32.mul (local.get $from) (local.get $row))) (local.get $row) (local.get $some)
        (i32.load offset=32 (local.get $p)) (f32.load offset=36 (local.get $p))
        (i32.add (i32.add (local.get $s) (i32.mul (local.get $m) (local.get $stride))) (i32.shl (local.get $from) (i32.const 2))))
      (br_if $head (i32.lt_u (local.tee $m (i32.add (local.get $m) (i32.const 1))) (local.get $heads))))
    (br_if $keys (i32.lt_u (local.tee $from (i32.add (local.get $from) (i32.const 32))) (local.get $count))))
  (local.set $m (i32.const 0))
  (loop $head
    (call $softmax (i32.add (local.get $s) (i32.mul (local.get $m) (local.get $stride))) (local.get $count))
    (br_if $head (i32.lt_u (local.tee $m (i32.add (local.get $m) (i32.const 1))) (local.get $heads))))
  (memory.fill (local.get $y) (i32.const 0) (i32.mul (local.get $heads) (local.get $bytes)))
  (local.set $from (i32.const 0))
  (loop $values
    (local.set $some (call $least (i32.sub (local.get $count) (local.get $from)) (i32.const 32)))
    (local.set $m (i32.const 0))
    (loop $head
      (call $weighted_sum
        (i32.add (i32.add (local.get $s) (i32.mul (local.get $m) (local.get $stride))) (i32.shl (local.get $from) (i32.const 2)))
        (i32.add (local.get $v) (i32.mul (local.get $from) (local.get $row))) (local.get $row) (local.get $some)
        (i32.load offset=32 (local.get $p)) (i32.add (local.get $y) (i32.mul (local.get $m) (local.get $bytes))))
      (br_if $head (i32.lt_u (local.tee $m (i32.add (local.get $m) (i32.const 1))) (local.get $heads))))
    (br_if $values (i32.lt_u (local.tee $from (i32.add (local.get $from) (i32.const 32))) (local.get $count)))))

;; to[i] = scale * q.k[i] for $count keys of $n numbers, $row bytes apart: four at a time where $n is a multiple of 16, then one.
(func $scores (param $q i32) (param $k i32) (param $row i32) (param $count i32) (param $n i32) (param $scale f32) (param $to i32)
  (local $i i32) (local $end i32) (local $k1 i32) (local $k2 i32) (local $k3 i32) (local $x v128)
  (local $a v128) (local $b v128) (local $c v128) (local $d v128)
  (local.set $end (i32.add (local.get $q) (i32.shl (local.get $n) (i32.const 2))))
  (if (i32.eqz (i32.and (local.get $n) (i32.const 15))) (then
    (block $few (loop $four
      (br_if $few (i32.lt_u (local.get $count) (i32.const 4)))
      (local.set $k1 (i32.add (local.get $k) (local.get $row)))
      (local.set $k2 (i32.add (local.get $k1) (local.get $row)))
      (local.set $k3 (i32.add (local.get $k2) (local.get $row)))
      (local.set $a (v128.const f32x4 0 0 0 0))
      (local.set $b (local.get $a)) (local.set $c (local.get $a)) (local.set $d (local.get $a))
      (local.set $i (local.get $q))
      (loop $wide
        (local.set $x (v128.load (local.get $i)))
        (local.set $a (f32x4.relaxed_madd (local.get $x) (v128.load (local.get $k)) (local.get $a)))
        (local.set $b (f32x4.relaxed_madd (local.get $x) (v128.load (local.get $k1)) (local.get $b)))
        (local.set $c (f32x4.relaxed_madd (local.get $x) (v128.load (local.get $k2)) (local.get $c)))
        (local.set $d (f32x4.relaxed_madd (local.get $x) (v128.load (local.get $k3)) (local.get $d)))
        (local.set $x (v128.load offset=16 (local.get $i)))
        (local.set $a (f32x4.relaxed_madd (local.get $x) (v128.load offset=16 (local.get $k)) (local.get $a)))
        (local.set $b (f32x4.relaxed_madd (local.get $x) (v128.load offset=16 (local.get $k1)) (local.get $b)))
        (local.set $c (f32x4.relaxed_madd (local.get $x) (v128.load offset=16 (local.get $k2)) (local.get $c)))
        (local.set $d (f32x4.relaxed_madd (local.get $x) (v128.load offset=16 (local.get $k3)) (local.get $d)))
        (local.set $x (v128.load offset=32 (local.get $i)))
        (local.set $a (f32x4.relaxed_madd (local.get $x) (v128.load offset=32 (local.get $k)) (local.get $a)))
        (local.set $b (f32x4.relaxed_madd (local.get $x) (v128.load offset=32 (local.get $k1)) (local.get $b)))
        (local.set $c (f32x4.relaxed_madd (local.get $x) (v128.load offset=32 (local.get $k2)) (local.get $c)))
        (local.set $d (f32x4.relaxed_madd (local.get $x) (v128.load offset=32 (local.get $k3)) (local.get $d)))
        (local.set $x (v128.load offset=48 (local.get $i)))
        (local.set $a (f32x4.relaxed_madd (local.get $x) (v128.load offset=48 (local.get $k)) (local.get $a)))
        (local.set $b (f32x4.relaxed_madd (local.get $x) (v128.load offset=48 (local.get $k1)) (local.get $b)))
        (local.set $c (f32x4.relaxed_madd (local.get $x) (v128.load offset=48 (local.get $k2)) (local.get $c)))
        (local.set $d (f32x4.relaxed_madd (local.get $x) (v128.load offset=48 (local.get $k3)) (local.get $d)))
        (local.set $k (i32.add (local.get $k) (i32.const 64)))
        (local.set $k1 (i32.add (local.get $k1) (i32.const 64)))
        (local.set $k2 (i32.add (local.get $k2) (i32.const 64)))
        (local.set $k3 (i32.add (local.get $k3) (i32.const 64)))
        (br_if $wide (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 64))) (local.get $end))))
      (v128.store (local.get $to) (f32x4.mul
        (call $sums (local.get $a) (local.get $b) (local.get $c) (local.get $d)) (f32x4.splat (local.get $scale))))
      (local.set $k (i32.add (local.get $k) (i32.sub (i32.shl (local.get $row) (i32.const 2))
        (i32.shl (local.get $n) (i32.const 2)))))
      (local.set $to (i32.add (local.get $to) (i32.const 16)))
      (local.set $count (i32.sub (local.get $count) (i32.const 4)))
      (br $four)))))
  (block $done (loop $one
    (br_if $done (i32.eqz (local.get $count)))
    (f32.store (local.get $to)
      (f32.mul (call $dot (local.get $q) (local.get $k) (local.get $n)) (local.get $scale)))
    (local.set $k (i32.add (local.get $k) (local.get $row)))
    (local.set $to (i32.add (local.get $to) (i32.const 4)))
    (local.set $count (i32.sub (local.get $count) (i32.const 1)))
    (br $one))))

;; In place over f32 [count], whose memory holds whole fours.
(func $softmax (param $s i32) (param $count i32)
  (local $i i32) (local $end i32) (local $max v128) (local $sum v128) (local $e v128)
  (local.set $end (i32.add (local.get $s) (i32.shl (local.get $count) (i32.const 2))))
  ;; What fills up the last four counts nothing.
  (local.set $i (local.get $end))
  (loop $fill
    (f32.store (local.get $i) (f32.const -inf))
    (br_if $fill (i32.and (local.tee $i (i32.add (local.get $i) (i32.const 4))) (i32.const 15))))
  (local.set $max (v128.const f32x4 -inf -inf -inf -inf))
  (local.set $i (local.get $s))
  (loop $largest
    (local.set $max (f32x4.pmax (local.get $max) (v128.load (local.get $i))))
    (br_if $largest (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 16))) (local.get $end))))
  (local.set $max (f32x4.splat (f32.max
    (f32.max (f32x4.extract_lane 0 (local.get $max)) (f32x4.extract_lane 1 (local.get $max)))
    (f32.max (f32x4.extract_lane 2 (local.get $max)) (f32x4.extract_lane 3 (local.get $max))))))
  (local.set $i (local.get $s))
  (loop $power
    (local.set $e (f32x4.sub (v128.load (local.get $i)) (local.get $max)))
    ;; exp() stops at -87: what is less is nothing.
    (local.set $e (v128.andnot
      (call $exp (local.get $e)) (f32x4.lt (local.get $e) (v128.load32_splat (i32.const 260)))))
    (v128.store (local.get $i) (local.get $e))
    (local.set $sum (f32x4.add (local.get $sum) (local.get $e)))
    (br_if $power (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 16))) (local.get $end))))
  (local.set $sum (f32x4.splat (f32.div (f32.const 1) (call $sum (local.get $sum)))))
  (local.set $i (local.get $s))
  (loop $share
    (v128.store (local.get $i) (f32x4.mul (v128.load (local.get $i)) (local.get $sum)))
    (br_if $share (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 16))) (local.get $end)))))

;; y += sum of p[i] * v[i] over $count rows of $n numbers, $row bytes apart: 32 columns at a time, then four, then one.
(func $weighted_sum (param $p i32) (param $v i32) (param $row i32) (param $count i32) (param $n i32) (param $y i32)
  (local $i i32) (local $end i32) (local $at i32) (local $x v128) (local $0 v128) (local $1 v128) (local $2 v128)
  (local $3 v128) (local $4 v128) (local $5 v128) (local $6 v128) (local $7 v128)
  (local.set $end (i32.add (local.get $p) (i32.shl (local.get $count) (i32.const 2))))
  (block $narrow (loop $wide
    (br_if $narrow (i32.lt_u (local.get $n) (i32.const 32)))
    (local.set $0 (v128.load (local.get $y)))
    (local.set $1 (v128.load offset=16 (local.get $y)))
    (local.set $2 (v128.load offset=32 (local.get $y)))
    (local.set $3 (v128.load offset=48 (local.get $y)))
    (local.set $4 (v128.load offset=64 (local.get $y)))
    (local.set $5 (v128.load offset=80 (local.get $y)))
    (local.set $6 (v128.load offset=96 (local.get $y)))
    (local.set $7 (v128.load offset=112 (local.get $y)))
    (local.set $i (local.get $p))
    (local.set $at (local.get $v))
    (loop $key
      (local.set $x (v128.load32_splat (local.get $i)))
      (local.set $0 (f32x4.relaxed_madd (local.get $x) (v128.load (local.get $at)) (local.get $0)))
      (local.set $1 (f32x4.relaxed_madd (local.get $x) (v128.load offset=16 (local.get $at)) (local.get $1)))
      (local.set $2 (f32x4.relaxed_madd (local.get $x) (v128.load offset=32 (local.get $at)) (local.get $2)))
      (local.set $3 (f32x4.relaxed_madd (local.get $x) (v128.load offset=48 (local.get $at)) (local.get $3)))
      (local.set $4 (f32x4.relaxed_madd (local.get $x) (v128.load offset=64 (local.get $at)) (local.get $4)))
      (local.set $5 (f32x4.relaxed_madd (local.get $x) (v128.load offset=80 (local.get $at)) (local.get $5)))
      (local.set $6 (f32x4.relaxed_madd (local.get $x) (v128.load offset=96 (local.get $at)) (local.get $6)))
      (local.set $7 (f32x4.relaxed_madd (local.get $x) (v128.load offset=112 (local.get $at)) (local.get $7)))
      (local.set $at (i32.add (local.get $at) (local.get $row)))
      (br_if $key (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4))) (local.get $end))))
    (v128.store (local.get $y) (local.get $0))
    (v128.store offset=16 (local.get $y) (local.get $1))
    (v128.store offset=32 (local.get $y) (local.get $2))
    (v128.store offset=48 (local.get $y) (local.get $3))
    (v128.store offset=64 (local.get $y) (local.get $4))
    (v128.store offset=80 (local.get $y) (local.get $5))
    (v128.store offset=96 (local.get $y) (local.get $6))
    (v128.store offset=112 (local.get $y) (local.get $7))
    (local.set $v (i32.add (local.get $v) (i32.const 128)))
    (local.set $y (i32.add (local.get $y) (i32.const 128)))
    (local.set $n (i32.sub (local.get $n) (i32.const 32)))
    (br $wide)))
  (block $done (loop $rest
    (br_if $done (i32.eqz (local.get $n)))
    (local.set $0 (v128.load (local.get $y)))
    (local.set $i (local.get $p))
    (local.set $at (local.get $v))
    (loop $key
      ;; Where fewer than four columns are left the others belong to somebody else, and are not stored.
      (local.set $0
        (f32x4.relaxed_madd (v128.load32_splat (local.get $i)) (v128.load (local.get $at)) (local.get $0)))
      (local.set $at (i32.add (local.get $at) (local.get $row)))
      (br_if $key (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4))) (local.get $end))))
    (if (i32.ge_u (local.get $n) (i32.const 4))
      (then (v128.store (local.get $y) (local.get $0)) (local.set $i (i32.const 4)))
      (else (f32.store (local.get $y) (f32x4.extract_lane 0 (local.get $0))) (local.set $i (i32.const 1))))
    (local.set $n (i32.sub (local.get $n) (local.get $i)))
    (local.set $v (i32.add (local.get $v) (i32.shl (local.get $i) (i32.const 2))))
    (local.set $y (i32.add (local.get $y) (i32.shl (local.get $i) (i32.const 2))))
    (br $rest))))

;; A thread's part of the memory, 1 MiB (memory.ts).
(func $scratch (param $thread i32) (result i32)
  (i32.add (i32.const 65536) (i32.shl (local.get $thread) (i32.const 20))))
