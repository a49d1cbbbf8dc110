;; One optimiser step over a chunk of a parameter, four elements at a time. Assembled when training starts, driven by
;; adamw_kernel.ts, which copies chunks in and out. Two entry points:
;;
;;   adamw_32bit   torch.optim.AdamW: f32 moments
;;   adamw_8bit    bitsandbytes 0.50 AdamW8bit (CPU): moments as 8-bit codes with an f32 maximum per block of 256
;;
;; Both: g is scaled first; v' = b2*v + (1-b2)*g*g, p' = p*decay + rate*m'/(sqrt(v')/root + eps), every operation in
;; f32 in the order the originals take, with their fused multiply-adds (relaxed_madd is fused on x86 since 2013 and on
;; ARM). decay = 1 - lr*weight_decay, rate = -lr/(1-b1^t), root = sqrt(1-b2^t).
;;
;; Assumes n <= 16384, a multiple of 4 (the caller pads: gradient 0, codes of 0), whole blocks but for the last.
;; Memory, in bytes: 0 map1 f32[256], 1024 map2 f32[256], 2048 m of a block f32[256], 3072 v of a block f32[256],
;; 65536 table1 u8[65536], 131072 table2 u8[65536] (code of each bin of [-1, 1]), 196608 p f32[16384], 262144 g f32[16384],
;; 327680 m f32[16384] or codes1 u8[16384], 393216 v f32[16384] or codes2 u8[16384], 458752 absmax1 f32[64], 459008 absmax2.
(module
  (memory (export "memory") 8)

  (func (export "adamw_32bit")
    (param $n i32) (param $scale f32) (param $beta2 f32) (param $oneMinusBeta1 f32) (param $oneMinusBeta2 f32)
    (param $root f32) (param $eps f32) (param $rate f32) (param $decay f32)
    (local $i i32) (local $end i32) (local $g v128) (local $m v128) (local $v v128)
    (local.set $end (i32.shl (local.get $n) (i32.const 2)))
    (block $done (loop $next
      (br_if $done (i32.ge_u (local.get $i) (local.get $end)))
      (local.set $g (f32x4.mul (v128.load offset=262144 (local.get $i)) (f32x4.splat (local.get $scale))))
      ;; torch.lerp: m + (1-b1)*(g - m)
      (local.set $m (v128.load offset=327680 (local.get $i)))
      (local.set $m (f32x4.relaxed_madd
        (f32x4.splat (local.get $oneMinusBeta1)) (f32x4.sub (local.get $g) (local.get $m)) (local.get $m)))
      (v128.store offset=327680 (local.get $i) (local.get $m))
      (local.set $v (f32x4.relaxed_madd
        (f32x4.mul (f32x4.splat (local.get $oneMinusBeta2)) (local.get $g))
        (local.get $g)
        (f32x4.mul (v128.load offset=393216 (local.get $i)) (f32x4.splat (local.get $beta2)))))
      (v128.store offset=393216 (local.get $i) (local.get $v))
      (v128.store offset=196608 (local.get $i) (f32x4.add
        (f32x4.mul (v128.load offset=196608 (local.get $i)) (f32x4.splat (local.get $decay)))
        (f32x4.div
          (f32x4.mul (f32x4.splat (local.get $rate)) (local.get $m))
          (f32x4.add
            (f32x4.div (f32x4.sqrt (local.get $v)) (f32x4.splat (local.get $root)))
            (f32x4.splat (local.get $eps))))))
      (local.set $i (i32.add (local.get $i) (i32.const 16)))
      (br $next))))

  (func (export "adamw_8bit")
    (param $n i32) (param $scale f32) (param $beta1 f32) (param $beta2 f32) (param $oneMinusBeta1 f32)
    (param $oneMinusBeta2 f32) (param $root f32) (param $eps f32) (param $rate f32) (param $decay f32)
    (local $start i32) (local $stop i32) (local $i i32) (local $maxima i32) (local $m0 v128) (local $v0 v128)
    (local $max1 v128) (local $max2 v128) (local $g v128) (local $m v128) (local $v v128)
    (block $done (loop $block
      (br_if $done (i32.ge_u (local.get $start) (local.get $n)))
      (local.set $stop (i32.add (local.get $start) (i32.const 256)))
      (if (i32.gt_u (local.get $stop) (local.get $n)) (then (local.set $stop (local.get $n))))
      (local.set $m0 (f32x4.splat (f32.load offset=458752 (local.get $maxima))))
      (local.set $v0 (f32x4.splat (f32.load offset=459008 (local.get $maxima))))
      (local.set $max1 (v128.const f32x4 0 0 0 0))
      (local.set $max2 (v128.const f32x4 0 0 0 0))

      (local.set $i (local.get $start))
      (loop $update
        (local.set $g (f32x4.mul
          (v128.load offset=262144 (i32.shl (local.get $i) (i32.const 2))) (f32x4.splat (local.get $scale))))
        (local.set $m (f32x4.mul (call $values (local.get $i) (i32.const 327680) (i32.const 0)) (local.get $m0)))
        (local.set $m (f32x4.relaxed_madd
          (f32x4.splat (local.get $oneMinusBeta1)) (local.get $g)
          (f32x4.mul (local.get $m) (f32x4.splat (local.get $beta1)))))
        (local.set $v (f32x4.mul (call $values (local.get $i) (i32.const 393216) (i32.const 1024)) (local.get $v0)))
        (local.set $v (f32x4.relaxed_madd
          (f32x4.mul (f32x4.splat (local.get $oneMinusBeta2)) (local.get $g)) (local.get $g)
          (f32x4.mul (local.get $v) (f32x4.splat (local.get $beta2)))))
        (v128.store offset=2048
          (i32.shl (i32.and (local.get $i) (i32.const 255)) (i32.const 2)) (local.get $m))
        (v128.store offset=3072
          (i32.shl (i32.and (local.get $i) (i32.const 255)) (i32.const 2)) (local.get $v))
        (local.set $max1 (f32x4.pmax (local.get $max1) (f32x4.abs (local.get $m))))
        (local.set $max2 (f32x4.pmax (local.get $max2) (local.get $v)))
        (v128.store offset=196608 (i32.shl (local.get $i) (i32.const 2)) (f32x4.add
          (f32x4.mul
            (v128.load offset=196608 (i32.shl (local.get $i) (i32.const 2))) (f32x4.splat (local.get $decay)))
          (f32x4.div
            (f32x4.mul (f32x4.splat (local.get $rate)) (local.get $m))
            (f32x4.add
              (f32x4.div (f32x4.sqrt (local.get $v)) (f32x4.splat (local.get $root)))
              (f32x4.splat (local.get $eps))))))
        (local.set $i (i32.add (local.get $i) (i32.const 4)))
        (br_if $update (i32.lt_u (local.get $i) (local.get $stop))))

      (f32.store offset=458752 (local.get $maxima) (call $largest (local.get $max1)))
      (f32.store offset=459008 (local.get $maxima) (call $largest (local.get $max2)))
      (call $encode (local.get $start) (local.get $stop)
        (f32.load offset=458752 (local.get $maxima)) (i32.const 2048) (i32.const 65536) (i32.const 327680))
      (call $encode (local.get $start) (local.get $stop)
        (f32.load offset=459008 (local.get $maxima)) (i32.const 3072) (i32.const 131072) (i32.const 393216))
      (local.set $maxima (i32.add (local.get $maxima) (i32.const 4)))
      (local.set $start (local.get $stop))
      (br $block))))

  ;; map[codes[i .. i+3]]
  (func $values (param $i i32) (param $codes i32) (param $map i32) (result v128)
    (local.set $codes (i32.add (local.get $codes) (local.get $i)))
    (v128.load32_lane 3 (call $entry (local.get $map) (i32.load8_u offset=3 (local.get $codes)))
      (v128.load32_lane 2 (call $entry (local.get $map) (i32.load8_u offset=2 (local.get $codes)))
        (v128.load32_lane 1 (call $entry (local.get $map) (i32.load8_u offset=1 (local.get $codes)))
          (v128.load32_zero (call $entry (local.get $map) (i32.load8_u (local.get $codes))))))))

  (func $entry (param $map i32) (param $code i32) (result i32)
    (i32.add (local.get $map) (i32.shl (local.get $code) (i32.const 2))))

  (func $largest (param $x v128) (result f32)
    (f32.max
      (f32.max (f32x4.extract_lane 0 (local.get $x)) (f32x4.extract_lane 1 (local.get $x)))
      (f32.max (f32x4.extract_lane 2 (local.get $x)) (f32x4.extract_lane 3 (local.get $x)))))

  ;; codes[start .. stop) = table[floor((clamp(x/max, -1, 1) + 1)/2 * 65535 + 0.5)]; all 0 where max is 0
  (func $encode (param $start i32) (param $stop i32) (param $max f32) (param $x i32) (param $table i32) (param $codes i32)
    (local $inverse v128) (local $bin v128)
    (local.set $stop (i32.add (local.get $codes) (local.get $stop)))
    (local.set $codes (i32.add (local.get $codes) (local.get $start)))
    (if (f32.eq (local.get $max) (f32.const 0)) (then
      (memory.fill (local.get $codes) (i32.const 0) (i32.sub (local.get $stop) (local.get $codes)))
      (return)))
    (local.set $inverse (f32x4.splat (f32.div (f32.const 1) (local.get $max))))
    (loop $next
      (local.set $bin (f32x4.mul (v128.load (local.get $x)) (local.get $inverse)))
      (local.set $bin (f32x4.pmax (v128.const f32x4 -1 -1 -1 -1) (local.get $bin)))
      (local.set $bin (f32x4.pmin (v128.const f32x4 1 1 1 1) (local.get $bin)))
      (local.set $bin (i32x4.relaxed_trunc_f32x4_s (f32x4.relaxed_madd
        (f32x4.mul (f32x4.add (local.get $bin) (v128.const f32x4 1 1 1 1)) (v128.const f32x4 0.5 0.5 0.5 0.5))
        (v128.const f32x4 65535 65535 65535 65535)
        (v128.const f32x4 0.5 0.5 0.5 0.5))))
      (i32.store8 (local.get $codes)
        (i32.load8_u (i32.add (local.get $table) (i32x4.extract_lane 0 (local.get $bin)))))
      (i32.store8 offset=1 (local.get $codes)
        (i32.load8_u (i32.add (local.get $table) (i32x4.extract_lane 1 (local.get $bin)))))
      (i32.store8 offset=2 (local.get $codes)
        (i32.load8_u (i32.add (local.get $table) (i32x4.extract_lane 2 (local.get $bin)))))
      (i32.store8 offset=3 (local.get $codes)
        (i32.load8_u (i32.add (local.get $table) (i32x4.extract_lane 3 (local.get $bin)))))
      (local.set $x (i32.add (local.get $x) (i32.const 16)))
      (local.set $codes (i32.add (local.get $codes) (i32.const 4)))
      (br_if $next (i32.lt_u (local.get $codes) (local.get $stop))))))
