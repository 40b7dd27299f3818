/* Blocks: the memory of large items, from hand to hand, and swept after the dead (blocks.h).
 *
 * Taking an end's owner word, from the dead as well, is one step here: queue.pml is about that. The
 * pool has RANGE pages; a block is some of them in a row. A process is a putter or a taker; a putter
 * that finds no block sweeps, cuts the pool anew, and gives up if that doesn't help.
 *
 * Broken twins: FREE_BY_STORE, HOLD_AFTER_RELEASE, QUEUE_AFTER_COMMIT, CLAIM_WITHOUT_LOOK,
 * NOT_REFERRED, DEAD_BY_TIME.
 */

#define PROCESSES (PUTTERS + TAKERS + 1)
#define JANITOR (PROCESSES - 1)

#define TAIL 0
#define HEAD 1
#define POOL 2

/* A block's state: what is done with it, seat + 1, generation. 0 is free. */
#define HELD 1
#define QUEUED 2
#define TAG(seat) (((seat) + 1) << 2 | generation[seat] << 5)
#define SEAT(word) (((word) >> 2 & 7) - 1)
#define IS_DEAD(word) (generation[SEAT(word)] != (word) >> 5 || !is_locked[SEAT(word)])
#define NONE 255

typedef Block { byte state; byte at; byte offset; byte pages }; /* `at`: the sequence it is queued for */
typedef Slot { byte stamp; byte block; byte item }; /* the sequence + 1; what it refers to; for the account */

Block blocks[RANGE];
byte count;            /* of blocks: the pool's sequence */
byte page[RANGE];      /* what is written there: the item */
Slot slots[CAPACITY];
byte sequence[2];
byte owner[3];
byte generation[PROCESSES];
bool is_locked[PROCESSES];

byte kills = KILLS;
byte items;
byte left[PROCESSES];

#define KILL_POINT if :: kills > 0 -> kills--; goto killed :: true fi

/* shmq_end_try_acquire, or evict and try again, as often as it takes. */
#define ACQUIRE(end) \
  atomic { owner[end] == 0 || IS_DEAD(owner[end]) -> KILL_POINT; owner[end] = TAG(me) }
#define RELEASE(end) owner[end] = 0

/* Is a slot of [head, tail) referring to it? (shmq_block_is_referred; the head does not move) */
#define IS_REFERRED_TO(index) \
  (blocks[index].at >= sequence[HEAD] && blocks[index].at < sequence[TAIL] && \
   slots[blocks[index].at % CAPACITY].stamp == blocks[index].at + 1 && \
   slots[blocks[index].at % CAPACITY].block == index)

/* Where the dead begin a new life, if they do. */
#define KILLED \
  atomic { mine = NONE; seen = 0; at = 0; limit = 0; item = 0; is_swept = false; left[me]--; is_locked[me] = false } \
  if \
  :: left[me] > 0 -> \
     atomic { is_locked[me] = true } \
     atomic { generation[me]++ } \
     goto again \
  :: true \
  fi

/* shmq_pool_sweep: the count is read once, and may be old when a block is looked at. */
#define SWEEP \
  atomic { KILL_POINT; limit = count } \
  do \
  :: atomic { at >= limit -> at = 0; limit = 0; break } \
  :: atomic { at < limit -> \
       KILL_POINT; \
       seen = blocks[at].state; /* load_acquire of its state */ \
       if :: seen == 0 || !MAY_BE_SWEPT(seen) -> at++; seen = 0 :: else fi \
     } \
     if \
     :: seen != 0 -> \
        ACQUIRE(HEAD); \
        atomic { KILL_POINT; if :: IS_REFERRED(at) -> seen = 0 :: else fi } \
        atomic { /* the CAS from the exact word */ \
          KILL_POINT; \
          if :: seen != 0 && FREE_FROM(seen) -> blocks[at].state = 0 :: else fi; \
          seen = 0 \
        } \
        atomic { KILL_POINT; RELEASE(HEAD) } \
        at++ \
     :: else \
     fi \
  od

#ifdef NOT_REFERRED
#define IS_REFERRED(index) false
#else
#define IS_REFERRED(index) IS_REFERRED_TO(index)
#endif
#ifdef DEAD_BY_TIME
#define MAY_BE_SWEPT(word) true
#else
#define MAY_BE_SWEPT(word) IS_DEAD(word)
#endif
#ifdef FREE_BY_STORE
#define FREE_FROM(word) true
#else
#define FREE_FROM(word) (blocks[at].state == (word))
#endif

proctype Putter(byte me; byte wanted) {
  byte mine = NONE, seen, at, limit, item;
  bool is_swept;

again: /* shmq_pool_find: a look, with a count that may be old, at any that may do; then the claim */
  if
  :: atomic { blocks[0].pages == wanted && blocks[0].state == 0 -> mine = 0 }
  :: atomic { blocks[1].pages == wanted && blocks[1].state == 0 -> mine = 1 }
  :: goto grow
  fi;
claim: /* shmq_block_claim */
  atomic { /* the CAS */
    KILL_POINT;
    if
    :: blocks[mine].state == 0 -> blocks[mine].state = TAG(me) | HELD
    :: else -> mine = NONE; goto again
    fi
  }
#ifndef CLAIM_WITHOUT_LOOK
  atomic { KILL_POINT; if :: mine >= count -> mine = NONE; goto again :: else fi }
  atomic {
    KILL_POINT;
    if :: blocks[mine].state != (TAG(me) | HELD) -> mine = NONE; goto again :: else fi
  }
#endif
  atomic { KILL_POINT; if :: blocks[mine].pages == wanted -> goto write :: else fi }
  atomic { KILL_POINT; blocks[mine].state = 0; mine = NONE; goto again }

grow: /* shmq_pool_grow */
  ACQUIRE(POOL);
  atomic {
    KILL_POINT;
    at = (count == 0 -> 0 : blocks[count - 1].offset + blocks[count - 1].pages);
    if
    :: at + wanted > RANGE -> at = 0; RELEASE(POOL); goto scarce
    :: else
    fi
  }
  atomic { KILL_POINT; blocks[count].state = TAG(me) | HELD }
  atomic { KILL_POINT; blocks[count].at = 0 }
  atomic { KILL_POINT; blocks[count].offset = at; at = 0 }
  atomic { KILL_POINT; blocks[count].pages = wanted }
  atomic { KILL_POINT; mine = count; count++ } /* the commit: store_release of the count */
  atomic { KILL_POINT; RELEASE(POOL); goto write }

scarce: /* shmq_block_get: NO_MEMORY; sweep, look once more, shrink, grow */
  if
  :: atomic { is_swept -> is_swept = false; goto give_up }
  :: !is_swept
  fi;
  is_swept = true;
  SWEEP;
  if
  :: atomic { blocks[0].pages == wanted && blocks[0].state == 0 -> mine = 0; goto claim }
  :: atomic { blocks[1].pages == wanted && blocks[1].state == 0 -> mine = 1; goto claim }
  :: else
  fi;
  ACQUIRE(POOL); /* shmq_pool_shrink */
  do
  :: atomic { count == 0 || blocks[count - 1].state != 0 -> break }
  :: atomic { count > 0 && blocks[count - 1].state == 0 -> /* the claim's CAS */
       KILL_POINT;
       blocks[count - 1].state = TAG(me) | HELD
     }
     atomic { KILL_POINT; count-- } /* store_release of the count */
  od;
  atomic { KILL_POINT; RELEASE(POOL); goto grow }

write: /* the payload, outside of any owner word */
  atomic {
    KILL_POINT;
    items++; item = items;
    page[blocks[mine].offset] = item
  }
  atomic { KILL_POINT; page[blocks[mine].offset + wanted - 1] = item }

put:
  atomic { sequence[TAIL] < sequence[HEAD] + CAPACITY } /* sleeps while it is full */
  ACQUIRE(TAIL);
  atomic {
    KILL_POINT;
    if :: sequence[TAIL] == sequence[HEAD] + CAPACITY -> RELEASE(TAIL); goto put :: else fi
  }
  atomic { /* the slot: odd stamp, content, stamp */
    KILL_POINT;
    seen = sequence[TAIL] % CAPACITY;
    slots[seen].stamp = 0; slots[seen].block = mine; slots[seen].item = item; seen = 0
  }
#ifndef QUEUE_AFTER_COMMIT
  atomic { KILL_POINT; blocks[mine].at = sequence[TAIL] } /* shmq_block_queue */
  atomic { KILL_POINT; blocks[mine].state = TAG(me) | QUEUED }
#endif
  atomic { KILL_POINT; slots[sequence[TAIL] % CAPACITY].stamp = sequence[TAIL] + 1 }
  atomic { KILL_POINT; sequence[TAIL]++ } /* the commit */
#ifdef QUEUE_AFTER_COMMIT
  atomic { KILL_POINT; blocks[mine].at = sequence[TAIL] - 1 }
  atomic { KILL_POINT; blocks[mine].state = TAG(me) | QUEUED }
#endif
  atomic { KILL_POINT; RELEASE(TAIL) }

give_up:
  atomic {
    mine = NONE; item = 0; is_swept = false; left[me]--;
    if :: left[me] > 0 -> goto again :: else -> goto finished fi
  }
killed:
  KILLED;
finished:
  skip
}

proctype Taker(byte me) {
  byte mine = NONE, seen, at, limit, item;
  bool is_swept;

again:
  atomic { sequence[TAIL] != sequence[HEAD] } /* sleeps while it is empty */
  ACQUIRE(HEAD);
  atomic {
    KILL_POINT;
    if :: sequence[TAIL] == sequence[HEAD] -> RELEASE(HEAD); goto again :: else fi
  }
  atomic { /* what the slot refers to; a block is never free then (I6) */
    KILL_POINT;
    seen = sequence[HEAD] % CAPACITY;
    assert(slots[seen].stamp == sequence[HEAD] + 1);
    mine = slots[seen].block; item = slots[seen].item; seen = 0;
    assert(mine < count && blocks[mine].state != 0)
  }
#ifndef HOLD_AFTER_RELEASE
  atomic { KILL_POINT; blocks[mine].state = TAG(me) | HELD } /* shmq_block_hold */
#endif
  atomic { KILL_POINT; sequence[HEAD]++ } /* the commit */
  atomic { KILL_POINT; RELEASE(HEAD) }
#ifdef HOLD_AFTER_RELEASE
  atomic { KILL_POINT; blocks[mine].state = TAG(me) | HELD }
#endif
  atomic { /* the payload is what was put, and stays so while we have it */
    KILL_POINT;
    assert(page[blocks[mine].offset] == item);
    assert(page[blocks[mine].offset + blocks[mine].pages - 1] == item)
  }
  atomic { KILL_POINT; assert(page[blocks[mine].offset + blocks[mine].pages - 1] == item) }
  atomic { KILL_POINT; blocks[mine].state = 0; mine = NONE; item = 0 } /* shmq_block_free */
  atomic {
    left[me]--;
    if :: left[me] > 0 -> goto again :: else -> goto finished fi
  }
killed:
  KILLED;
finished:
  skip
}

/* When nothing happens any more: one who attaches sweeps, and then every block is free, in the ring, or
 * in the hands of somebody alive. */
proctype Janitor(byte me) {
  byte mine = NONE, seen, at, limit, item;
  bool is_swept;
  timeout;
  SWEEP;
  atomic {
    for (at : 0 .. RANGE - 1) {
      assert(at >= count || blocks[at].state == 0 || IS_REFERRED_TO(at) || !IS_DEAD(blocks[at].state))
    }
    goto finished
  }
killed: /* it is not */
  skip;
finished:
  skip
}

init {
  byte each;
  atomic {
    for (each : 0 .. PROCESSES - 1) {
      is_locked[each] = true; generation[each] = 1;
      if
      :: each < PUTTERS -> left[each] = PUTS; run Putter(each, (each == 0 -> 1 : LAST_WANTS))
      :: each >= PUTTERS && each < JANITOR -> left[each] = TAKES; run Taker(each)
      :: else -> run Janitor(each)
      fi
    }
  }
}
