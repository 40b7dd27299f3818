/* The world that is explored: actors, the processes that they belong to, a simulated kernel, and the
 * account of the items. All of it that can change is in `world`, `views`, the live part of the actors'
 * stacks and the used part of the arena: together they are a state.
 */
#ifndef EXPLORED_WORLD_H
#define EXPLORED_WORLD_H

#include "layout.h"

#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>

enum {
  EX_ACTORS = 4,    /* threads of control that are scheduled */
  EX_DIRECT = 4,    /* and one that runs by itself: sets up, and looks after the end */
  EX_PROCESSES = 6, /* 0 to 3: of the actors; then one that may be dead from the start; the auditor */
  EX_VICTIM = 4,
  EX_AUDITOR = 5,
  EX_SEATS = 6,
  EX_ITEMS = 32,      /* that may ever be put in a schedule */
  EX_BATCH = 4,       /* at once */
  EX_BLOCKS = 4,      /* descriptors that are part of a state */
  EX_GROUPS = 3,      /* of a stream */
  EX_ENDS = 4 + EX_GROUPS,
  EX_ROWS = 3, /* of holds, writers and pinners that are part of a state */
  EX_BUFFERED = 24,   /* stores of an actor that the others don't see yet */
  EX_STACK_BYTES = 32768,
  EX_BELOW = 3072, /* of which an actor may use so much from one point to the next */
};

#define EX_START_NS UINT64_C(1000000000000)
#define EX_FOREVER UINT64_MAX

typedef enum { EX_UNBORN, EX_READY, EX_ASLEEP, EX_STOPPED, EX_DONE, EX_DEAD } ex_status;

/* What an actor is about to do: how far others can tell. */
typedef enum {
  EX_FREE,   /* nobody can: no point of the schedule */
  EX_LONELY, /* only who comes after its death can: it may be killed here */
  EX_SHARED, /* everybody can */
} ex_class;

typedef enum { EX_NOTHING, EX_PUT, EX_TAKE, EX_JOIN, EX_POLL, EX_OPEN } ex_deed;

/* The call that an actor is in, as its caller sees it. */
typedef struct {
  uint8_t deed;
  uint8_t count;     /* PUT: items; TAKE: how many at most */
  uint8_t committed; /* PUT: of these, how many the tail has passed */
  uint8_t taken;     /* TAKE: how many the head has passed */
  uint8_t group;     /* TAKE: which group's head that is, plus one; 0: of a queue */
  uint32_t from;     /* sequence of the first of those */
  uint32_t items[EX_BATCH];
} ex_call;

/* A store that its actor has made and nobody else sees. */
typedef struct {
  uint32_t offset;
  uint8_t size;
  uint8_t is_release;
  uint16_t fences; /* release fences before it */
  uint64_t value;
} ex_buffered;

/* What an actor asks for: an access to shared memory, or something of the kernel. */
typedef enum {
  ASK_NOTHING, ASK_LOAD, ASK_STORE, ASK_EXCHANGE, ASK_ADD, ASK_OR, ASK_AND, ASK_CAS, ASK_SLEEP, ASK_AWAKE,
  ASK_WAKE, ASK_LOCK, ASK_IS_LOCKED, ASK_UNLOCK, ASK_ALLOCATE, ASK_SIGNAL, ASK_DRAIN, ASK_POLL,
  ASK_HOLE
} ex_ask_kind;

typedef struct {
  uint8_t kind; /* ex_ask_kind */
  uint8_t size; /* of the word */
  uint8_t order;
  volatile void *at;
  uint64_t value, other; /* CAS: what is expected; SLEEP: until when; ALLOCATE: length */
} ex_request;

typedef struct {
  uint8_t *stack_pointer;
  uint8_t status;  /* ex_status */
  uint8_t process;
  uint8_t pending; /* ex_class of what it does next */
  uint8_t only_looks; /* what it does next leaves no trace: no need to kill it before that */
  uint8_t is_reborn;
  uint8_t serial;  /* of the last item that it put */
  uint8_t is_timed; /* its call has a deadline */
  uint8_t rank;     /* how many slept on the same word before it */
  uint8_t pinned;   /* the block that it views, plus one */
  uint8_t works_for; /* the group of which it holds items, plus one */
  uint32_t held;    /* the first of them: taken and not finished */
  int32_t sleep_result;
  uint32_t bitset; /* of its sleep */
  ex_request request;
  uint32_t *sleeps_on; /* futex word; NULL: the poll descriptor */
  uint64_t until_ns;   /* EX_FOREVER: no bound */
  uint64_t now_ns;     /* its clock: nothing compares those of two actors */
  void (*program)(void);
  void *waiter; /* of its call */
  ex_call call;
  uint16_t fences;
  uint16_t buffered_count;
} ex_actor;

/* What is known of a group of a stream. */
typedef struct {
  uint32_t begin, head; /* where it was opened, and where it is */
  uint32_t received, lost, lapped;
} ex_group;

typedef struct {
  ex_actor actors[EX_ACTORS + 1];
  uint8_t is_alive[EX_PROCESSES];
  uint8_t lock_of_seat[EX_SEATS]; /* process + 1 */
  uint8_t lock_is_anchored[EX_PROCESSES];
  uint8_t holder[EX_ENDS]; /* of tail, pool, done, head, groups: actor + 1 that is inside */
  uint8_t kills, expiries;
  uint8_t is_readable; /* the poll descriptor */
  uint8_t descriptors_backed;
  uint64_t slots_backed; /* a bit for each 32 bytes, in a ring of regions */
  uint64_t pool_backed;  /* a bit for each page */
  /* The account: what each sequence holds, and what became of it. */
  uint32_t item_of[EX_ITEMS];
  uint32_t tail, head; /* of a stream: its floor */
  uint32_t received, lost;
  ex_group groups[EX_GROUPS];
} ex_world;

static ex_world world;
static ex_buffered buffers[EX_ACTORS][EX_BUFFERED]; /* used where memory is weak */
static uint8_t *arena;
static ex_actor *running = &world.actors[EX_DIRECT];

static inline uint32_t ex_index(const ex_actor *actor) { return (uint32_t)(actor - world.actors); }
static inline ex_buffered *ex_buffers(const ex_actor *actor) { return buffers[ex_index(actor)]; }
static inline int ex_is_direct(void) { return running == &world.actors[EX_DIRECT]; }

/* How the run is bounded, and what it found. */
static struct {
  int kills, expiries, preemptions; /* -1: no bound */
  int every_access, weak, tracing;
  char violation[400];
} options = {.preemptions = -1};

/* Notes what is wrong; the search stops at the end of the step. The first one counts. */
static void __attribute__((format(printf, 1, 2))) ex_violation(const char *text, ...);

#endif
