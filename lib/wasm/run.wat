;; Threads that work through one list of kernel calls together.
;;
;; A list is i32 words: for each call the kernel's place in the table, the number of words to the next call, and the
;; kernel's arguments. Kernel 0 is a barrier; every list ends with one and -1. All kernels take the address of their
;; arguments, the thread's number and the number of threads, and share their outputs out among the threads.
;;
;; Memory: 0 the job's number, 4 its list (0: the threads end), 8 threads that sleep until the next job, 64 threads that
;; have come to the barrier, 128 barriers passed, 132 threads that sleep at one.

;; Waits until the word at $at is no longer $old: asks for it so many times, then sleeps. $sleepers counts those who do.
(func $await (param $at i32) (param $old i32) (param $times i32) (param $sleepers i32) (local $tries i32)
  (loop $again
    (if (i32.ne (i32.atomic.load (local.get $at)) (local.get $old)) (then (return)))
    (br_if $again (i32.lt_u (local.tee $tries (i32.add (local.get $tries) (i32.const 1))) (local.get $times))))
  (drop (i32.atomic.rmw.add (local.get $sleepers) (i32.const 1)))
  (loop $asleep
    (drop (memory.atomic.wait32 (local.get $at) (local.get $old) (i64.const -1)))
    (br_if $asleep (i32.eq (i32.atomic.load (local.get $at)) (local.get $old))))
  (drop (i32.atomic.rmw.sub (local.get $sleepers) (i32.const 1))))

;; Adds 1 to the word at $at, for those who await it.
(func $advance (param $at i32) (param $sleepers i32)
  (drop (i32.atomic.rmw.add (local.get $at) (i32.const 1)))
  (if (i32.atomic.load (local.get $sleepers)) (then (drop (memory.atomic.notify (local.get $at) (i32.const -1))))))

(func $barrier (param $a i32) (param $thread i32) (param $threads i32) (local $passed i32)
  (local.set $passed (i32.atomic.load (i32.const 128)))
  (if (i32.eq (i32.atomic.rmw.add (i32.const 64) (i32.const 1)) (i32.sub (local.get $threads) (i32.const 1)))
    (then
      (i32.atomic.store (i32.const 64) (i32.const 0))
      (call $advance (i32.const 128) (i32.const 132)))
    ;; Some 500 us: the others are at work, and sleep costs more than a difference in what they do.
    (else (call $await (i32.const 128) (local.get $passed) (i32.const 200000) (i32.const 132)))))

(func $calls (param $list i32) (param $thread i32) (param $threads i32) (local $kernel i32)
  (loop $next
    (local.set $kernel (i32.load (local.get $list)))
    (if (i32.eq (local.get $kernel) (i32.const -1)) (then (return)))
    (call_indirect (param i32 i32 i32)
      (i32.add (local.get $list) (i32.const 8)) (local.get $thread) (local.get $threads) (local.get $kernel))
    (local.set $list (i32.add (local.get $list) (i32.shl (i32.load offset=4 (local.get $list)) (i32.const 2))))
    (br $next)))

;; The first thread: has all work through a list, and returns when they are done.
(func (export "run") (param $list i32) (param $threads i32)
  (i32.atomic.store (i32.const 4) (local.get $list))
  (call $advance (i32.const 0) (i32.const 8))
  (if (local.get $list) (then (call $calls (local.get $list) (i32.const 0) (local.get $threads)))))

;; Every other thread: works through lists until it is told to end. $job: the number of the last list before.
(func (export "work") (param $thread i32) (param $threads i32) (param $job i32) (local $list i32)
  (loop $next
    ;; Some 50 us: what comes between two lists takes as long as it takes.
    (call $await (i32.const 0) (local.get $job) (i32.const 20000) (i32.const 8))
    (local.set $job (i32.atomic.load (i32.const 0)))
    (local.set $list (i32.atomic.load (i32.const 4)))
    (if (i32.eqz (local.get $list)) (then (return)))
    (call $calls (local.get $list) (local.get $thread) (local.get $threads))
    (br $next)))

;; A thread's part of $count things: from $share(thread) to before $share(thread + 1).
(func $share (param $count i32) (param $thread i32) (param $threads i32) (result i32)
  (i32.wrap_i64 (i64.div_u
    (i64.mul (i64.extend_i32_u (local.get $count)) (i64.extend_i32_u (local.get $thread)))
    (i64.extend_i32_u (local.get $threads)))))
