/* The stream: one tail, the floor that gates it, and two groups with a head each; with FOLLOW the second
 * group takes only what the first has finished.
 *
 * One proctype is producer and consumer. A producer moves the tail; where it finds no room it raises the
 * floor, under that one's word, and sleeps on the bell of the slowest group. A consumer moves the head of
 * its group, and sleeps on the bell of the tail, or of the group that it comes after. Each atomic step
 * is one access to shared memory, or one system call, of the C function that is named beside it; a
 * process may be killed before each of them. What is left out is said in README.md.
 *
 * Broken twins, each to be caught: NO_BOUNDED_SLEEP (fine as long as nobody is killed), NO_TAKEOVER,
 * ONE_CLASS, FLAG_AFTER_LOOK, NO_LOOK_ELSEWHERE, NO_PASS_ON, FLOOR_PASSES, ROW_AFTER_HEAD,
 * HEAD_AFTER_ROW, NO_BURY, FINISH_IN_SILENCE.
 */

#define PROCESSES (PRODUCERS + FIRSTS + SECONDS)
#define TAIL 0
#define FLOOR 1
#define FIRST 2 /* head of the first group */
#define SECOND 3
#define NOWHERE 4

/* An owner word: flags, and who has it. */
#define CONTENDED 1
#define AWAITED 2
#define FLAGS(word) ((word) & 3)
#define IS_FREE(word) ((word) >> 2 == 0)
#define HOLDER(word) (((word) >> 2) - 1)
#define TAG(process) (((process) + 1) << 2)

/* Where a process is as far as futexes are concerned: about to sleep on a bell that it has read, which RUNG
 * since; or asleep. */
#define AWAKE 0
#define RUNG 1
#define WATCHING(end) (2 + (end))
#define ON_BELL(end) (6 + (end))
#define ON_WORD(end) (10 + (end))

#define UNWRITTEN 255
#define NOTHING 255

byte owner[4];
byte sequence[4];
byte slot[CAPACITY];       /* sequence + 1 of the item; UNWRITTEN while it is written */
byte row = NOTHING;        /* what the first group's only consumer holds, with FOLLOW */
bool is_locked[PROCESSES]; /* the kernel's lock on the seat's byte */
byte at[PROCESSES];

/* What nobody in C sees: budgets, and the account. */
byte kills = KILLS;
byte owners[4];
byte works_on = NOTHING;   /* what that consumer has in its hands */
bool is_alive[PROCESSES];
byte left[PROCESSES];

/* The end that a process moves, by which the futex's bitset tells sleepers apart, too. */
#define ROLE(process) \
  ((process) < PRODUCERS -> TAIL : ((process) < PRODUCERS + FIRSTS -> FIRST : SECOND))
#define CONSUMER_OF_FIRST PRODUCERS

/* shmq_gate_of_floor: of two that are equal the first counts. */
#define SLOWEST (sequence[SECOND] < sequence[FIRST] -> SECOND : FIRST)
#define HAS_ROOM (sequence[TAIL] + 1 <= sequence[SLOWEST] + CAPACITY)
#ifdef FOLLOW
/* What the dead hold is finished, as soon as somebody looks. */
#define IN_LIVING_HANDS (row < sequence[FIRST] && is_locked[CONSUMER_OF_FIRST])
#define IS_READY_SECOND (sequence[SECOND] < (IN_LIVING_HANDS -> row : sequence[FIRST]))
#define FINISHED (row < sequence[FIRST] -> row : sequence[FIRST])
#define HAS_ITEM(group) \
  ((group) == FIRST -> sequence[FIRST] < sequence[TAIL] : sequence[SECOND] < FINISHED)
#ifdef NO_BURY
#define CAN_ACT (own == TAIL -> HAS_ROOM : HAS_ITEM(own))
#else
#define CAN_ACT \
  (own == TAIL -> HAS_ROOM : (own == FIRST -> HAS_ITEM(FIRST) : IS_READY_SECOND))
#endif
#else
#define HAS_ITEM(group) (sequence[group] < sequence[TAIL])
#define CAN_ACT (own == TAIL -> HAS_ROOM : HAS_ITEM(own))
#endif

/* shmq_may_go_on */
#ifdef NO_LOOK_ELSEWHERE
#define IS_ELSEWHERE(end) false
#else
#define IS_ELSEWHERE(end) (SLOWEST != (end))
#endif
#define MAY_GO_ON(end) (own == TAIL -> HAS_ROOM || IS_ELSEWHERE(end) : HAS_ITEM(own))

/* As in queue.pml: a sleep of which nobody would notice the end is not ended. */
#ifdef NO_BOUNDED_SLEEP
#define SLEEP_MAY_END(would_find) false
#else
#define SLEEP_MAY_END(would_find) (would_find)
#endif
#ifdef NO_TAKEOVER
#define WOULD_FIND_FREE(end) IS_FREE(owner[end])
#else
#define WOULD_FIND_FREE(end) (IS_FREE(owner[end]) || !is_locked[HOLDER(owner[end])])
#endif

#define KILL_POINT if :: kills > 0 -> kills--; goto killed :: true fi

/* FUTEX_WAKE of one of a class: the kernel's choice. */
#define AT(process) at[(process) % PROCESSES]
#define IS_AT(process, futex) ((process) < PROCESSES && AT(process) == (futex))
inline wake_one_of(futex, role) {
  if
  :: IS_AT(0, futex) && ROLE(0) == role -> AT(0) = AWAKE; woke = true
  :: IS_AT(1, futex) && ROLE(1) == role -> AT(1) = AWAKE; woke = true
  :: IS_AT(2, futex) && ROLE(2) == role -> AT(2) = AWAKE; woke = true
  :: IS_AT(3, futex) && ROLE(3) == role -> AT(3) = AWAKE; woke = true
  :: else
  fi
}

/* Of one who sleeps on an owner word, of any class. */
inline wake_one(futex) {
  if
  :: IS_AT(0, futex) -> AT(0) = AWAKE
  :: IS_AT(1, futex) -> AT(1) = AWAKE
  :: IS_AT(2, futex) -> AT(2) = AWAKE
  :: IS_AT(3, futex) -> AT(3) = AWAKE
  :: else
  fi
}

/* The bell of `end` is one higher: whoever read it before will find it changed. */
inline count_bell(end) {
  for (each : 0 .. PROCESSES - 1) {
    if :: at[each] == WATCHING(end) -> at[each] = RUNG :: else fi
  }
  each = 0
}

inline wake_all(end) {
  for (each : 0 .. PROCESSES - 1) {
    if :: at[each] == WATCHING(end) -> at[each] = RUNG
       :: at[each] == ON_BELL(end) -> at[each] = AWAKE
       :: else
    fi
  }
  each = 0
}

proctype Process(byte me; byte own) {
  byte was, seen, gate, each;
  byte inside = NOWHERE;   /* whose word it has */
  byte moved;              /* whose word it let go of, and rings for */
  byte waits_for;          /* the end that gates it, or whose word is in use */
  byte bell_end = NOWHERE; /* on whose bell it slept */
  byte word_end = NOWHERE; /* on whose word */
  bool acted, woke, is_over;

attempt: /* shmq_try_put, shmq_try_take_of_group */
#ifdef FOLLOW
  atomic { if :: own == FIRST -> works_on = NOTHING :: else fi }; /* who asks for more has finished */
#endif
  atomic { /* shmq_end_try_acquire */
    KILL_POINT;
    if
    :: IS_FREE(owner[own]) ->
       owner[own] = TAG(me) | FLAGS(owner[own]);
       owners[own]++; inside = own;
       assert(owners[own] == 1) /* mutual exclusion */
    :: else -> waits_for = own; goto wait_for_word
    fi
  }
#ifdef FOLLOW
  if
  :: own == SECOND ->
#ifdef HEAD_AFTER_ROW
     atomic { KILL_POINT; gate = row }
     atomic { KILL_POINT; if :: sequence[FIRST] < gate -> gate = sequence[FIRST] :: else fi }
#else
     atomic { KILL_POINT; gate = sequence[FIRST] } /* shmq_group_finished: the head */
     atomic { KILL_POINT; if :: row < gate -> gate = row :: else fi } /* ... and then the row */
#endif
     atomic { if :: sequence[SECOND] < gate -> gate = 0 :: else -> gate = 0; goto release fi }
  :: else ->
#endif
  atomic { /* load_acquire of what gates it */
    KILL_POINT;
    if
    :: own == TAIL && sequence[TAIL] + 1 > sequence[FLOOR] + CAPACITY -> goto release
    :: own != TAIL && sequence[own] >= sequence[TAIL] -> goto release
    :: else
    fi
  }
#ifdef FOLLOW
  fi;
#endif
  atomic { /* the odd stamp and some of the bytes; some of the copy */
    KILL_POINT;
    if
    :: own == TAIL -> slot[sequence[TAIL] % CAPACITY] = UNWRITTEN
    :: else -> assert(slot[sequence[own] % CAPACITY] == sequence[own] + 1) /* whole, and the next */
    fi
  }
  atomic { /* the rest of the bytes, the stamp; the rest of the copy */
    KILL_POINT;
    if
    :: own == TAIL -> slot[sequence[TAIL] % CAPACITY] = sequence[TAIL] + 1
    :: else -> assert(slot[sequence[own] % CAPACITY] == sequence[own] + 1)
    fi
  }
#if defined(FOLLOW) && !defined(ROW_AFTER_HEAD)
  atomic { KILL_POINT; if :: own == FIRST -> row = sequence[FIRST] :: else fi } /* the row */
#endif
  atomic { /* the commit: store_release of the sequence */
    KILL_POINT;
#ifdef FOLLOW
    if
    :: own == FIRST -> works_on = sequence[FIRST]
    :: own == SECOND -> /* not what the first has in its hands */
       assert(sequence[SECOND] < works_on && sequence[SECOND] < sequence[FIRST])
    :: else
    fi;
#endif
    sequence[own]++;
    assert(sequence[TAIL] <= sequence[FLOOR] + CAPACITY && sequence[own] <= sequence[TAIL]);
    acted = true
  }
#if defined(FOLLOW) && defined(ROW_AFTER_HEAD)
  atomic { KILL_POINT; if :: own == FIRST -> row = sequence[FIRST] - 1 :: else fi }
#endif

release:
  atomic { /* shmq_end_release: the exchange */
    KILL_POINT;
    moved = inside;
    was = FLAGS(owner[moved]); owner[moved] = 0; owners[moved]--; inside = NOWHERE;
    if :: was == 0 -> goto rung :: else fi
  }
  if /* shmq_end_ring */
  :: atomic { was & CONTENDED -> KILL_POINT; wake_one(ON_WORD(moved)) }
  :: !(was & CONTENDED)
  fi;
ring_bell:
  if
  :: was & AWAITED ->
     atomic { KILL_POINT; count_bell(moved) }
     atomic { /* shmq_end_wake: one of the first class */
       KILL_POINT;
       woke = false;
       if
       :: moved == TAIL -> wake_one_of(ON_BELL(TAIL), FIRST)
       :: else -> wake_one_of(ON_BELL(moved), TAIL)
       fi
     }
     atomic { /* ... and one of the other */
       KILL_POINT;
#ifdef ONE_CLASS
       if :: woke -> goto rung :: else fi;
#endif
       wake_one_of(ON_BELL(moved), SECOND)
     }
  :: else
  fi;
rung:
  atomic {
    was = 0; woke = false;
    if
    :: is_over -> goto finished
    :: moved == FLOOR && gate == 1 -> gate = 0; goto attempt
    :: moved == FLOOR && gate != 1 -> goto wait_for_bell
    :: acted -> goto end_wait
    :: moved != FLOOR && !acted && own == TAIL -> goto make_room
    :: else
    fi
  }
#ifdef FOLLOW
  if
  :: own == FIRST && row != NOTHING -> goto finish
  :: own == SECOND ->
#ifndef NO_BURY
     atomic { /* shmq_await_group: does a dead one hold it back? */
       KILL_POINT;
       if
       :: row < sequence[FIRST] && !is_locked[CONSUMER_OF_FIRST] ->
          row = NOTHING; wake_all(FIRST); /* shmq_holds_bury */
          goto attempt
       :: else
       fi
     }
#endif
     waits_for = FIRST
  :: else -> waits_for = TAIL
  fi;
#else
  waits_for = TAIL;
#endif
  goto wait_for_bell;

make_room: /* shmq_make_room_in_stream, shmq_floor_raise */
  atomic { /* shmq_end_try_acquire */
    KILL_POINT;
    if
    :: IS_FREE(owner[FLOOR]) ->
       owner[FLOOR] = TAG(me) | FLAGS(owner[FLOOR]);
       owners[FLOOR]++; inside = FLOOR;
       assert(owners[FLOOR] == 1)
    :: else -> waits_for = FLOOR; goto wait_for_word
    fi
  }
  atomic { KILL_POINT; gate = sequence[FIRST]; waits_for = FIRST } /* shmq_gate_of_floor: a head */
  atomic { /* ... the other head */
    KILL_POINT;
#ifndef FLOOR_PASSES
    if :: sequence[SECOND] < gate -> gate = sequence[SECOND]; waits_for = SECOND :: else fi
#else
    skip
#endif
  }
  atomic { /* the floor's commit, and whether that is room enough: gate is 1 then */
    KILL_POINT;
    assert(gate <= sequence[FIRST] && gate <= sequence[SECOND] && gate >= sequence[FLOOR]);
    sequence[FLOOR] = gate;
    gate = (sequence[TAIL] + 1 <= gate + CAPACITY -> 1 : 0);
    goto release
  }

#ifdef FOLLOW
finish: /* shmq_hold_end */
  atomic { KILL_POINT; works_on = NOTHING; row = NOTHING }
  atomic { /* the flags, and nothing but the flags */
    KILL_POINT;
    was = owner[FIRST] & AWAITED; owner[FIRST] = owner[FIRST] & ~AWAITED;
    moved = FIRST;
#ifdef FINISH_IN_SILENCE
    was = 0;
#endif
    if :: was == 0 -> goto rung :: else -> goto ring_bell fi
  }
#endif

wait_for_bell: /* shmq_wait, shmq_sleep: FULL or EMPTY */
  atomic { KILL_POINT; at[me] = WATCHING(waits_for) } /* load_acquire of the bell */
#ifdef FLAG_AFTER_LOOK
  atomic { KILL_POINT; if :: MAY_GO_ON(waits_for) -> at[me] = AWAKE; goto attempt :: else fi }
#endif
  atomic { KILL_POINT; owner[waits_for] = owner[waits_for] | AWAITED } /* shmq_end_flag */
#ifndef FLAG_AFTER_LOOK
  atomic { /* the second look, shmq_may_go_on */
    KILL_POINT;
    if :: MAY_GO_ON(waits_for) -> at[me] = AWAKE; goto attempt :: else fi
  }
#endif
  if /* shmq_leave_bell */
  :: bell_end != NOWHERE && bell_end != waits_for ->
     atomic { KILL_POINT; owner[bell_end] = owner[bell_end] | AWAITED }
     atomic { KILL_POINT; wake_one_of(ON_BELL(bell_end), own); woke = false }
  :: else
  fi;
  atomic { /* FUTEX_WAIT: compares the bell, and sleeps */
    KILL_POINT;
    bell_end = waits_for;
    if
    :: at[me] == RUNG -> at[me] = AWAKE; goto attempt
    :: else -> at[me] = ON_BELL(waits_for)
    fi
  }
  if
  :: atomic { kills > 0 && at[me] != AWAKE -> kills--; goto killed }
  :: atomic { at[me] == AWAKE -> goto attempt }
  :: atomic { at[me] != AWAKE && SLEEP_MAY_END(CAN_ACT) -> at[me] = AWAKE; goto attempt }
  fi;

wait_for_word: /* shmq_wait, shmq_sleep: BUSY */
  atomic { /* shmq_end_flag: what it answers is what the futex compares */
    KILL_POINT;
    owner[waits_for] = owner[waits_for] | CONTENDED;
    was = owner[waits_for];
    if :: IS_FREE(was) -> was = 0; goto attempt :: else fi
  }
#ifndef NO_TAKEOVER
  atomic { /* shmq_end_evict_dead: load_acquire of the owner word */
    KILL_POINT;
    seen = owner[waits_for];
    if :: IS_FREE(seen) -> was = 0; seen = 0; goto attempt :: else fi
  }
  atomic { /* F_OFD_GETLK */
    KILL_POINT;
    if :: !is_locked[HOLDER(seen)] -> goto take_over :: else -> seen = 0 fi
  }
#endif
  atomic { /* FUTEX_WAIT: compares the owner word, and sleeps */
    KILL_POINT;
    word_end = waits_for;
    if :: owner[waits_for] == was -> at[me] = ON_WORD(waits_for) :: else fi;
    was = 0
  }
  if
  :: atomic { kills > 0 && at[me] != AWAKE -> kills--; goto killed }
  :: atomic { at[me] != AWAKE && SLEEP_MAY_END(WOULD_FIND_FREE(waits_for)) -> at[me] = AWAKE }
  :: at[me] == AWAKE
  fi;
  atomic { KILL_POINT; owner[waits_for] = owner[waits_for] | CONTENDED; goto attempt }

take_over:
  atomic { /* the CAS, from the exact word */
    KILL_POINT;
    if :: owner[waits_for] == seen -> owner[waits_for] = FLAGS(seen) :: else fi;
    seen = 0; was = 0;
    goto attempt
  }

end_wait: /* shmq_waiter_end */
#ifndef NO_PASS_ON
  if
  :: bell_end != NOWHERE ->
     atomic { KILL_POINT; owner[bell_end] = owner[bell_end] | AWAITED } /* shmq_end_flag */
     atomic { KILL_POINT; seen = MAY_GO_ON(bell_end) } /* shmq_may_go_on */
     if
     :: atomic { seen -> KILL_POINT; wake_one_of(ON_BELL(bell_end), own); woke = false; seen = 0 }
     :: !seen
     fi
  :: else
  fi;
  if
  :: word_end != NOWHERE ->
     atomic { /* load_relaxed of the owner word */
       KILL_POINT;
       seen = (owner[word_end] == CONTENDED || owner[word_end] == (CONTENDED | AWAITED))
     }
     if
     :: atomic { seen -> KILL_POINT; wake_one(ON_WORD(word_end)); seen = 0 }
     :: !seen
     fi
  :: else
  fi;
#endif
  atomic { /* the call returns */
    KILL_POINT;
    acted = false; bell_end = NOWHERE; word_end = NOWHERE; waits_for = 0; moved = 0;
    left[me]--;
    if :: left[me] > 0 -> goto attempt :: else -> is_over = true fi
  }
#ifdef FOLLOW
  if :: own == FIRST -> goto finish :: else fi; /* as its handle is closed */
#endif
  goto finished;

killed: /* first the process is no more, a moment later its lock */
  atomic {
    if :: inside != NOWHERE -> owners[inside]-- :: else fi;
    if :: own == FIRST -> works_on = NOTHING :: else fi;
    at[me] = AWAKE; is_alive[me] = false;
    was = 0; seen = 0; gate = 0; inside = NOWHERE; moved = 0; waits_for = 0;
    bell_end = NOWHERE; word_end = NOWHERE; acted = false; woke = false; is_over = false
  }
  is_locked[me] = false;
finished:
  skip
}

/* When nothing happens any more, everybody alive must have what it wanted, as far as it can. */
active proctype Monitor() {
  byte each, producers, firsts, seconds;
  d_step {
    timeout;
    for (each : 0 .. PROCESSES - 1) {
      if
      :: is_alive[each] && left[each] > 0 && ROLE(each) == TAIL -> producers++
      :: is_alive[each] && left[each] > 0 && ROLE(each) == FIRST -> firsts++
      :: is_alive[each] && left[each] > 0 && ROLE(each) == SECOND -> seconds++
      :: else
      fi;
      /* Of a free, or dead, word. */
      assert(at[each] < ON_WORD(TAIL))
    }
    assert(firsts == 0 || sequence[FIRST] == sequence[TAIL]); /* no item is left lying */
#ifdef FOLLOW
    assert(seconds == 0 || !IS_READY_SECOND);
#else
    assert(seconds == 0 || sequence[SECOND] == sequence[TAIL]);
#endif
    assert(producers == 0 || !HAS_ROOM) /* and no room */
  }
}

init {
  byte each;
  atomic {
    for (each : 0 .. PROCESSES - 1) {
      left[each] = (ROLE(each) == TAIL -> PUTS : (ROLE(each) == FIRST -> GETS_FIRST : GETS_SECOND));
      is_locked[each] = true; is_alive[each] = true;
      run Process(each, ROLE(each))
    }
    for (each : 0 .. CAPACITY - 1) {
      if :: each < PREFILLED -> slot[each] = each + 1 :: else fi
    }
    sequence[TAIL] = PREFILLED
  }
}
