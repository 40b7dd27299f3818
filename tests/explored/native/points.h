/* The primitives of atomics.h once more: each access to shared memory is a point at which another
 * actor may go on, or this one may be killed. Read before the protocol's own headers.
 */
#ifndef EXPLORED_POINTS_H
#define EXPLORED_POINTS_H

#include <sched.h>

#define SHMQ_ATOMICS_PROVIDED 1

enum { EX_RELAXED, EX_ACQUIRE, EX_RELEASE, EX_ACQ_REL };

static uint64_t ex_load(const volatile void *at, unsigned size, int order);
static void ex_store(volatile void *at, unsigned size, uint64_t value, int order);
static uint64_t ex_exchange(volatile void *at, unsigned size, uint64_t value);
static uint64_t ex_add(volatile void *at, unsigned size, uint64_t value, int order);
static uint64_t ex_or(volatile void *at, unsigned size, uint64_t value);
static uint64_t ex_and(volatile void *at, unsigned size, uint64_t value);
static int ex_cas(volatile void *at, unsigned size, void *expected, uint64_t value, int order);
static void ex_fence(void);
static void ex_drain(void);
static void ex_copy_in(void *shared, const void *from, size_t size);
static void ex_copy_out(void *to, const void *shared, size_t size);

#define load_relaxed(p) ((__typeof__(*(p)))ex_load((p), sizeof(*(p)), EX_RELAXED))
#define load_acquire(p) ((__typeof__(*(p)))ex_load((p), sizeof(*(p)), EX_ACQUIRE))
#define store_relaxed(p, v) ex_store((p), sizeof(*(p)), (uint64_t)(v), EX_RELAXED)
#define store_release(p, v) ex_store((p), sizeof(*(p)), (uint64_t)(v), EX_RELEASE)
#define xchg_acq_rel(p, v) ((__typeof__(*(p)))ex_exchange((p), sizeof(*(p)), (uint64_t)(v)))
#define fetch_add_relaxed(p, v) \
  ((__typeof__(*(p)))ex_add((p), sizeof(*(p)), (uint64_t)(v), EX_RELAXED))
#define fetch_add_release(p, v) \
  ((__typeof__(*(p)))ex_add((p), sizeof(*(p)), (uint64_t)(v), EX_RELEASE))
#define fetch_or_acq_rel(p, v) ((__typeof__(*(p)))ex_or((p), sizeof(*(p)), (uint64_t)(v)))
#define fetch_and_acq_rel(p, v) ((__typeof__(*(p)))ex_and((p), sizeof(*(p)), (uint64_t)(v)))
#define cas_acquire(p, expected, v) \
  ex_cas((p), sizeof(*(p)), (expected), (uint64_t)(v), EX_ACQUIRE)
#define cas_acq_rel(p, expected, v) \
  ex_cas((p), sizeof(*(p)), (expected), (uint64_t)(v), EX_ACQ_REL)
#define fence_release() ex_fence()
#define fence_seq_cst() ex_drain()
#define fence_acquire() ((void)0) /* loads are not delayed here */
#define copy_in(shared, from, size) ex_copy_in((shared), (from), (size))
#define copy_out(to, shared, size) ex_copy_out((to), (shared), (size))
#define cpu_pause() ((void)0)
#define sched_yield() ((void)0) /* any other may go on before the look behind it */

/* An attempt begins, perhaps one of many in a wait: what the wait before it left behind, on the stack
 * and in the waiter, is no part of the state. */
static void ex_attempt(void);

#endif
