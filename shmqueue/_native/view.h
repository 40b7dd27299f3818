/* A process's own record of a segment that it has mapped.
 *
 * Every address and every bound that the protocol uses comes from here, never from the segment:
 * whoever scribbles over a header gets an error out of us, not an access outside the mapping.
 */
#ifndef SHMQ_VIEW_H
#define SHMQ_VIEW_H

#include "atomics.h"
#include "layout.h"

#include <sys/types.h>
#include <time.h>

/* What an attempt may answer. The negative ones are failures, the others are states of the ring. */
typedef enum {
  SHMQ_OK = 0,
  SHMQ_FULL = 1,        /* no room for the item or the batch */
  SHMQ_EMPTY = 2,       /* nothing to take */
  SHMQ_BUSY = 3,        /* another holds the owner word */
  SHMQ_NEED = 4,        /* the caller's buffer is too small: see shmq_taken.length */
  SHMQ_TIMEOUT = 5,     /* the deadline passed */
  SHMQ_INTERRUPTED = 6, /* a signal came in: look at it, then wait on */
  SHMQ_CLOSED = 7,      /* the handle was closed meanwhile */
  SHMQ_SHUTDOWN = 8,    /* the queue was shut down: nothing more to put, or to take */
  SHMQ_UNFINISHED = 9,  /* items without their task_done */
  SHMQ_GROW = 10,       /* the ring needs more memory for it */
  SHMQ_ASK = 11,        /* more memory than the caller has allowed: see shmq_reserve */
  SHMQ_RENEW = 12,      /* the group is not as this consumer knows it: see shmq_reader_renew */
  SHMQ_GONE = 13,       /* the group was removed */
  SHMQ_NO_MEMORY = -1,  /* shared memory is exhausted */
  SHMQ_CORRUPT = -2,    /* the segment contradicts itself */
  SHMQ_FOREIGN = -3,    /* not one of ours */
  SHMQ_TRUNCATED = -4,
  SHMQ_VERSION = -5,
  SHMQ_WRONG_BYTE_ORDER = -6,
  SHMQ_NO_SEAT = -7,
  SHMQ_SYSTEM = -8, /* errno says */
} shmq_status;

/* What one side of the ring remembers between calls. Guarded by the end's owner word: only whoever
 * holds it for this process reads or writes these. */
typedef struct {
  uint64_t gate_sequence; /* the other end, as last seen: it only grows, so old is safe */
  uint64_t next_sequence; /* `next_slot` is the slot of this sequence */
  uint8_t *next_slot;     /* NULL: not known yet */
  uint64_t room_end;      /* tail in regions: up to here a slot may end, if `next_slot` is right */
  time_t second;          /* head only: when last_get_ns was stored last */
} shmq_cursor;

/* A consumer of a group, as far as its process is concerned. The cursor is guarded by the owner word
 * of the group's head; the rest is changed by one thread at a time, between two takes. */
typedef struct {
  shmq_cursor cursor;
  shmq_end *head;
  uint64_t epoch;      /* of the process that it was made, or renewed, in */
  uint32_t group;
  uint32_t state;      /* of the head, as it must be: another is another group */
  uint32_t may_lapse;  /* the policy is not to block */
  uint32_t is_behind;  /* it comes after other groups */
  uint32_t takes_more; /* what it takes now comes to what it holds already: a batch goes on */
  uint32_t pinner;     /* SHMQ_NO_PINNER, or its number among those who view large items */
  shmq_hold *hold;     /* NULL: nobody comes after the group, so a take finishes its items */
} shmq_reader;

#define SHMQ_NO_PINNER UINT32_MAX

typedef struct {
  uint8_t *base;
  uint64_t mapped_bytes;
  uint64_t capacity;
  uint64_t item_size;
  uint64_t slot_bytes;
  uint64_t slot_payload_bytes;
  uint64_t pool_limit_bytes;
  uint64_t views_offset; /* in the file, these: what fallocate needs */
  uint64_t blocks_offset;
  uint64_t pool_offset;
  shmq_header *header;
  shmq_end *ends;
  shmq_class *classes;
  shmq_seat *seats;
  shmq_views *views;
  uint8_t *slots;
  shmq_block *blocks;
  uint8_t *pool;
  uint64_t slots_bytes;
  uint64_t slots_offset;
  uint64_t seats_offset;
  shmq_region *regions;
  shmq_stream *stream;   /* NULL: a queue, whose consumers share head 0 */
  uint32_t region_count; /* 0: a slot has its place by its sequence */
  uint32_t max_seats;
  uint32_t max_blocks;
  uint32_t ungrouped;

  /* Who this process is here: replaced in a forked child, see seats.h. */
  uint64_t tag;
  shmq_seat *seat;
  uint32_t seat_index;
  void *anchor; /* the page that keeps the seat's lock */
  uint64_t epoch;
  const uint64_t *epoch_word; /* reads as `epoch` in the process that took the seat */
  int fd;      /* to ask for locks, to reserve memory; holds no lock itself */
  int poll_fd; /* an eventfd that all processes share, or -1 (poll.h) */
  ino_t poll_inode;
  dev_t device;
  ino_t inode;

  uint32_t trim_is_due; /* the ring left a region, whose memory should go back */
  uint32_t known_blocks; /* descriptors that have memory, as far as was asked */
  uint32_t known_views;  /* rows of views that have memory, as far as was asked */
  uint64_t asked_bytes; /* what was wanted when reserving last answered ASK */
  uint64_t pool_left_bytes; /* what the last trim of the pool left backed */
  uint64_t settled_ns;      /* when a flow's pool was trimmed last */
  shmq_views *own_views; /* this process's row, once it has one: views.h */
  uint8_t *lent_pool;         /* the pool once more, for the user's objects: loans.h; or NULL */
  uint64_t view_limit_bytes;  /* more than this is not lent to all processes together */
  uint32_t remapped_loans;    /* those whose memory there is not the pool's any more */
  uint32_t lends_no_more;     /* one of them could not be mapped back */
  int64_t allowance_bytes; /* that may be reserved before the caller is asked again */
  uint64_t mark_exact_from; /* the high-water mark below it is a sample: saves a shared line */
  uint32_t takes_from;         /* 1 + the group that this process took from first; 0: none yet */
  uint32_t takes_from_several; /* and from others: then several of its threads may take at once */
  uint32_t spins_in_vain; /* how often in a row polling was not worth it lately */
  uint32_t yields_left_out; /* so many are left out before the next one */
  uint32_t long_yields;     /* how many in a row took long */
  uint64_t spin_ns; /* how long to poll before sleeping; 0 where there is one core */

  _Alignas(SHMQ_LINE) shmq_cursor producer;
  _Alignas(SHMQ_LINE) shmq_cursor consumer;
} shmq_view;

static inline void shmq_cursor_forget(shmq_cursor *cursor) {
  shmq_cursor unknown = {0, UINT64_MAX, NULL, 0, 0};
  *cursor = unknown;
}

static inline void shmq_view_forget_cursors(shmq_view *view) {
  shmq_cursor_forget(&view->producer);
  shmq_cursor_forget(&view->consumer);
}

/* Is this header one that this build made, and does it add up? `file_bytes` is the file's size. */
static inline shmq_status shmq_header_check(const shmq_header *header, uint64_t file_bytes) {
  shmq_header plan;
  if (file_bytes < sizeof(header->magic)) return SHMQ_FOREIGN;
  /* relaxed: the segment got its name after it was complete, so whoever could open it sees it. */
  uint64_t magic = load_relaxed(&header->magic);
  if (magic == __builtin_bswap64(SHMQ_MAGIC)) return SHMQ_WRONG_BYTE_ORDER;
  if (magic != SHMQ_MAGIC) return SHMQ_FOREIGN;
  if (file_bytes < sizeof(shmq_header)) return SHMQ_TRUNCATED;
  if (header->byte_order != SHMQ_BYTE_ORDER) return SHMQ_WRONG_BYTE_ORDER;
  if (header->layout_version != SHMQ_LAYOUT_VERSION) return SHMQ_VERSION;
  plan = *header;
  if (shmq_header_checksum(plan) != plan.checksum) return SHMQ_CORRUPT;
  if (!shmq_plan(&plan, header->capacity, header->item_size, header->max_seats,
                 header->pool_limit_bytes, header->region_count, header->stream_offset != 0) ||
      memcmp(&plan, header, offsetof(shmq_header, checksum)) != 0)
    return SHMQ_CORRUPT;
  if (file_bytes < header->segment_bytes) return SHMQ_TRUNCATED;
  return SHMQ_OK;
}

/* Fills in the record for a mapping whose header was checked (`header`: a private copy of it). */
static inline void shmq_view_set(shmq_view *view, uint8_t *base, const shmq_header *header) {
  view->base = base;
  view->mapped_bytes = header->segment_bytes;
  view->capacity = header->capacity;
  view->item_size = header->item_size;
  view->slot_bytes = header->slot_bytes;
  view->slot_payload_bytes = header->region_count > 0 ? header->item_size
                                                      : header->slot_bytes - sizeof(shmq_slot);
  view->slots_offset = header->slots_offset;
  view->seats_offset = header->seats_offset;
  view->slots_bytes = header->region_count > 0 ? shmq_region_start(header->region_count)
                                               : header->capacity * header->slot_bytes;
  view->regions = (shmq_region *)(base + header->regions_offset);
  view->region_count = header->region_count;
  view->stream = header->stream_offset == 0 ? NULL : (shmq_stream *)(base + header->stream_offset);
  view->ungrouped = header->ungrouped;
  view->pool_limit_bytes = header->pool_limit_bytes;
  view->views_offset = header->views_offset;
  view->blocks_offset = header->blocks_offset;
  view->pool_offset = header->pool_offset;
  view->header = (shmq_header *)base;
  view->ends = (shmq_end *)(base + header->ends_offset);
  view->classes = (shmq_class *)(base + header->classes_offset);
  view->seats = (shmq_seat *)(base + header->seats_offset);
  view->views = (shmq_views *)(base + header->views_offset);
  view->slots = base + header->slots_offset;
  view->blocks = (shmq_block *)(base + header->blocks_offset);
  view->pool = base + header->pool_offset;
  view->max_seats = header->max_seats;
  view->max_blocks = header->max_blocks;
  view->mark_exact_from = header->capacity / 16 < 1024 ? header->capacity / 16 : 1024;
  shmq_view_forget_cursors(view);
}

static inline uint8_t *shmq_slot_at(const shmq_view *view, uint64_t sequence) {
  return view->slots + sequence % view->capacity * view->slot_bytes;
}

#endif
