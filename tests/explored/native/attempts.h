/* The protocol's headers, with a hook before each attempt of a wait. */
#ifndef EXPLORED_ATTEMPTS_H
#define EXPLORED_ATTEMPTS_H

#include "format.h"
#include "growth.h"

#define shmq_try_put(...) (ex_attempt(), shmq_try_put(__VA_ARGS__))
#define shmq_try_take_from(...) (ex_attempt(), shmq_try_take_from(__VA_ARGS__))
#define shmq_end_try_acquire(...) (ex_attempt(), shmq_end_try_acquire(__VA_ARGS__))
#define shmq_block_get(...) (ex_attempt(), shmq_block_get(__VA_ARGS__))
#include "joining.h"
#undef shmq_try_put
#undef shmq_try_take_from
#undef shmq_end_try_acquire
#undef shmq_block_get

#endif
