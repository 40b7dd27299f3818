/* Blocks: where the payload of a large item lies, outside the ring, inside the segment.
 *
 * The pool grows through its address range; a block keeps its size, one of SHMQ_SIZE_CLASSES (four
 * steps to each doubling, in pages), until the range or the table is used up: then the last blocks
 * of the table are unmade, as far as they are free. Memory is reserved before it is touched, so that
 * a full /dev/shm is an error and not a SIGBUS.
 *
 * State of a block       word                 who may change it
 *   free                 0                    anyone: CAS to held
 *   held                 tag | 1              the seat of the tag: filling it, copying it out, or
 *                                             lending it to an object (loans.h)
 *   queued               tag | 2              the next taker of the slot that refers to it: to held;
 *                                             in a stream: whoever raises the floor past it (floor.h)
 *   ... of a dead seat                        a sweeper that holds the head's owner word: CAS from
 *                                             the exact word to free, unless a slot refers to it
 *
 * Kill points. A producer killed while it fills, or before it commits, leaves a block that no slot
 * of [head, tail) refers to. A consumer killed between marking the block and moving the head leaves
 * one that a slot does refer to: the item is still in, and the next taker marks it anew. After
 * moving the head it leaves one that no slot refers to. So a sweep has a single question: is a slot
 * referring to it? `sequence` and `slot_position` name the only slot that can, and the head's owner
 * word keeps takers away while it is asked (I6).
 *
 * All of shmq_class is hints: wrong ones cost time, never correctness.
 */
#ifndef SHMQ_BLOCKS_H
#define SHMQ_BLOCKS_H

#include "ring.h"

enum { SHMQ_BLOCK_FREE = 0, SHMQ_BLOCK_HELD = 1, SHMQ_BLOCK_QUEUED = 2 };

static inline shmq_end *shmq_pool_end(const shmq_view *view) { return &view->ends[SHMQ_END_POOL]; }

/* ---- sizes ------------------------------------------------------------------------------------ */

static inline uint32_t shmq_class_of(uint64_t pages) {
  if (pages <= 4) return (uint32_t)pages - 1;
  uint64_t last = pages - 1;
  uint32_t log2 = 63 - (uint32_t)__builtin_clzll(last);
  return (log2 - 2) * 4 + (uint32_t)(last >> (log2 - 2) & 3) + 4;
}

static inline uint64_t shmq_class_pages(uint32_t class_index) {
  if (class_index < 4) return class_index + 1;
  return (uint64_t)(class_index % 4 + 5) << (class_index / 4 - 1);
}

/* ---- descriptors, with their values checked ------------------------------------------------- */

/* How many of so many descriptors have memory: asked of the kernel, and remembered. A page that was
 * reserved and never written to counts as a hole; but the page of a descriptor is written to before
 * that is counted, and none is ever given back. Without the file's descriptor nobody can tell: then
 * as many as there may be. */
static uint32_t __attribute__((noinline, unused)) shmq_blocks_with_memory(const shmq_view *view,
                                                                          uint64_t count) {
  uint32_t *known = (uint32_t *)&view->known_blocks;
  uint64_t seen = load_relaxed(known); /* relaxed, as all of these: private, and only grows */
  if (count > view->max_blocks) count = view->max_blocks;
  if (!shmq_fd_is_ours(view)) return (uint32_t)count;
  off_t hole = lseek(view->fd, (off_t)(view->blocks_offset + seen * sizeof(shmq_block)), SEEK_HOLE);
  uint64_t blocks = hole < 0 ? 0 : ((uint64_t)hole - view->blocks_offset) / sizeof(shmq_block);
  if (blocks > view->max_blocks) blocks = view->max_blocks;
  if (blocks > seen) store_relaxed(known, (uint32_t)(seen = blocks)); /* relaxed: see above */
  return (uint32_t)(count < seen ? count : seen);
}

/* How many descriptors exist; bounded, whatever stands there, by those that have memory: a look at
 * another would take memory, or be a SIGBUS where there is none. */
static inline uint32_t shmq_block_count(const shmq_view *view) {
  /* acquire: pairs with the release store in shmq_pool_grow: descriptors before their count. */
  uint64_t count = load_acquire(&shmq_pool_end(view)->sequence);
  if (__builtin_expect(count <= load_relaxed(&view->known_blocks), 1)) /* relaxed: private */
    return (uint32_t)count;
  return shmq_blocks_with_memory(view, count);
}

/* The block's bytes, or 0 where its descriptor leads out of the pool. */
static inline uint64_t shmq_block_extent(const shmq_view *view, uint32_t index, uint64_t *offset) {
  const shmq_block *block = &view->blocks[index];
  /* relaxed: constant since before the block was counted (acquired in shmq_block_count). */
  uint64_t bytes = (uint64_t)load_relaxed(&block->pages) * SHMQ_PAGE;
  *offset = load_relaxed(&block->offset); /* relaxed: as above */
  if (*offset % SHMQ_PAGE != 0 || *offset > view->pool_limit_bytes ||
      bytes > view->pool_limit_bytes - *offset)
    return 0;
  return bytes;
}

/* Where its bytes are, if it has as many as `size`: asked again at the moment of use. */
static inline uint8_t *shmq_block_bytes(const shmq_view *view, uint32_t index, uint64_t size) {
  uint64_t offset;
  return shmq_block_extent(view, index, &offset) < size ? NULL : view->pool + offset;
}

/* How many of its bytes have memory; no more than it has. */
static inline uint64_t shmq_block_backed_bytes(const shmq_view *view, uint32_t index) {
  uint64_t offset, bytes = shmq_block_extent(view, index, &offset);
  /* relaxed: only a holder changes it; others look for statistics. */
  uint64_t backed = (uint64_t)load_relaxed(&view->blocks[index].backed) * SHMQ_PAGE;
  return backed < bytes ? backed : bytes;
}

static inline int shmq_block_ref_is_sound(const shmq_view *view, const shmq_block_ref *ref) {
  return ref->block < shmq_block_count(view) && ref->length > 0 &&
         ref->length <= shmq_block_backed_bytes(view, ref->block);
}

/* ---- from hand to hand ---------------------------------------------------------------------- */

/* One attempt to make a free block of `pages` ours. */
static inline int shmq_block_claim(const shmq_view *view, uint32_t index, uint64_t pages) {
  shmq_block *block = &view->blocks[index];
  uint64_t seen = SHMQ_BLOCK_FREE;
  /* acquire: pairs with the release store in shmq_block_free: the last holder is done with it. */
  if (!cas_acquire(&block->state, &seen, view->tag | SHMQ_BLOCK_HELD)) return 0;
  /* It may have been unmade since the caller saw it, and made anew, of another size. Who makes it
   * anew writes its state and then the count, which we read (acquire) after our exchange: so either
   * we see that it is not counted, or that it is not ours. relaxed, the others: ours, if so. */
  if (index < shmq_block_count(view) &&
      load_relaxed(&block->state) == (view->tag | SHMQ_BLOCK_HELD)) {
    if (load_relaxed(&block->pages) == pages) return 1;
    store_release(&block->state, SHMQ_BLOCK_FREE); /* release: as in shmq_block_free */
  }
  return 0;
}

/* By the tail's owner, before the commit that publishes the slot. */
static inline void shmq_block_queue(const shmq_view *view, uint32_t index, uint64_t sequence,
                                    uint64_t slot_position) {
  /* relaxed, then release: who reads the state of a sweep's candidate reads these two as well. */
  store_relaxed(&view->blocks[index].sequence, sequence);
  store_relaxed(&view->blocks[index].slot_position, slot_position);
  store_release(&view->blocks[index].state, view->tag | SHMQ_BLOCK_QUEUED);
}

/* By the head's owner, before it moves the head past the slot; or by the tail's, who gives up a batch that it
 * had not committed: then nothing needs an order, since a sweep frees neither of what is ours. */
static inline void shmq_block_hold(const shmq_view *view, uint32_t index) {
  /* relaxed: the commit of head orders it before a sweep that finds the slot passed. */
  store_relaxed(&view->blocks[index].state, view->tag | SHMQ_BLOCK_HELD);
}

/* Is it a stream's, and does anybody view it? */
static inline int shmq_block_is_pinned(const shmq_view *view, uint32_t index) {
  uint64_t pins = 0;
  for (uint32_t i = 0; view->stream != NULL && i < SHMQ_MAX_PINNERS / 64; i++)
    /* acquire: pairs with the exchange in shmq_block_unpin: who viewed it is done with it. */
    pins |= load_acquire(&view->blocks[index].pins[i]);
  return pins != 0;
}

/* Does this seat hold it? */
static inline int shmq_block_is_held(const shmq_view *view, uint32_t index) {
  /* relaxed: if it is ours, nobody else changes it. */
  return load_relaxed(&view->blocks[index].state) == (view->tag | SHMQ_BLOCK_HELD);
}

/* By the seat that holds it. */
static inline void shmq_block_free(const shmq_view *view, uint32_t index) {
  shmq_block *block = &view->blocks[index];
  shmq_class *sizes = &view->classes[0];
  uint32_t pages = load_relaxed(&block->pages); /* relaxed: constant */
  /* release: our reads and writes of the block before it is anybody's; pairs with the claim. */
  store_release(&block->state, SHMQ_BLOCK_FREE);
  if (pages == 0 || shmq_class_of(pages) >= SHMQ_SIZE_CLASSES) return;
  sizes += shmq_class_of(pages);
  store_relaxed(&sizes->last_freed, index + 1); /* relaxed: a hint: it is still in a cache */
  fetch_add_relaxed(&sizes->free_count, 1);     /* relaxed: a hint */
}

/* ---- memory: reserved before use ------------------------------------------------------------ */

/* Reserves bytes of the file; NO_MEMORY when there are none, SYSTEM with errno. ASK when the caller
 * should first see whether the machine has so much left: a file in memory has no limit of its own
 * but the end of the memory, and that end is not an error but the kernel's killer. */
static inline shmq_status shmq_reserve(const shmq_view *view, uint64_t offset, uint64_t bytes) {
  /* In pieces: the kernel undoes an interrupted call, and a profiler's signals may come faster
   * than a gigabyte is cleared. */
  const uint64_t piece = UINT64_C(4) << 20;
  uint64_t done = 0;
  if (!shmq_fd_is_ours(view)) {
    errno = EBADF;
    return SHMQ_SYSTEM;
  }
  /* relaxed, both: an account of this process; threads that race for it may overdraw it a little. */
  int64_t *allowance = (int64_t *)&view->allowance_bytes;
  if (load_relaxed(allowance) < (int64_t)bytes) {
    store_relaxed((uint64_t *)&view->asked_bytes, bytes);
    return SHMQ_ASK;
  }
  fetch_add_relaxed(allowance, -(int64_t)bytes);
  while (done < bytes) {
    uint64_t now = bytes - done < piece ? bytes - done : piece;
    if (fallocate(view->fd, 0, (off_t)(offset + done), (off_t)now) == 0) {
      done += now;
    } else if (errno != EINTR) {
      int error = errno;
      fetch_add_relaxed(allowance, (int64_t)bytes); /* relaxed: as above */
      if (done > 0)
        fallocate(view->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)done);
      errno = error;
      return error == ENOSPC || error == EDQUOT || error == EFBIG || error == ENOMEM
                 ? SHMQ_NO_MEMORY
                 : SHMQ_SYSTEM;
    }
  }
  return SHMQ_OK;
}

/* Allows so many bytes more. */
static inline void shmq_allow(shmq_view *view, uint64_t bytes) {
  fetch_add_relaxed(&view->allowance_bytes, (int64_t)bytes); /* relaxed: an account of our own */
}

/* Makes sure that a block which we hold has memory for `bytes`: for these, not for all of it. */
static inline shmq_status shmq_block_back(const shmq_view *view, uint32_t index, uint64_t bytes) {
  uint64_t offset, has = shmq_block_backed_bytes(view, index);
  if (shmq_block_extent(view, index, &offset) < bytes) return SHMQ_CORRUPT;
  if (has >= bytes) return SHMQ_OK;
  bytes = shmq_round_up(bytes, SHMQ_PAGE);
  shmq_status status = shmq_reserve(view, view->pool_offset + offset + has, bytes - has);
  /* relaxed: the next holder is ordered after us by the state. Killed before it: reserved twice,
   * which is nothing. */
  if (status == SHMQ_OK) {
    store_relaxed(&view->blocks[index].backed, (uint32_t)(bytes / SHMQ_PAGE));
    fetch_add_relaxed(&shmq_pool_end(view)->high_water_mark, bytes - has); /* relaxed: a hint */
  }
  return status;
}

/* Bytes of all blocks, and of the free ones: memory that is reserved now. */
static inline void shmq_pool_usage(const shmq_view *view, uint64_t *reserved, uint64_t *unused) {
  uint32_t count = shmq_block_count(view);
  *reserved = *unused = 0;
  for (uint32_t index = 0; index < count; index++) {
    uint64_t bytes = shmq_block_backed_bytes(view, index);
    *reserved += bytes;
    /* relaxed: a snapshot for people. */
    if (load_relaxed(&view->blocks[index].state) == SHMQ_BLOCK_FREE) *unused += bytes;
  }
}

/* Gives the memory of free blocks back to the system, the youngest first, but for `keep_bytes` of all
 * that is backed. Returns how much is backed then. */
static inline uint64_t shmq_pool_trim(const shmq_view *view, uint64_t keep_bytes) {
  uint64_t backed, unused;
  /* relaxed: a hint, which is set right by what it was wrong; what others back meanwhile counts. */
  uint64_t hint = load_relaxed(&shmq_pool_end(view)->high_water_mark);
  shmq_pool_usage(view, &backed, &unused);
  for (uint32_t index = shmq_block_count(view); index-- > 0 && backed > keep_bytes;) {
    shmq_block *block = &view->blocks[index];
    uint64_t offset, bytes = shmq_block_extent(view, index, &offset);
    /* relaxed: a look before the claim. */
    if (bytes == 0 || load_relaxed(&block->state) != SHMQ_BLOCK_FREE ||
        !load_relaxed(&block->backed) || !shmq_block_claim(view, index, bytes / SHMQ_PAGE))
      continue;
    bytes = shmq_block_extent(view, index, &offset); /* where it is for certain, now it is ours */
    uint64_t had = shmq_block_backed_bytes(view, index);
    /* relaxed, first the mark and then the hole: killed in between, a block is backed that says it
     * isn't, and is reserved once more. The other way round would be a SIGBUS. */
    store_relaxed(&block->backed, 0);
    if (shmq_fd_is_ours(view))
      fallocate(view->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                (off_t)(view->pool_offset + offset), (off_t)bytes);
    /* release: pairs with the claim. */
    store_release(&block->state, SHMQ_BLOCK_FREE);
    backed -= had < backed ? had : backed;
  }
  fetch_add_relaxed(&shmq_pool_end(view)->high_water_mark, backed - hint); /* relaxed: as above */
  return backed;
}

/* What a steady flow of large items may keep: so much, or so many of the size at hand, or as many as
 * a short ring takes, with one being made, and two in use: who gets the next one still has the last. */
#define SHMQ_POOL_KEEP (UINT64_C(64) << 20)
#define SHMQ_POOL_KEEP_BLOCKS 4u
#define SHMQ_SHORT_RING 16u
/* A flow that fills the ring and drains it in turn doesn't pay for its memory more often. */
#define SHMQ_SETTLE_PAUSE (1000 * SHMQ_MS)

static inline uint64_t shmq_pool_keep_bytes(const shmq_view *view, uint64_t item_bytes) {
  uint64_t blocks = SHMQ_POOL_KEEP_BLOCKS;
  if (view->capacity <= SHMQ_SHORT_RING && view->capacity + 3 > blocks) blocks = view->capacity + 3;
  blocks *= shmq_round_up(item_bytes, SHMQ_PAGE);
  return blocks > SHMQ_POOL_KEEP ? blocks : SHMQ_POOL_KEEP;
}

/* After a large item was taken: is the ring empty, so that a burst is over, and does it hold more than
 * a steady flow needs? */
static inline int shmq_pool_is_to_settle(const shmq_view *view, uint64_t item_bytes) {
  /* relaxed, all of these: hints; more than twice what the last trim had to leave is worth another. */
  uint64_t backed = load_relaxed(&shmq_pool_end(view)->high_water_mark);
  uint64_t least = load_relaxed(&view->pool_left_bytes) * 2;
  uint64_t keep = shmq_pool_keep_bytes(view, item_bytes);
  return backed > (least > keep ? least : keep) && !shmq_has_item(view, NULL) &&
         coarse_now_ns() - load_relaxed(&view->settled_ns) > SHMQ_SETTLE_PAUSE;
}

static inline void shmq_pool_settle(shmq_view *view, uint64_t item_bytes) {
  /* relaxed, both: hints. */
  store_relaxed(&view->settled_ns, coarse_now_ns());
  store_relaxed(&view->pool_left_bytes, shmq_pool_trim(view, shmq_pool_keep_bytes(view, item_bytes)));
}

/* Raises the floor of a stream: see floor.h. */
static inline void shmq_floor_yield(const shmq_view *view, int for_want_of_memory);
static inline void shmq_groups_bury(const shmq_view *view);

/* When nothing has come for a while: what a flow needed goes back, too. */
static inline void shmq_pool_give_back(shmq_view *view) {
  if (view->stream != NULL) shmq_floor_yield(view, 0);
  /* relaxed, both: hints. */
  if (load_relaxed(&shmq_pool_end(view)->high_water_mark) > 0 && !shmq_has_item(view, NULL))
    store_relaxed(&view->pool_left_bytes, shmq_pool_trim(view, 0));
}

/* ---- sweeping after the dead ---------------------------------------------------------------- */

/* Is the block referred to by a slot of [head, tail)? The caller holds the head's owner word. */
static inline int shmq_block_is_referred(const shmq_view *view, uint32_t index) {
  /* relaxed: ordered by the state that the caller read with acquire. */
  uint64_t sequence = load_relaxed(&view->blocks[index].sequence);
  uint64_t head = load_relaxed(&shmq_head(view)->sequence); /* relaxed: we are its owner */
  /* acquire: pairs with the commit in shmq_try_put: a slot below tail can be read. */
  uint64_t tail = load_acquire(&shmq_tail(view)->sequence);
  if (sequence - head >= tail - head) return 0;
  uint64_t position = load_relaxed(&view->blocks[index].slot_position); /* relaxed: as sequence */
  if (position % sizeof(uint64_t) != 0 ||
      position > view->slots_bytes - sizeof(shmq_slot) - sizeof(shmq_block_ref))
    return 0;
  const shmq_slot *slot = (const shmq_slot *)(view->slots + position);
  shmq_block_ref ref;
  /* relaxed, both: the slot is published, if it is one of this sequence. */
  if (load_relaxed(&slot->stamp) != 2 * sequence + 2) return 0;
  if (!(load_relaxed(&slot->flags) & SHMQ_SLOT_IN_BLOCK)) return 0;
  copy_out(&ref, slot + 1, sizeof(ref));
  return ref.block == index;
}

/* How much of a slot that question reads. */
static inline uint64_t shmq_slot_reference_bytes(void) {
  return sizeof(shmq_slot) + sizeof(shmq_block_ref);
}

/* In a stream: was its slot passed by the floor? `state` was acquired from it. */
static inline int shmq_block_is_passed(const shmq_view *view, uint32_t index, uint64_t state) {
  /* relaxed: ordered by the state. acquire: pairs with the floor's commit: its blocks are free, or they
   * were pinned. */
  return view->stream != NULL && (state & SHMQ_FLAGS) == SHMQ_BLOCK_QUEUED &&
         (int64_t)(load_acquire(&shmq_head(view)->sequence) -
                   load_relaxed(&view->blocks[index].sequence)) > 0;
}

/* Pins of the dead: see floor.h. */
static inline void shmq_pinners_bury(const shmq_view *view);

/* Frees the blocks that the dead filled or held. BUSY when a taker holds the head: nothing done,
 * try again. */
static inline shmq_status shmq_pool_sweep(const shmq_view *view) {
  shmq_end *head = shmq_head(view);
  uint32_t count = shmq_block_count(view);
  if (view->stream != NULL) shmq_pinners_bury(view);
  struct {
    uint64_t tag;
    int dead;
  } asked[64] = {{0, 0}}; /* what the kernel said of a seat: asked once, not for each block */
  for (uint32_t index = 0; index < count; index++) {
    shmq_block *block = &view->blocks[index];
    /* acquire: pairs with the release store in shmq_block_queue. */
    uint64_t seen = load_acquire(&block->state);
    if (seen == SHMQ_BLOCK_FREE) continue;
    uint32_t slot = shmq_tag_seat(seen) % 64;
    if (asked[slot].tag != (seen & SHMQ_TAG)) {
      asked[slot].tag = seen & SHMQ_TAG;
      asked[slot].dead = shmq_tag_is_dead(view, seen);
    }
    /* In a stream also what was passed while it was viewed by one that died since. */
    if (!asked[slot].dead && !shmq_block_is_passed(view, index, seen)) continue;
    if (!shmq_end_try_acquire(view, head)) {
      if (!shmq_end_evict_dead(view, head) || !shmq_end_try_acquire(view, head)) return SHMQ_BUSY;
    }
    /* The living may have put it again since we looked: under the word, what is passed stays so. acquire:
     * as above. acq_rel: from the exact word of a dead seat, which can't come back, so there is no ABA. */
    if (!asked[slot].dead) {
      seen = load_acquire(&block->state);
      if (!shmq_block_is_passed(view, index, seen)) seen = SHMQ_BLOCK_FREE;
    }
    if (seen != SHMQ_BLOCK_FREE && !shmq_block_is_referred(view, index) &&
        !shmq_block_is_pinned(view, index) &&
        cas_acq_rel(&block->state, &seen, SHMQ_BLOCK_FREE)) {
      uint32_t pages = load_relaxed(&block->pages); /* relaxed: constant */
      if (pages > 0 && shmq_class_of(pages) < SHMQ_SIZE_CLASSES)
        fetch_add_relaxed(&view->classes[shmq_class_of(pages)].free_count, 1); /* relaxed: hint */
    }
    shmq_end_release(head);
  }
  return SHMQ_OK;
}

/* After somebody died, or after a seat changed hands: frees what the dead hold, as far as that goes
 * without waiting. Correctness doesn't need it. */
static inline void shmq_sweep_after_the_dead(shmq_view *view) {
  for (uint32_t end = 0; end < SHMQ_ENDS; end++) {
    /* relaxed: a look; most are free. */
    if (load_relaxed(&view->ends[end].owner) & SHMQ_TAG)
      shmq_end_evict_dead(view, &view->ends[end]);
  }
  /* One that died between its commit and the descriptor leaves pollers asleep. relaxed: a look. */
  if (load_relaxed(&shmq_head(view)->state) & SHMQ_END_POLLED &&
      shmq_end_try_acquire(view, shmq_tail(view))) {
    shmq_poll_settle(view);
    shmq_end_release(shmq_tail(view));
  }
  if (view->stream != NULL) {
    shmq_groups_bury(view);
    shmq_floor_yield(view, 0);
  }
  shmq_pool_sweep(view);
  shmq_ring_trim(view);
}

/* ---- getting a block ------------------------------------------------------------------------ */

/* A free block of exactly this size, or SHMQ_NO_BLOCK. */
static inline uint32_t shmq_pool_find(const shmq_view *view, uint32_t class_index) {
  shmq_class *sizes = &view->classes[class_index];
  const uint64_t pages = shmq_class_pages(class_index);
  const uint32_t count = shmq_block_count(view);
  /* relaxed, all of these: hints; the claim decides. */
  uint32_t at = load_relaxed(&sizes->last_freed) - 1;
  if (at < count && load_relaxed(&view->blocks[at].pages) == pages &&
      shmq_block_claim(view, at, pages)) {
    store_relaxed(&sizes->last_freed, 0);
    fetch_add_relaxed(&sizes->free_count, (uint64_t)-1);
    return at;
  }
  if ((int64_t)load_relaxed(&sizes->free_count) <= 0) return SHMQ_NO_BLOCK;
  at = load_relaxed(&sizes->next_probe);
  for (uint32_t looked = 0; looked < count; looked++, at++) {
    if (at >= count) at = 0;
    const shmq_block *block = &view->blocks[at];
    if (load_relaxed(&block->pages) != pages || load_relaxed(&block->state) != SHMQ_BLOCK_FREE ||
        !shmq_block_claim(view, at, pages))
      continue;
    store_relaxed(&sizes->next_probe, at + 1);
    fetch_add_relaxed(&sizes->free_count, (uint64_t)-1);
    return at;
  }
  store_relaxed(&sizes->free_count, 0); /* somebody died with a count in hand */
  return SHMQ_NO_BLOCK;
}

/* A new block, held by us: OK, BUSY, or NO_MEMORY when the address range or the table is used up. */
static inline shmq_status shmq_pool_grow(const shmq_view *view, uint32_t class_index,
                                         uint32_t *index) {
  shmq_end *pool = shmq_pool_end(view);
  const uint64_t pages = shmq_class_pages(class_index);
  shmq_status status = SHMQ_OK;
  if (!shmq_end_try_acquire(view, pool)) return SHMQ_BUSY;
  uint64_t count = load_relaxed(&pool->sequence); /* relaxed: we are its owner */
  uint64_t offset = 0, bytes;
  if (count != shmq_block_count(view)) {
    status = SHMQ_CORRUPT;
  } else if (count > 0) {
    bytes = shmq_block_extent(view, (uint32_t)count - 1, &offset);
    offset += bytes;
    if (bytes == 0) status = SHMQ_CORRUPT;
  }
  if (status != SHMQ_OK) {
  } else if (count >= view->max_blocks ||
             pages * SHMQ_PAGE > view->pool_limit_bytes - offset) {
    status = SHMQ_NO_MEMORY;
  } else if (count % (SHMQ_PAGE / sizeof(shmq_block)) == 0) {
    /* The first descriptor of a page: the one system call under an owner word, bounded to a page.
     * Killed after it: the page is reserved twice. */
    status = shmq_reserve(view, view->blocks_offset + count * sizeof(shmq_block), SHMQ_PAGE);
  }
  if (status == SHMQ_OK) {
    shmq_block *block = &view->blocks[count];
    /* relaxed: published by the count. */
    store_relaxed(&block->state, view->tag | SHMQ_BLOCK_HELD);
    store_relaxed(&block->sequence, 0);
    store_relaxed(&block->offset, offset);
    store_relaxed(&block->pages, (uint32_t)pages);
    store_relaxed(&block->backed, 0);
    store_relaxed(&block->pins[0], 0);
    store_relaxed(&block->pins[1], 0);
    /* The commit. release: the descriptor before its count; pairs with shmq_block_count. */
    store_release(&pool->sequence, count + 1);
    *index = (uint32_t)count;
  }
  shmq_end_release(pool);
  return status;
}

/* Any free block that is large enough: when the pool can't grow. */
static inline uint32_t shmq_pool_find_larger(const shmq_view *view, uint64_t pages) {
  uint32_t count = shmq_block_count(view);
  for (;;) { /* again only after somebody else took the one that we had found */
    uint32_t best = SHMQ_NO_BLOCK;
    uint64_t best_pages = UINT64_MAX;
    for (uint32_t index = 0; index < count; index++) {
      /* relaxed: a look; the claim decides. */
      uint64_t has = load_relaxed(&view->blocks[index].pages);
      if (has >= pages && has < best_pages &&
          load_relaxed(&view->blocks[index].state) == SHMQ_BLOCK_FREE) {
        best = index;
        best_pages = has;
      }
    }
    if (best == SHMQ_NO_BLOCK || shmq_block_claim(view, best, best_pages)) return best;
  }
}

/* Unmakes the last blocks of the table as far as they are free, so that their addresses may be cut
 * another way. OK if it unmade one, NO_MEMORY if not, or BUSY. Their memory was given back before:
 * there is no system call here. Killed between the claim and the count: a block that the dead hold,
 * which a sweep frees. After it: it is no more; whoever still looks there finds it held. */
static inline shmq_status shmq_pool_shrink(const shmq_view *view) {
  shmq_end *pool = shmq_pool_end(view);
  shmq_status status = SHMQ_NO_MEMORY;
  if (!shmq_end_try_acquire(view, pool)) return SHMQ_BUSY;
  for (uint64_t count = shmq_block_count(view); count > 0; count--) {
    const uint32_t last = (uint32_t)count - 1;
    const shmq_block *block = &view->blocks[last];
    uint64_t pages = load_relaxed(&block->pages); /* relaxed: constant while it is counted */
    if (!shmq_block_claim(view, last, pages)) break;
    if (load_relaxed(&block->backed)) { /* relaxed: only a holder changes it */
      shmq_block_free(view, last);
      break;
    }
    if (pages > 0 && shmq_class_of(pages) < SHMQ_SIZE_CLASSES)
      /* relaxed: a hint. */
      fetch_add_relaxed(&view->classes[shmq_class_of(pages)].free_count, (uint64_t)-1);
    store_release(&pool->sequence, count - 1); /* release: as in shmq_pool_grow */
    status = SHMQ_OK;
  }
  shmq_end_release(pool);
  return status;
}

/* A block of at least `bytes`, held by this seat, its memory reserved: OK, BUSY (*busy: the end
 * whose owner word another holds), NO_MEMORY, or a failure. Cheap and without a system call once the
 * pool is warm. */
static inline shmq_status shmq_block_get(const shmq_view *view, uint64_t bytes, uint32_t *index,
                                         shmq_end **busy) {
  shmq_status status;
  uint64_t pages = (bytes + SHMQ_PAGE - 1) / SHMQ_PAGE;
  if (bytes == 0 || bytes > view->pool_limit_bytes || shmq_class_of(pages) >= SHMQ_SIZE_CLASSES)
    return SHMQ_NO_MEMORY;
  uint32_t class_index = shmq_class_of(pages);
  if (view->stream != NULL) shmq_floor_yield(view, 0);
  *busy = shmq_pool_end(view);
  *index = shmq_pool_find(view, class_index);
  if (*index == SHMQ_NO_BLOCK) {
    status = shmq_pool_grow(view, class_index, index);
    if (status == SHMQ_NO_MEMORY) {
      *busy = shmq_head(view);
      if (view->stream != NULL) shmq_floor_yield(view, 1);
      status = shmq_pool_sweep(view);
      if (status != SHMQ_OK) return status;
      *index = shmq_pool_find_larger(view, pages);
      if (*index == SHMQ_NO_BLOCK) {
        /* What is free is too small: its addresses may do. */
        *busy = shmq_pool_end(view);
        shmq_pool_trim(view, 0);
        status = shmq_pool_shrink(view);
        if (status == SHMQ_OK) status = shmq_pool_grow(view, class_index, index);
      }
    }
    if (status != SHMQ_OK) return status;
  }
  status = shmq_block_back(view, *index, bytes);
  if (status == SHMQ_NO_MEMORY) {
    /* What the dead held and what nobody uses may be enough. A sweep that finds the head busy is
     * not waited for: the trim alone may do. */
    if (view->stream != NULL) shmq_floor_yield(view, 1);
    shmq_pool_sweep(view);
    shmq_pool_trim(view, 0);
    status = shmq_block_back(view, *index, bytes);
  }
  if (status != SHMQ_OK) shmq_block_free(view, *index);
  return status;
}

#endif
