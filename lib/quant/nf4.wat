;; NF4 codes to f32: value = codebook[code] * absmax, 64 elements a block, two codes to a byte, the first in the high
;; nibble. The 16 values of the codebook are looked up byte by byte: four tables of 16 bytes, one for each byte of a
;; float, lie at address 0; a swizzle reads 16 codes at once, and the four results are interleaved to floats.
(module
  (import "env" "memory" (memory 1 65536 shared))

  ;; packed u8 [32*blocks], absmax f32 [blocks] -> out f32 [64*blocks], all addresses in bytes, blocks > 0.
  (func (export "decode") (param $packed i32) (param $absmax i32) (param $out i32) (param $blocks i32)
    (local $end i32) (local $scale v128) (local $bytes v128) (local $codes v128)
    (local $t0 v128) (local $t1 v128) (local $t2 v128) (local $t3 v128)
    (local $b0 v128) (local $b1 v128) (local $b2 v128) (local $b3 v128)
    (local $low v128) (local $high v128)
    (local.set $t0 (v128.load (i32.const 0)))
    (local.set $t1 (v128.load (i32.const 16)))
    (local.set $t2 (v128.load (i32.const 32)))
    (local.set $t3 (v128.load (i32.const 48)))
    (loop $block
      (local.set $scale (v128.load32_splat (local.get $absmax)))
      (local.set $end (i32.add (local.get $packed) (i32.const 32)))
      (loop $sixteen ;; 8 bytes, 16 elements
        (local.set $bytes (v128.load64_zero (local.get $packed)))
        (local.set $codes (i8x16.shuffle 0 16 1 17 2 18 3 19 4 20 5 21 6 22 7 23
          (i8x16.shr_u (local.get $bytes) (i32.const 4))
          (v128.and (local.get $bytes) (i8x16.splat (i32.const 15)))))
        (local.set $b0 (i8x16.swizzle (local.get $t0) (local.get $codes)))
        (local.set $b1 (i8x16.swizzle (local.get $t1) (local.get $codes)))
        (local.set $b2 (i8x16.swizzle (local.get $t2) (local.get $codes)))
        (local.set $b3 (i8x16.swizzle (local.get $t3) (local.get $codes)))
        ;; elements 0 to 7: lower and upper halves of the floats
        (local.set $low (i8x16.shuffle 0 16 1 17 2 18 3 19 4 20 5 21 6 22 7 23 (local.get $b0) (local.get $b1)))
        (local.set $high (i8x16.shuffle 0 16 1 17 2 18 3 19 4 20 5 21 6 22 7 23 (local.get $b2) (local.get $b3)))
        (v128.store (local.get $out) (f32x4.mul (local.get $scale)
          (i8x16.shuffle 0 1 16 17 2 3 18 19 4 5 20 21 6 7 22 23 (local.get $low) (local.get $high))))
        (v128.store offset=16 (local.get $out) (f32x4.mul (local.get $scale)
          (i8x16.shuffle 8 9 24 25 10 11 26 27 12 13 28 29 14 15 30 31 (local.get $low) (local.get $high))))
        ;; elements 8 to 15
        (local.set $low (i8x16.shuffle 8 24 9 25 10 26 11 27 12 28 13 29 14 30 15 31 (local.get $b0) (local.get $b1)))
        (local.set $high (i8x16.shuffle 8 24 9 25 10 26 11 27 12 28 13 29 14 30 15 31 (local.get $b2) (local.get $b3)))
        (v128.store offset=32 (local.get $out) (f32x4.mul (local.get $scale)
          (i8x16.shuffle 0 1 16 17 2 3 18 19 4 5 20 21 6 7 22 23 (local.get $low) (local.get $high))))
        (v128.store offset=48 (local.get $out) (f32x4.mul (local.get $scale)
          (i8x16.shuffle 8 9 24 25 10 11 26 27 12 13 28 29 14 15 30 31 (local.get $low) (local.get $high))))
        (local.set $packed (i32.add (local.get $packed) (i32.const 8)))
        (local.set $out (i32.add (local.get $out) (i32.const 64)))
        (br_if $sixteen (i32.lt_u (local.get $packed) (local.get $end))))
      (local.set $absmax (i32.add (local.get $absmax) (i32.const 4)))
      (local.set $blocks (i32.sub (local.get $blocks) (i32.const 1)))
      (br_if $block (local.get $blocks)))))
