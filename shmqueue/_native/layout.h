/* Every byte of a segment, written once.
 *
 *   0        header      identity and geometry; written before the segment has a name, then constant
 *   +256     ends        tail, pool, done, then SHMQ_MAX_HEADS heads: 128 bytes each
 *   ...      classes     hints of the pool, one for each size of block
 *   ...      regions     how much of each region of a growing ring is backed
 *   ...      stream      groups, what their consumers hold, writers: of a ring with many heads
 *   ...      type        of all items, as text: of a ring whose items are of one type
 *   ...      seats       max_seats of 192 bytes: one for each attached process
 *   (page)   slots       the ring: capacity cells of slot_bytes           [reserved up to here],
 *                        or regions in which it grows (regions.h)         [sparse]
 *   (page)   views       who uses how much of the pool: one for each seat  [sparse from here on:
 *   (page)   blocks      descriptors of the blocks of large items           reserved before use]
 *   (page)   pool        the blocks themselves
 *
 * Offsets, never pointers. Nothing read from here is used as an address or a length before it was
 * compared with the process's own record of the mapping (see ring.h and blocks.h).
 *
 * A change of any offset or meaning is a new SHMQ_LAYOUT_VERSION.
 */
#ifndef SHMQ_LAYOUT_H
#define SHMQ_LAYOUT_H

#include <stddef.h>
#include <stdint.h>

#define SHMQ_MAGIC UINT64_C(0x45554555514d4853) /* "SHMQUEUE" as a little-endian machine stores it */
#define SHMQ_LAYOUT_VERSION 5u
#define SHMQ_BYTE_ORDER 0x01020304u
#define SHMQ_LINE 64u
#define SHMQ_PAGE 4096u
#define SHMQ_MAX_GROUPS 64u
#define SHMQ_MAX_HEADS (1u + SHMQ_MAX_GROUPS)
#define SHMQ_MAX_HOLDS 256u   /* consumers at once in groups that others come after */
#define SHMQ_MAX_WRITERS 256u /* registered at once */
#define SHMQ_MAX_PINNERS 128u /* consumers at once that view large items of a stream */
#define SHMQ_GROUP_NAME 64u
#define SHMQ_MAX_TYPE_BYTES 65535u
#define SHMQ_MAX_SEATS 4095u
#define SHMQ_SIZE_CLASSES 96u
#define SHMQ_MAX_BLOCKS (1u << 24)
#define SHMQ_MAX_REGIONS 32u
#define SHMQ_FIRST_REGION (UINT64_C(1) << 20) /* bytes; each further region is twice as large */
#define SHMQ_FIRST_BACKED (UINT64_C(1) << 16) /* of which so many are reserved from the start */
#define SHMQ_SERIALIZER_NAME 64u
#define SHMQ_RECORD_ALIGNMENT 32u /* of the slots in regions */
#define SHMQ_UNBOUNDED (UINT64_C(1) << 62) /* a capacity that memory alone bounds */
#define SHMQ_MAX_ITEM_SIZE (UINT64_C(1) << 31) /* of a slot; larger items go through blocks */
/* Seat i holds the kernel's lock on this byte + i; far beyond the end of any segment. */
#define SHMQ_LOCK_OFFSET (INT64_C(1) << 56)

typedef struct {
  uint64_t magic;
  uint32_t layout_version;
  uint32_t byte_order;
  uint8_t uuid[16];
  uint64_t segment_bytes;
  uint64_t capacity;
  uint64_t item_size;
  uint64_t slot_bytes;
  uint64_t ends_offset;
  uint64_t classes_offset;
  uint64_t seats_offset;
  uint64_t slots_offset;
  uint64_t blocks_offset;
  uint64_t pool_offset;
  uint64_t pool_limit_bytes;
  uint64_t regions_offset;
  char serializer_name[SHMQ_SERIALIZER_NAME];
  uint32_t region_count;
  uint32_t serializer;
  uint32_t max_seats;
  uint32_t max_blocks;
  uint64_t created_realtime_ns;
  uint64_t views_offset;
  uint64_t stream_offset;
  uint32_t ungrouped;
  uint32_t type_bytes;
  uint32_t type_offset;
  uint32_t checksum;
  uint32_t seats_granted;
  uint8_t reserved[4];
} shmq_header;

/* Where the item of a sequence begins, in a ring of regions. */
typedef struct {
  uint64_t sequence;
  uint64_t position;
} shmq_place;

/* One end of the ring. The first line belongs to whoever moves the end, the second to sleepers. */
typedef struct {
  uint64_t owner;
  uint64_t sequence;
  uint64_t high_water_mark;
  uint32_t reserved0;
  uint32_t state;
  shmq_place place[2];
  uint32_t bell;
  uint32_t bell_classes;
  uint64_t batch_wake_sequence;
  uint64_t viewed_bytes;
  uint64_t viewed_blocks;
  uint64_t view_rows;
  uint64_t passed;
  uint8_t reserved1[16];
} shmq_end;

typedef struct {
  uint32_t last_freed;
  uint32_t next_probe;
  uint64_t free_count;
} shmq_class;

typedef struct {
  uint64_t backed;
  uint64_t dirty;
  uint64_t entered;
  uint8_t reserved[8];
} shmq_region;

/* A group of a stream: what is constant while it is open (groups.h). */
typedef struct {
  uint64_t after;
  uint64_t subscriber;
  uint64_t keep_ns;
  uint64_t joined_sequence;
  uint32_t policy;
  uint32_t name_bytes;
  uint64_t opened_ns;
  uint64_t blocked_full_ns;
  uint8_t reserved[8];
  char name[SHMQ_GROUP_NAME];
} shmq_group;

/* What one consumer of a group that others come after has taken and not finished. */
typedef struct {
  uint64_t tag;
  uint64_t sequence;
  uint64_t group;
  uint8_t reserved[40];
} shmq_hold;

/* What a ring with many heads has beside its ends. */
typedef struct {
  uint64_t open;
  uint64_t lagging;
  uint64_t dropping;
  uint64_t followed;
  uint64_t large_until;
  uint64_t writers_begun;
  uint32_t left_behind;
  uint32_t holds_granted;
  uint8_t reserved[8];
  shmq_group groups[SHMQ_MAX_GROUPS];
  shmq_hold holds[SHMQ_MAX_HOLDS];
  uint64_t writers[SHMQ_MAX_WRITERS];
  uint64_t pinners[SHMQ_MAX_PINNERS];
} shmq_stream;

/* Line 0 is written under the tail's owner word, line 1 under a head's, line 2 on attaching. */
typedef struct {
  uint64_t items_put;
  uint64_t bytes_put;
  uint64_t blocked_full_count;
  uint64_t blocked_full_ns;
  uint64_t last_put_ns;
  uint64_t takeovers;
  uint64_t generation;
  uint32_t pid;
  uint32_t reserved0;
  uint64_t items_got;
  uint64_t bytes_got;
  uint64_t blocked_empty_count;
  uint64_t blocked_empty_ns;
  uint64_t last_get_ns;
  uint64_t attached_ns;
  uint64_t start_ticks;
  uint64_t base_takeovers;
  uint64_t base[8];
} shmq_seat;

/* What the process of a seat does with large items that it got. */
typedef struct {
  uint64_t bytes;
  uint64_t blocks;
  uint64_t items_viewed;
  uint64_t items_copied;
  uint64_t base_viewed;
  uint64_t base_copied;
  uint8_t reserved[16];
} shmq_views;

typedef struct {
  uint64_t stamp;
  uint64_t put_ns;
  uint32_t length;
  uint16_t kind;
  uint16_t flags;
} shmq_slot;

/* What a slot holds that only says where to go on: the payload of a jump. */
typedef struct {
  uint64_t target;
} shmq_jump;

/* What a slot holds in place of a payload that lives in a block. */
typedef struct {
  uint32_t block;
  uint32_t reserved;
  uint64_t length;
} shmq_block_ref;

typedef struct {
  uint64_t state;
  uint64_t sequence;
  uint64_t offset;
  uint32_t pages;
  uint32_t backed;
  uint64_t slot_position;
  uint64_t pins[SHMQ_MAX_PINNERS / 64];
  uint8_t reserved[8];
} shmq_block;

/* Indices into the table of ends. */
enum {
  SHMQ_END_TAIL = 0,
  SHMQ_END_POOL = 1,
  SHMQ_END_DONE = 2, /* how many items task_done was called for */
  SHMQ_END_HEAD0 = 3,
  SHMQ_ENDS = 3 + SHMQ_MAX_HEADS
};

/* shmq_end.state: bits, changed under the end's owner word only. */
enum {
  SHMQ_END_UNUSED = 0,
  SHMQ_END_OPEN = 1,
  SHMQ_END_SHUT = 2,   /* moves no more: nothing is put, or nothing is taken */
  SHMQ_END_POLLED = 4, /* head: who empties the ring sees to the poll descriptor */
  SHMQ_END_ARMED = 8,  /* tail: whoever puts next makes the poll descriptor readable */
  SHMQ_END_UNSETTLED = 16, /* tail: armed, but the descriptor may be readable still */
  SHMQ_END_FOLLOWED = 32,  /* head of a group: others come after it */
  SHMQ_END_WRITTEN = 64    /* tail: writers have registered; when they are gone it is shut */
};
#define SHMQ_END_BITS 0xFFu     /* above them, of a group's head: how often it was opened */
#define SHMQ_END_OPENING 0x100u

/* shmq_group.policy: what becomes of items that a group has not taken when there is no room. */
enum {
  SHMQ_POLICY_BLOCK = 0, /* they stay: producers wait */
  SHMQ_POLICY_LAG = 1,   /* they are lost to the group, which is told how many */
  SHMQ_POLICY_DROP = 2   /* they stay until they are `keep_ns` old, and are lost to it then */
};

/* shmq_header.ungrouped: what becomes of items while there is no group, once the ring is full. */
enum { SHMQ_UNGROUPED_HOLD = 0, SHMQ_UNGROUPED_DROP = 1 };

/* shmq_slot.flags */
enum { SHMQ_SLOT_IN_BLOCK = 1, SHMQ_SLOT_JUMP = 2 };

#define SHMQ_AT(type, field, offset)                                             \
  _Static_assert(offsetof(type, field) == (offset),                              \
                 #type "." #field " moved: that is a new SHMQ_LAYOUT_VERSION")
#define SHMQ_SIZE(type, size) \
  _Static_assert(sizeof(type) == (size), #type " grew: that is a new SHMQ_LAYOUT_VERSION")

SHMQ_AT(shmq_header, magic, 0);
SHMQ_AT(shmq_header, layout_version, 8);
SHMQ_AT(shmq_header, byte_order, 12);
SHMQ_AT(shmq_header, uuid, 16);
SHMQ_AT(shmq_header, segment_bytes, 32);
SHMQ_AT(shmq_header, max_seats, 200);
SHMQ_AT(shmq_header, seats_granted, 248);
SHMQ_SIZE(shmq_header, 4 * SHMQ_LINE);
SHMQ_AT(shmq_end, owner, 0);
SHMQ_AT(shmq_end, sequence, 8);
SHMQ_AT(shmq_end, place, SHMQ_LINE / 2);
SHMQ_AT(shmq_end, bell, SHMQ_LINE);
SHMQ_SIZE(shmq_end, 2 * SHMQ_LINE);
SHMQ_SIZE(shmq_class, 16);
SHMQ_SIZE(shmq_region, 32);
SHMQ_AT(shmq_seat, items_put, 0);
SHMQ_AT(shmq_seat, items_got, SHMQ_LINE);
SHMQ_AT(shmq_seat, base, 2 * SHMQ_LINE);
SHMQ_SIZE(shmq_seat, 3 * SHMQ_LINE);
SHMQ_SIZE(shmq_views, SHMQ_LINE);
SHMQ_SIZE(shmq_group, 2 * SHMQ_LINE);
SHMQ_SIZE(shmq_hold, SHMQ_LINE);
SHMQ_AT(shmq_stream, groups, SHMQ_LINE);
SHMQ_AT(shmq_slot, stamp, 0);
SHMQ_SIZE(shmq_slot, 24);
SHMQ_SIZE(shmq_block_ref, 16);
SHMQ_AT(shmq_block, state, 0);
SHMQ_SIZE(shmq_block, SHMQ_LINE);

/* The field table: feeds the docs, the layout tests and whoever inspects a segment from outside. */
typedef struct {
  const char *structure;
  const char *field;
  uint32_t offset;
  uint32_t size;
  const char *meaning;
} shmq_field;

#define SHMQ_FIELD(structure, field, meaning)                              \
  {#structure, #field, (uint32_t)offsetof(shmq_##structure, field),        \
   (uint32_t)sizeof(((shmq_##structure *)0)->field), meaning}

static const shmq_field shmq_fields[] = {
    SHMQ_FIELD(header, magic, "what this file is; written last"),
    SHMQ_FIELD(header, layout_version, "version of everything below"),
    SHMQ_FIELD(header, byte_order, "0x01020304 as the creator stores it"),
    SHMQ_FIELD(header, uuid, "this very segment, not merely one of the same name"),
    SHMQ_FIELD(header, segment_bytes, "length of the file, sparse parts included"),
    SHMQ_FIELD(header, capacity, "slots of the ring"),
    SHMQ_FIELD(header, item_size, "payload bytes that every slot is sure to hold itself"),
    SHMQ_FIELD(header, slot_bytes, "distance between two slots; in regions, what it is a multiple of"),
    SHMQ_FIELD(header, ends_offset, "where the table of ends begins"),
    SHMQ_FIELD(header, classes_offset, "where the pool's size classes begin"),
    SHMQ_FIELD(header, seats_offset, "where the seats begin"),
    SHMQ_FIELD(header, slots_offset, "where the ring begins"),
    SHMQ_FIELD(header, blocks_offset, "where the block descriptors begin"),
    SHMQ_FIELD(header, pool_offset, "where the blocks begin"),
    SHMQ_FIELD(header, pool_limit_bytes, "how far the blocks may grow"),
    SHMQ_FIELD(header, regions_offset, "where the table of regions begins"),
    SHMQ_FIELD(header, serializer_name, "of a custom serializer: how attaching processes find it"),
    SHMQ_FIELD(header, region_count, "regions in which the ring grows; 0: capacity slots, reserved"),
    SHMQ_FIELD(header, serializer, "policy for objects: 1 cloudpickle, 2 multiprocessing, 3 custom, 4 bytes, 5 typed"),
    SHMQ_FIELD(header, max_seats, "processes that may be attached at once"),
    SHMQ_FIELD(header, max_blocks, "blocks that may exist"),
    SHMQ_FIELD(header, created_realtime_ns, "when it was made, CLOCK_REALTIME"),
    SHMQ_FIELD(header, views_offset, "where the table of views begins"),
    SHMQ_FIELD(header, stream_offset, "where a stream's table begins; 0: a queue, which has one head"),
    SHMQ_FIELD(header, ungrouped, "stream without groups: 0 holds what is put, 1 keeps the last of it"),
    SHMQ_FIELD(header, type_bytes, "length of the text that names the type of all items; 0: any items"),
    SHMQ_FIELD(header, type_offset, "where that text begins"),
    SHMQ_FIELD(header, checksum, "CRC-32 of the fields before it but for the magic"),
    SHMQ_FIELD(header, seats_granted, "seats that were ever granted: how far to look (grows)"),
    SHMQ_FIELD(end, owner, "who moves this end now: tag of a seat, and flags of sleepers"),
    SHMQ_FIELD(end, sequence, "next position; stored by the owner, release"),
    SHMQ_FIELD(end, high_water_mark, "tail: most items ever in the ring"),
    SHMQ_FIELD(end, state,
               "bits: 1 open, 2 shut down, 4 polled (head), 8 poll armed, 16 unsettled (tail), 32 followed"
               " (group), 64 written (tail); above 255, of a group: how often it was opened"),
    SHMQ_FIELD(end, place,
               "in regions: where `sequence` is; of a group: how many items it lost until then; the"
               " entry that names the sequence counts"),
    SHMQ_FIELD(end, bell, "futex word of those who wait for this end to move"),
    SHMQ_FIELD(end, bell_classes, "stream: bits of the futex's bitset that may sleep on the bell; 0: all alike"),
    SHMQ_FIELD(end, batch_wake_sequence, "hint: the position a sleeping batch waits for"),
    SHMQ_FIELD(end, viewed_bytes, "pool, a hint: the sum over the rows of views"),
    SHMQ_FIELD(end, viewed_blocks, "pool, a hint: the sum over the rows of views"),
    SHMQ_FIELD(end, view_rows, "pool: rows of views whose memory is reserved; grows"),
    SHMQ_FIELD(end, passed, "stream, head 0: no consumer begins below; it follows with `sequence`"),
    SHMQ_FIELD(class, last_freed, "hint: block of this size freed last, plus one"),
    SHMQ_FIELD(class, next_probe, "hint: where to look for a free block next"),
    SHMQ_FIELD(class, free_count, "hint: free blocks of this size"),
    SHMQ_FIELD(region, backed, "bytes that may be used; grows under the pool's owner word"),
    SHMQ_FIELD(region, dirty, "bytes that may have memory: stored before they get it"),
    SHMQ_FIELD(region, entered, "sequence of the first slot in it, the last time"),
    SHMQ_FIELD(seat, items_put, "by all who ever sat here; never reset"),
    SHMQ_FIELD(seat, bytes_put, "payload bytes, as encoded"),
    SHMQ_FIELD(seat, blocked_full_count, "calls that found the ring full and waited"),
    SHMQ_FIELD(seat, blocked_full_ns, "time they waited"),
    SHMQ_FIELD(seat, last_put_ns, "last put, CLOCK_MONOTONIC"),
    SHMQ_FIELD(seat, takeovers, "owner words taken from the dead"),
    SHMQ_FIELD(seat, generation, "who of those that sat here; grows with each grant"),
    SHMQ_FIELD(seat, pid, "for messages only; 0 when left in order"),
    SHMQ_FIELD(seat, items_got, "by all who ever sat here; never reset"),
    SHMQ_FIELD(seat, bytes_got, "payload bytes, as encoded"),
    SHMQ_FIELD(seat, blocked_empty_count, "calls that found the ring empty and waited"),
    SHMQ_FIELD(seat, blocked_empty_ns, "time they waited"),
    SHMQ_FIELD(seat, last_get_ns, "last get, CLOCK_MONOTONIC, to within a second"),
    SHMQ_FIELD(seat, attached_ns, "when the seat was granted, CLOCK_MONOTONIC"),
    SHMQ_FIELD(seat, start_ticks, "start time of the process, for messages only"),
    SHMQ_FIELD(seat, base_takeovers, "takeovers as it stood at the grant"),
    SHMQ_FIELD(seat, base, "the other counters at the grant: own = counter - base"),
    SHMQ_FIELD(views, bytes, "hint: of blocks that objects of the seat's process use now (loans.h)"),
    SHMQ_FIELD(views, blocks, "hint: how many those are"),
    SHMQ_FIELD(views, items_viewed, "large items handed over in place, by all who ever sat there"),
    SHMQ_FIELD(views, items_copied, "large items that could have been, but were copied out"),
    SHMQ_FIELD(views, base_viewed, "items_viewed as it stood at the seat's grant"),
    SHMQ_FIELD(views, base_copied, "items_copied as it stood at the seat's grant"),
    SHMQ_FIELD(group, after, "bits of the groups that must have finished an item before"),
    SHMQ_FIELD(group, subscriber, "tag of the seat with whose process it ends; 0: it has a name"),
    SHMQ_FIELD(group, keep_ns, "policy 2: how old an item may get before it is dropped"),
    SHMQ_FIELD(group, joined_sequence, "where it began"),
    SHMQ_FIELD(group, policy, "0 block, 1 lag, 2 drop"),
    SHMQ_FIELD(group, name_bytes, "length of the name"),
    SHMQ_FIELD(group, opened_ns, "when it was opened, CLOCK_MONOTONIC"),
    SHMQ_FIELD(group, blocked_full_ns, "how long producers have waited for it, together"),
    SHMQ_FIELD(group, name, "UTF-8"),
    SHMQ_FIELD(hold, tag, "seat of the consumer; 0: free"),
    SHMQ_FIELD(hold, sequence, "first item that it has taken and not finished; all ones: none"),
    SHMQ_FIELD(hold, group, "the group that it consumes for: how often it was opened, and its number"),
    SHMQ_FIELD(stream, open, "bits of the groups that there are"),
    SHMQ_FIELD(stream, lagging, "bits of those with policy 1"),
    SHMQ_FIELD(stream, dropping, "bits of those with policy 2"),
    SHMQ_FIELD(stream, followed, "bits of those that others come after"),
    SHMQ_FIELD(stream, large_until, "sequence behind the last item in a block"),
    SHMQ_FIELD(stream, writers_begun, "how many writers ever registered; under the tail's owner word"),
    SHMQ_FIELD(stream, left_behind, "hint: blocks that nobody freed when they were passed"),
    SHMQ_FIELD(stream, holds_granted, "rows of holds that were ever taken: how far to look (grows)"),
    SHMQ_FIELD(stream, groups, "the groups"),
    SHMQ_FIELD(stream, holds, "what consumers hold"),
    SHMQ_FIELD(stream, writers, "tags of the seats of registered writers"),
    SHMQ_FIELD(stream, pinners, "tags of the seats of consumers that view large items"),
    SHMQ_FIELD(slot, stamp, "2 * sequence + 1 while written, + 2 once it holds"),
    SHMQ_FIELD(slot, put_ns, "when it was put, CLOCK_MONOTONIC"),
    SHMQ_FIELD(slot, length, "payload bytes in this slot"),
    SHMQ_FIELD(slot, kind, "how the payload is encoded"),
    SHMQ_FIELD(slot, flags, "1: the payload is a block_ref; 2: a jump, no item"),
    SHMQ_FIELD(jump, target, "position at which the ring goes on"),
    SHMQ_FIELD(block_ref, block, "index of the descriptor"),
    SHMQ_FIELD(block_ref, length, "payload bytes in the block"),
    SHMQ_FIELD(block, state, "0 free, else tag of a seat and 1 held or 2 queued"),
    SHMQ_FIELD(block, sequence, "slot that referred to it last"),
    SHMQ_FIELD(block, offset, "from the start of the pool"),
    SHMQ_FIELD(block, pages, "size in pages of 4096 bytes"),
    SHMQ_FIELD(block, backed, "how many of them, from the first on, have memory reserved"),
    SHMQ_FIELD(block, slot_position, "where that slot is, from the start of the slots"),
    SHMQ_FIELD(block, pins, "stream: bits of the pinners that use it"),
};
#define SHMQ_FIELD_COUNT (sizeof(shmq_fields) / sizeof(shmq_fields[0]))

static inline uint64_t shmq_round_up(uint64_t value, uint64_t step) {
  return (value + step - 1) / step * step;
}

/* Where region `index` begins, from the start of the slots; that of the last one but one more is
 * the length of them all. */
static inline uint64_t shmq_region_start(uint32_t index) {
  return (SHMQ_FIRST_REGION << index) - SHMQ_FIRST_REGION;
}
static inline uint64_t shmq_region_bytes(uint32_t index) { return SHMQ_FIRST_REGION << index; }

/* Where everything stands, from the few numbers that were chosen: these, and header->type_bytes. 0 where
 * it doesn't add up.
 * `region_count` of 0: as many slots as `capacity`, each for `item_size`, all of them reserved. */
static inline int shmq_plan(shmq_header *header, uint64_t capacity, uint64_t item_size,
                            uint32_t max_seats, uint64_t pool_limit_bytes, uint32_t region_count,
                            int is_stream) {
  const uint64_t limit = UINT64_C(1) << 46; /* half of what a process can address */
  uint64_t payload = item_size < sizeof(shmq_block_ref) ? sizeof(shmq_block_ref) : item_size;
  uint64_t slot_bytes, slots_end, blocks;
  if (capacity < 1 || item_size < 1 || item_size > SHMQ_MAX_ITEM_SIZE || max_seats < 1 ||
      max_seats > SHMQ_MAX_SEATS || pool_limit_bytes > limit || region_count > SHMQ_MAX_REGIONS ||
      capacity > SHMQ_UNBOUNDED || shmq_region_start(region_count) > limit ||
      (is_stream && region_count > 0) || header->type_bytes > SHMQ_MAX_TYPE_BYTES)
    return 0;
  if (region_count > 0) {
    if (item_size > SHMQ_FIRST_BACKED / 4) return 0;
    slot_bytes = SHMQ_RECORD_ALIGNMENT;
  } else {
    slot_bytes = shmq_round_up(sizeof(shmq_slot) + payload, SHMQ_LINE);
    /* An odd number of lines: else consecutive slots would share a few sets of the cache. */
    if (slot_bytes >= 1024) slot_bytes |= SHMQ_LINE;
    if (capacity > limit / slot_bytes) return 0;
  }
  header->capacity = capacity;
  header->item_size = item_size;
  header->slot_bytes = slot_bytes;
  header->max_seats = max_seats;
  header->ends_offset = sizeof(shmq_header);
  header->classes_offset = header->ends_offset + SHMQ_ENDS * sizeof(shmq_end);
  header->regions_offset = header->classes_offset + SHMQ_SIZE_CLASSES * sizeof(shmq_class);
  header->region_count = region_count;
  header->seats_offset =
      shmq_round_up(header->regions_offset + region_count * sizeof(shmq_region), SHMQ_LINE);
  header->stream_offset = is_stream ? header->seats_offset : 0;
  if (is_stream) header->seats_offset += shmq_round_up(sizeof(shmq_stream), SHMQ_LINE);
  header->type_offset = header->type_bytes > 0 ? (uint32_t)header->seats_offset : 0;
  header->seats_offset += shmq_round_up(header->type_bytes, SHMQ_LINE);
  header->slots_offset =
      shmq_round_up(header->seats_offset + (uint64_t)max_seats * sizeof(shmq_seat), SHMQ_PAGE);
  slots_end = header->slots_offset + (region_count > 0 ? shmq_region_start(region_count)
                                                       : capacity * slot_bytes);
  slots_end = shmq_round_up(slots_end, SHMQ_PAGE);
  /* Enough for a ring full of large items and a few in every process's hands, for each of many
   * sizes: a block keeps its size, and items may grow. A descriptor costs nothing until it is used. */
  blocks = SHMQ_MAX_BLOCKS;
  if (capacity < blocks / 16) blocks = 16 * (capacity + 2 * (uint64_t)max_seats + 1024);
  if (blocks > SHMQ_MAX_BLOCKS) blocks = SHMQ_MAX_BLOCKS;
  header->max_blocks = (uint32_t)blocks;
  header->views_offset = slots_end;
  header->blocks_offset =
      shmq_round_up(slots_end + (uint64_t)max_seats * sizeof(shmq_views), SHMQ_PAGE);
  header->pool_offset =
      shmq_round_up(header->blocks_offset + blocks * sizeof(shmq_block), SHMQ_PAGE);
  header->pool_limit_bytes = pool_limit_bytes / SHMQ_PAGE * SHMQ_PAGE;
  header->segment_bytes = header->pool_offset + header->pool_limit_bytes;
  return 1;
}

/* CRC-32 (IEEE 802.3) of the header's constant fields. */
static inline uint32_t shmq_header_checksum(shmq_header header) {
  const uint8_t *bytes = (const uint8_t *)&header;
  uint32_t crc = UINT32_MAX;
  for (size_t i = offsetof(shmq_header, layout_version); i < offsetof(shmq_header, checksum); i++) {
    crc ^= bytes[i];
    for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (0xEDB88320u & (0u - (crc & 1u)));
  }
  return ~crc;
}

#endif
