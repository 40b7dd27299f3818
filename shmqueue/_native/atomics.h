/* Every access to shared memory, by the order it promises.
 *
 * The helpers are macros over the compiler's builtins, so that one name serves 32-bit and 64-bit
 * words, and so that another build (a scheduler that explores interleavings, say) can put its own
 * in their place by defining SHMQ_ATOMICS_PROVIDED before this file is read.
 *
 * All words are naturally aligned; the protocol needs 64-bit atomics that are lock-free, hence
 * address-free, hence usable between processes.
 */
#ifndef SHMQ_ATOMICS_H
#define SHMQ_ATOMICS_H

#include <stdint.h>
#include <string.h>

#ifndef SHMQ_ATOMICS_PROVIDED

_Static_assert(__atomic_always_lock_free(sizeof(uint64_t), 0),
               "shmqueue needs lock-free 64-bit atomics");

#define load_relaxed(p) __atomic_load_n((p), __ATOMIC_RELAXED) /* relaxed: the caller says why */
#define load_acquire(p) __atomic_load_n((p), __ATOMIC_ACQUIRE) /* acquire: the caller names the pair */
#define store_relaxed(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED) /* relaxed: as above */
#define store_release(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE) /* release: as above */
#define xchg_acq_rel(p, v) __atomic_exchange_n((p), (v), __ATOMIC_ACQ_REL) /* both: as above */
#define fetch_add_relaxed(p, v) __atomic_fetch_add((p), (v), __ATOMIC_RELAXED) /* relaxed: as above */
#define fetch_add_release(p, v) __atomic_fetch_add((p), (v), __ATOMIC_RELEASE) /* release: as above */
#define fetch_or_acq_rel(p, v) __atomic_fetch_or((p), (v), __ATOMIC_ACQ_REL) /* both: as above */
#define fetch_and_acq_rel(p, v) __atomic_fetch_and((p), (v), __ATOMIC_ACQ_REL) /* both: as above */

/* Strong compare-and-swap; on failure *expected holds what was there. */
#define cas_acquire(p, expected, v) /* acquire on success, relaxed on failure: it only retries */ \
  __atomic_compare_exchange_n((p), (expected), (v), 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)
#define cas_acq_rel(p, expected, v) /* both on success, acquire on failure */ \
  __atomic_compare_exchange_n((p), (expected), (v), 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)

#define fence_release() __atomic_thread_fence(__ATOMIC_RELEASE) /* the caller names the pair */
#define fence_acquire() __atomic_thread_fence(__ATOMIC_ACQUIRE) /* the caller names the pair */
#define fence_seq_cst() __atomic_thread_fence(__ATOMIC_SEQ_CST) /* seq_cst: the caller names both sides */

/* Small payloads are most payloads: two moves that may overlap are cheaper than a call. */
static inline void shmq_copy(void *to, const void *from, size_t size) {
  uint64_t first, last;
  uint32_t first_half, last_half;
  if (size - 8 <= 8) {
    memcpy(&first, from, 8);
    memcpy(&last, (const char *)from + size - 8, 8);
    memcpy(to, &first, 8);
    memcpy((char *)to + size - 8, &last, 8);
  } else if (size - 4 < 4) {
    memcpy(&first_half, from, 4);
    memcpy(&last_half, (const char *)from + size - 4, 4);
    memcpy(to, &first_half, 4);
    memcpy((char *)to + size - 4, &last_half, 4);
  } else {
    memcpy(to, from, size);
  }
}

/* Payload bytes: plain copies, ordered by the words around them. */
static inline void copy_in(void *shared, const void *private_bytes, size_t size) {
  shmq_copy(shared, private_bytes, size);
}
static inline void copy_out(void *private_bytes, const void *shared, size_t size) {
  shmq_copy(private_bytes, shared, size);
}

static inline void cpu_pause(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ __volatile__("isb" ::: "memory"); /* a longer breath than `yield`, which is a no-op */
#endif
}

#endif /* SHMQ_ATOMICS_PROVIDED */
#endif
