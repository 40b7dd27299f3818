/* The queue: two ends, their owner words, bells and sleepers, seats, kills and takeovers.
 *
 * One proctype is producer and consumer, as the protocol is the same for both: each moves an end of
 * its `own` (the tail; the head) and waits for the `other` one to move. Each atomic step is one access
 * to shared memory, or one system call, of the C function that is named beside it; a process may be
 * killed before each of them. See README.md for what is left out, and queue.py for the sizes.
 *
 * Broken twins, each to be caught: NO_BOUNDED_SLEEP (fine as long as nobody is killed), NO_TAKEOVER,
 * NO_GENERATION, TAKEOVER_BY_STORE, DEAD_BY_TIME, TWO_STORES, FLAG_AFTER_LOOK, NO_PASS_ON,
 * PASS_ON_AFTER_LOOK, FLAG_THEN_LOAD.
 */

#define PROCESSES (PRODUCERS + CONSUMERS)
#define TAIL 0
#define HEAD 1

/* An owner word: flags, seat + 1, generation (seats.h). */
#define CONTENDED 1
#define AWAITED 2
#define BATCH_AWAITED 4
#define FLAGS(word) ((word) & 7)
#define IS_FREE(word) ((word) >> 3 == 0)
#define SEAT(word) (((word) >> 3 & 7) - 1)
#ifdef NO_GENERATION
#define TAG(seat) (((seat) + 1) << 3)
#define IS_OF_OLD_GENERATION(word) false
#else
#define TAG(seat) (((seat) + 1) << 3 | generation[seat] << 6)
#define IS_OF_OLD_GENERATION(word) (generation[SEAT(word)] != (word) >> 6)
#endif

/* Where a process is as far as futexes are concerned: asleep on one; or about to be, since it read the
 * bell, which has RUNG since or not (in place of the bell's count). */
#define AWAKE 0
#define WATCHING 1
#define RUNG 2
#define ON_BELL(end) (3 + (end))
#define ON_WORD(end) (5 + (end))
#define ON_BELL_FOR_BATCH 7

#define UNWRITTEN 255
#define BELL_COUNTED 128 /* in `was`: how far the ringing has come */

byte owner[2];
byte sequence[2];
byte batch_wake;           /* the head's batch_wake_sequence */
byte slot[CAPACITY];       /* sequence + 1 of the item; UNWRITTEN while it is written; 0 at first */
byte generation[PROCESSES];
bool is_locked[PROCESSES]; /* the kernel's lock on the seat's byte */
byte at[PROCESSES];

/* What nobody in C sees: budgets, and the account. */
byte kills = KILLS;
byte timeouts = TIMEOUTS;
byte expiries = EXPIRIES;
byte owners[2];
byte delivered;            /* a set of sequences */
bool is_alive[PROCESSES];
byte left[PROCESSES];      /* calls to be made, over all processes that take the seat */
#ifdef TWO_STORES
byte count;
#endif

#define ROLE(process) ((process) < PRODUCERS -> TAIL : HEAD)

#ifdef TWO_STORES
#define HAS_ROOM(wanted) (count + (wanted) <= CAPACITY)
#define HAS_ITEM (count > 0)
#else
#define HAS_ROOM(wanted) (sequence[TAIL] + (wanted) <= sequence[HEAD] + CAPACITY)
#define HAS_ITEM (sequence[TAIL] != sequence[HEAD])
#endif
#define CAN_ACT (own == TAIL -> HAS_ROOM(wanted) : HAS_ITEM)

/* A sleep of which nobody would notice the end is not ended, but for a few: so that a state in which
 * nobody can do anything is one in which nothing happens. */
#ifdef NO_BOUNDED_SLEEP
#define SLEEP_MAY_END(would_find) false
#else
#define SLEEP_MAY_END(would_find) (expiries > 0 || (would_find))
#endif
#define END_SLEEP(would_find) \
  if :: would_find :: else -> expiries-- fi; at[me] = AWAKE
#ifdef NO_TAKEOVER
#define WOULD_FIND_FREE IS_FREE(owner[own])
#else
#define WOULD_FIND_FREE (IS_FREE(owner[own]) || IS_OF_OLD_GENERATION(owner[own]) || \
                         !is_locked[SEAT(owner[own])])
#endif

#define KILL_POINT if :: kills > 0 -> kills--; goto killed :: true fi

/* FUTEX_WAKE of one: the kernel's choice. */
inline wake_one(futex) {
  if
  :: at[0] == futex -> at[0] = AWAKE
  :: at[1] == futex -> at[1] = AWAKE
#if PRODUCERS + CONSUMERS > 2
  :: at[2] == futex -> at[2] = AWAKE
#endif
#if PRODUCERS + CONSUMERS > 3
  :: at[3] == futex -> at[3] = AWAKE
#endif
  :: else
  fi
}

inline wake_all(futex) {
  for (each : 0 .. PROCESSES - 1) {
    if :: at[each] == futex -> at[each] = AWAKE :: else fi
  }
  each = 0
}

/* The bell of `end` is one higher: whoever read it before will find it changed. */
inline count_bell(end) {
  for (each : 0 .. PROCESSES - 1) {
    if :: at[each] == WATCHING && ROLE(each) != end -> at[each] = RUNG :: else fi
  }
  each = 0
}

/* A kill ends all that the process was; what it stored stays. */
inline forget() {
  if :: is_owner -> owners[own]-- :: else fi;
  at[me] = AWAKE; is_alive[me] = false; is_owner = false;
  slept_on_bell = false; slept_on_word = false; gave_up = false; acted = false;
  seen = 0; was = 0; place = 0
}

/* The call returns; killed from here on is killed before the next one. */
#define RETURN \
  slept_on_bell = false; slept_on_word = false; gave_up = false; \
  if \
  :: acted -> acted = false; left[me]--; if :: left[me] == 0 -> goto finished :: else fi \
  :: else \
  fi; \
  goto attempt

/* What comes after an attempt, its ringing included. */
#define GO_ON \
  if \
  :: acted && (slept_on_bell || slept_on_word) -> goto end_wait \
  :: acted && !slept_on_bell && !slept_on_word -> RETURN \
  :: !acted -> goto wait_for_bell \
  fi

proctype Process(byte me; byte own; byte wanted) {
  byte seen, was, place, each;
  bool is_owner, acted, gave_up, slept_on_bell, slept_on_word;
#define other (1 - own)
  goto attempt;

attach:
  /* shmq_seat_take: the kernel's lock, then the generation. */
  atomic { KILL_POINT; is_locked[me] = true; is_alive[me] = true }
  atomic { KILL_POINT; generation[me]++ }

attempt: /* shmq_try_put, shmq_try_take */
  atomic { /* shmq_end_try_acquire: the CAS, which is repeated while only flags differ */
    KILL_POINT;
    if
    :: IS_FREE(owner[own]) ->
       owner[own] = TAG(me) | FLAGS(owner[own]);
       owners[own]++; is_owner = true;
       assert(owners[own] == 1) /* mutual exclusion */
    :: else -> goto wait_for_word
    fi
  }
  atomic { /* load_acquire of the other end */
    KILL_POINT;
    if :: CAN_ACT :: else -> goto release fi
  }
next_slot:
  atomic { /* the odd stamp and some of the bytes; some of the copy */
    KILL_POINT;
    place = (sequence[own] + was) % CAPACITY;
    if
    :: own == TAIL -> slot[place] = UNWRITTEN
    :: else -> assert(slot[place] == sequence[HEAD] + 1) /* whole, and the next one in order */
    fi;
    place = 0
  }
  atomic { /* the rest of the bytes, the stamp; the rest of the copy */
    KILL_POINT;
    place = (sequence[own] + was) % CAPACITY;
    if
    :: own == TAIL -> slot[place] = sequence[TAIL] + was + 1
    :: else -> assert(slot[place] == sequence[HEAD] + 1)
    fi;
    place = 0; was++;
    if :: was < wanted -> goto next_slot :: else -> was = 0 fi
  }
#ifdef TWO_STORES
  atomic { KILL_POINT; if :: own == TAIL -> count = count + wanted :: else -> count-- fi }
#endif
  atomic { /* the commit: store_release of the sequence */
    KILL_POINT;
    if
    :: own == HEAD -> assert(!(delivered >> sequence[HEAD] & 1)); /* no duplicate */
                      delivered = delivered | 1 << sequence[HEAD];
                      sequence[HEAD]++
    :: else -> sequence[TAIL] = sequence[TAIL] + wanted
    fi;
    assert(sequence[HEAD] <= sequence[TAIL] && sequence[TAIL] <= sequence[HEAD] + CAPACITY);
    acted = true
  }

release:
  atomic { /* shmq_end_release: the exchange */
    KILL_POINT;
    was = FLAGS(owner[own]); owner[own] = 0; owners[own]--; is_owner = false;
    if :: was == 0 -> GO_ON :: else fi
  }
  do /* shmq_end_ring */
  :: atomic { was & CONTENDED ->
       KILL_POINT;
       wake_one(ON_WORD(own)); was = was & ~CONTENDED;
       if :: was == 0 -> GO_ON :: else fi
     }
  :: atomic { (was & (AWAITED | BATCH_AWAITED)) && !(was & (CONTENDED | BELL_COUNTED)) ->
       KILL_POINT;
       count_bell(own); was = was | BELL_COUNTED
     }
  :: atomic { (was & AWAITED) && (was & BELL_COUNTED) ->
       KILL_POINT;
       wake_one(ON_BELL(own)); was = was & ~AWAITED;
       if :: was == BELL_COUNTED -> was = 0; GO_ON :: else fi
     }
#ifdef BATCH
  :: atomic { was == (BATCH_AWAITED | BELL_COUNTED) ->
       KILL_POINT;
       seen = batch_wake; was = 0; /* load_relaxed of batch_wake_sequence */
       break
     }
  od;
  atomic { /* load_relaxed of the sequence */
    KILL_POINT;
    if
    :: sequence[own] >= seen -> wake_all(ON_BELL_FOR_BATCH); seen = 0; GO_ON
    :: else
    fi
  }
  atomic { KILL_POINT; owner[own] = owner[own] | BATCH_AWAITED } /* still asleep */
  atomic { /* load_acquire of the sequence */
    KILL_POINT;
    if
    :: sequence[own] >= seen -> wake_all(ON_BELL_FOR_BATCH)
    :: else
    fi;
    seen = 0; GO_ON
  }
#else
  od;
#endif

wait_for_bell: /* shmq_wait, shmq_sleep: FULL or EMPTY */
  atomic {
    KILL_POINT;
    if
    :: timeouts > 0 -> timeouts--; gave_up = true; goto end_wait
    :: true
    fi;
    at[me] = WATCHING /* load_acquire of the bell */
  }
#ifdef FLAG_AFTER_LOOK
  atomic { KILL_POINT; if :: CAN_ACT -> at[me] = AWAKE; goto attempt :: else fi }
#endif
#ifdef BATCH
  if
  :: wanted > 1 ->
     atomic { /* load_relaxed of the tail */
       KILL_POINT;
       seen = sequence[TAIL] + wanted - CAPACITY
     }
     atomic { /* store_relaxed of batch_wake_sequence, unless there is an earlier wish */
       KILL_POINT;
       if
       :: batch_wake > seen || batch_wake <= sequence[HEAD] -> batch_wake = seen
       :: else
       fi;
       seen = 0
     }
  :: else
  fi;
#endif
  atomic { /* shmq_end_flag */
    KILL_POINT;
    owner[other] = owner[other] | (wanted > 1 -> BATCH_AWAITED : AWAITED)
  }
#ifndef FLAG_AFTER_LOOK
#ifdef TWO_LOADS
  atomic { KILL_POINT; seen = sequence[other] }
  atomic { /* the second look, shmq_may_go_on: first the one load, then the other */
    KILL_POINT;
    if
    :: own == TAIL && sequence[TAIL] + wanted <= seen + CAPACITY ||
       own == HEAD && seen != sequence[HEAD] -> seen = 0; at[me] = AWAKE; goto attempt
    :: else -> seen = 0
    fi
  }
#else
  atomic { /* the second look, shmq_may_go_on */
    KILL_POINT;
    if :: CAN_ACT -> at[me] = AWAKE; goto attempt :: else fi
  }
#endif
#endif
  atomic { /* FUTEX_WAIT: compares the bell, and sleeps */
    KILL_POINT;
    slept_on_bell = (wanted == 1);
    if
    :: at[me] == RUNG -> at[me] = AWAKE; goto attempt
    :: else -> at[me] = (wanted > 1 -> ON_BELL_FOR_BATCH : ON_BELL(other))
    fi
  }
  if
  :: atomic { kills > 0 && at[me] != AWAKE -> kills--; goto killed }
  :: atomic { at[me] == AWAKE -> goto attempt }
  :: atomic { at[me] != AWAKE && SLEEP_MAY_END(CAN_ACT) -> END_SLEEP(CAN_ACT); goto attempt }
  fi;

wait_for_word: /* shmq_wait, shmq_sleep: BUSY */
  atomic { /* shmq_end_flag: what it answers is what the futex compares */
    KILL_POINT;
    if
    :: timeouts > 0 -> timeouts--; gave_up = true; goto end_wait
    :: true
    fi;
    owner[own] = owner[own] | CONTENDED;
#ifdef FLAG_THEN_LOAD
  }
  atomic {
    KILL_POINT;
#endif
    was = owner[own];
    if :: IS_FREE(was) -> was = 0; goto attempt :: else fi
  }
#ifndef NO_TAKEOVER
  atomic { /* shmq_end_evict_dead: load_acquire of the owner word */
    KILL_POINT;
    seen = owner[own];
    if :: IS_FREE(seen) -> was = 0; seen = 0; goto attempt :: else fi
  }
  atomic { /* shmq_tag_is_dead: the seat's generation */
    KILL_POINT;
    if :: IS_OF_OLD_GENERATION(seen) -> goto take_over :: else fi
  }
  atomic { /* ... and F_OFD_GETLK */
    KILL_POINT;
    if
    :: !is_locked[SEAT(seen)] -> goto take_over
#ifdef DEAD_BY_TIME
    :: is_locked[SEAT(seen)] -> goto take_over
#endif
    :: else -> seen = 0
    fi
  }
#endif
  atomic { /* FUTEX_WAIT: compares the owner word, and sleeps */
    KILL_POINT;
    slept_on_word = true;
    if :: owner[own] == was -> at[me] = ON_WORD(own) :: else fi;
    was = 0
  }
  if
  :: atomic { kills > 0 && at[me] != AWAKE -> kills--; goto killed }
  :: atomic { at[me] != AWAKE && SLEEP_MAY_END(WOULD_FIND_FREE) -> END_SLEEP(WOULD_FIND_FREE) }
  :: atomic { at[me] == AWAKE -> KILL_POINT; owner[own] = owner[own] | CONTENDED; goto attempt }
  fi;
  atomic { KILL_POINT; owner[own] = owner[own] | CONTENDED; goto attempt } /* shmq_end_flag */

take_over:
  atomic { /* the CAS, from the exact word */
    KILL_POINT;
#ifdef TAKEOVER_BY_STORE
    owner[own] = FLAGS(seen);
#else
    if :: owner[own] == seen -> owner[own] = FLAGS(seen) :: else fi;
#endif
    seen = 0; was = 0;
    goto attempt
  }

end_wait: /* shmq_waiter_end */
#ifndef NO_PASS_ON
  if
  :: atomic { slept_on_bell -> /* shmq_end_flag; first the look in a twin */
       KILL_POINT;
#ifdef PASS_ON_AFTER_LOOK
       seen = CAN_ACT
#else
       owner[other] = owner[other] | AWAITED
#endif
     }
     atomic {
       KILL_POINT;
#ifdef PASS_ON_AFTER_LOOK
       owner[other] = owner[other] | AWAITED;
#else
       seen = CAN_ACT; /* shmq_may_go_on */
#endif
       if
       :: !seen && !slept_on_word -> RETURN
       :: else
       fi
     }
     if
     :: atomic { seen -> KILL_POINT; wake_one(ON_BELL(other)); seen = 0 }
     :: !seen
     fi
  :: !slept_on_bell
  fi;
#endif
#ifndef NO_PASS_ON
  if
  :: atomic { slept_on_word -> /* load_relaxed of the owner word */
       KILL_POINT;
       seen = gave_up || IS_FREE(owner[own]) && (owner[own] & CONTENDED) != 0;
       if :: !seen -> RETURN :: else -> seen = 0 fi
     }
     atomic { KILL_POINT; wake_one(ON_WORD(own)) }
  :: !slept_on_word
  fi;
#endif
  atomic { KILL_POINT; RETURN }

killed: /* first the process is no more, a moment later its lock */
  atomic { forget(); left[me]--; goto unlock }
unlock:
  atomic {
    is_locked[me] = false;
    if
    :: left[me] > 0 -> goto attach /* the next process takes this seat */
    :: true                        /* nobody does */
    fi
  }
finished:
  skip
}

/* When nothing happens any more, everybody alive must have what it wanted, as far as it can. */
active proctype Monitor() {
  byte each, producers, consumers;
  bool is_sane = true;
  d_step {
    timeout;
    for (each : 0 .. PROCESSES - 1) {
      if
      :: is_alive[each] && ROLE(each) == HEAD && left[each] > 0 -> consumers++
      :: is_alive[each] && ROLE(each) == TAIL && left[each] > 0 -> producers++
      :: else
      fi;
      assert(at[each] != ON_WORD(TAIL) && at[each] != ON_WORD(HEAD)) /* of a free, or dead, word */
    }
    assert(consumers == 0 || sequence[HEAD] == sequence[TAIL]); /* no item is left lying */
    assert(consumers == 0 || producers == 0);                   /* and no room */
    assert(producers == 0 || sequence[TAIL] + MOST_WANTED > sequence[HEAD] + CAPACITY)
  }
}

init {
  byte each;
  atomic {
    for (each : 0 .. PROCESSES - 1) {
      left[each] = (ROLE(each) == TAIL -> PUTS : GETS);
      is_locked[each] = true; is_alive[each] = true; generation[each] = 1;
      run Process(each, ROLE(each), (each == 0 -> MOST_WANTED : 1))
    }
  }
}
