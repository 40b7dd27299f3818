/* The descriptor that polls readable while there is something to take (poll.h).
 *
 * One taker sleeps in poll(), and then takes without a limit: it must find an item. With EAGER it takes
 * an item as well before the descriptor tells of it. Taking an end's
 * owner word, from the dead as well, is one step here: queue.pml is about that. After a kill the
 * descriptor may be readable for nothing once, and a poller may sleep on until somebody attaches.
 *
 * Broken twins: WRITE_BEFORE_COMMIT, NOT_SETTLED_FIRST, NO_UNSETTLED, SETTLE_WITHOUT_WORD,
 * NO_SETTLE_ON_ATTACHING.
 */

#define PROCESSES (PUTTERS + 2)
#define POLLER PUTTERS
#define LAST (PROCESSES - 1)

#define TAIL 0
#define HEAD 1

#define TAG(seat) (((seat) + 1) | generation[seat] << 3)
#define SEAT(word) (((word) & 7) - 1)
#define IS_DEAD(word) (generation[SEAT(word)] != (word) >> 3 || !is_locked[SEAT(word)])

byte owner[2];
byte sequence[2];
bool is_armed, is_unsettled; /* of the tail's state */
bool is_readable;            /* the eventfd's count is not 0 */
byte generation[PROCESSES];
bool is_locked[PROCESSES];

byte kills = KILLS;
byte for_nothing;            /* how often the poller found nothing */
byte left[PROCESSES];

#define KILL_POINT if :: kills > 0 -> kills--; goto killed :: true fi
#define ACQUIRE(end) \
  atomic { owner[end] == 0 || IS_DEAD(owner[end]) -> KILL_POINT; owner[end] = TAG(me) }

#ifdef NO_UNSETTLED
#define UNSETTLED(value) skip
#else
#define UNSETTLED(value) is_unsettled = value
#endif

/* shmq_poll_signal */
#define SIGNAL \
  atomic { KILL_POINT; UNSETTLED(true) } \
  atomic { KILL_POINT; is_readable = true } /* write() */ \
  atomic { KILL_POINT; is_armed = false; is_unsettled = false }

/* shmq_poll_settle */
#define SETTLE \
  if \
  :: atomic { sequence[HEAD] != sequence[TAIL] -> KILL_POINT } SIGNAL \
  :: atomic { sequence[HEAD] == sequence[TAIL] -> KILL_POINT; is_armed = true; UNSETTLED(true) } \
     atomic { KILL_POINT; is_readable = false } /* read() */ \
     atomic { KILL_POINT; is_unsettled = false } \
  fi

#define DIE atomic { seen = 0; was_armed = false; left[me]--; is_locked[me] = false }
#define LIVE_AGAIN \
  atomic { is_locked[me] = true } \
  atomic { generation[me]++ }

proctype Putter(byte me) {
  byte seen;
  bool was_armed;
again:
  ACQUIRE(TAIL);
  atomic { /* load_relaxed of the state; it may be full */
    KILL_POINT;
    if
    :: was_armed = is_armed
    :: owner[TAIL] = 0; goto again
    fi
  }
#ifdef WRITE_BEFORE_COMMIT
  if :: was_armed -> SIGNAL :: else fi;
#endif
  atomic { KILL_POINT; sequence[TAIL]++ } /* the commit */
#ifndef WRITE_BEFORE_COMMIT
  if :: was_armed -> SIGNAL :: else fi;
#endif
  atomic {
    KILL_POINT;
    owner[TAIL] = 0; was_armed = false; left[me]--;
    if :: left[me] > 0 -> goto again :: else -> goto finished fi
  }
killed:
  DIE;
  if
  :: left[me] > 0 -> LIVE_AGAIN goto again
  :: true
  fi;
finished:
  skip
}

proctype Poller(byte me) {
  byte seen;
  bool was_armed;
again:
#ifdef EAGER
  if
  :: is_readable
  :: atomic { sequence[HEAD] != sequence[TAIL] }
  fi;
#else
  is_readable; /* poll() */
#endif
  ACQUIRE(HEAD);
  atomic { /* load_acquire of the tail */
    KILL_POINT;
    if
    :: sequence[HEAD] == sequence[TAIL] ->
       for_nothing++;
       assert(for_nothing <= KILLS - kills); /* as often as somebody was killed */
       owner[HEAD] = 0; goto tidy
    :: else
    fi
  }
  atomic { KILL_POINT; sequence[HEAD]++ } /* the commit */
  atomic { KILL_POINT; owner[HEAD] = 0 }

tidy: /* shmq_poll_is_settled: tail, head, owner, state */
  atomic { KILL_POINT; seen = sequence[TAIL] }
  atomic { KILL_POINT; if :: sequence[HEAD] != seen -> seen = 0; goto again :: else -> seen = 0 fi }
#ifndef NOT_SETTLED_FIRST
  atomic { KILL_POINT; if :: owner[TAIL] != 0 -> goto settle :: else fi }
#endif
  atomic { KILL_POINT; if :: is_armed && !is_unsettled -> goto again :: else fi }
settle: /* shmq_end_do */
#ifdef SETTLE_WITHOUT_WORD
  SETTLE;
#else
  ACQUIRE(TAIL);
  SETTLE;
  atomic { KILL_POINT; owner[TAIL] = 0 }
#endif
  goto again;

killed:
  DIE;
  if
  :: LIVE_AGAIN goto settle /* begin_to_poll, of one who attaches */
  :: true
  fi
}

/* When nothing happens any more, somebody attaches (shmq_sweep_after_the_dead), if anybody was killed;
 * and then nobody who lives sleeps beside an item. */
proctype Attacher(byte me) {
  byte seen;
  bool was_armed;
  timeout;
  if
  :: kills < KILLS ->
     ACQUIRE(TAIL);
#ifndef NO_SETTLE_ON_ATTACHING
     SETTLE;
#endif
     atomic { KILL_POINT; owner[TAIL] = 0 }
     timeout
  :: else
  fi;
  assert(!is_locked[POLLER] || sequence[HEAD] == sequence[TAIL]);
killed: /* it is not */
  skip
}

init {
  byte each;
  atomic {
    is_armed = true;
    for (each : 0 .. LAST) {
      is_locked[each] = true; generation[each] = 1;
      if
      :: each < PUTTERS -> left[each] = PUTS; run Putter(each)
      :: each == POLLER -> left[each] = 9; run Poller(each)
      :: else -> run Attacher(each)
      fi
    }
  }
}
