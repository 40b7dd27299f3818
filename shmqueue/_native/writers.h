/* Writers of a stream: who registered to write to it, and so when it is at its end.
 *
 *   row of `writers`   tail's state        what that means
 *   tag                written             a writer that may write more
 *   0, or a dead tag   written             it is finished; dying counts
 *   all of them so     written             about to be shut, by whoever notices: the last to finish,
 *                                          or a consumer that waits
 *   -                  shut                the end, for good
 *
 * Registering and shutting go under the tail's owner word, so nobody registers with a stream that
 * another is shutting: who shuts has seen as many finished as have begun. Killed anywhere: a dead tag,
 * which the next consumer that waits notices.
 */
#ifndef SHMQ_WRITERS_H
#define SHMQ_WRITERS_H

#include "floor.h"

/* A row for a new writer, and what stands in it; 0 when all are taken. The kernel is asked here, so that it
 * needn't be under the owner word. */
static inline int shmq_writer_find(const shmq_view *view, uint32_t *writer, uint64_t *seen) {
  for (*writer = 0; *writer < SHMQ_MAX_WRITERS; ++*writer) {
    *seen = load_relaxed(&view->stream->writers[*writer]); /* relaxed: looked at again */
    if (*seen == 0 || shmq_tag_is_dead(view, *seen)) return 1;
  }
  return 0;
}

/* By the tail's owner: registers a writer in the row that was found. OK, SHUTDOWN, or BUSY if another
 * has taken the row meanwhile. */
static inline shmq_status shmq_writer_begin(const shmq_view *view, uint32_t writer, uint64_t seen) {
  shmq_stream *stream = view->stream;
  shmq_end *tail = shmq_tail(view);
  /* relaxed, all: changed under the word that we hold; a row by its own writer, when it ends. */
  if (load_relaxed(&tail->state) & SHMQ_END_SHUT) return SHMQ_SHUTDOWN;
  if (load_relaxed(&stream->writers[writer]) != seen) return SHMQ_BUSY;
  /* release, and then the mark: pairs with shmq_all_written. Killed in between: a dead tag. */
  store_release(&stream->writers[writer], view->tag);
  store_release(&stream->writers_begun, load_relaxed(&stream->writers_begun) + 1);
  shmq_end_mark(tail, SHMQ_END_WRITTEN);
  return SHMQ_OK;
}

/* Has every writer that ever registered finished, and is the tail not shut yet? *begun: how many that
 * was true of. */
static inline int shmq_all_written(const shmq_view *view, uint64_t *begun) {
  /* acquire, both: pair with shmq_writer_begin: the row of whoever is counted is seen. */
  uint32_t state = load_acquire(&shmq_tail(view)->state);
  *begun = load_acquire(&view->stream->writers_begun);
  if ((state & (SHMQ_END_WRITTEN | SHMQ_END_SHUT)) != SHMQ_END_WRITTEN) return 0;
  for (uint32_t i = 0; i < SHMQ_MAX_WRITERS; i++) {
    /* acquire: pairs with shmq_writer_end: what it wrote before. */
    uint64_t seen = load_acquire(&view->stream->writers[i]);
    if (seen != 0 && !shmq_tag_is_dead(view, seen)) return 0;
  }
  return 1;
}

/* Its row is free from here on; whoever calls it looks afterwards whether it was the last. */
static inline void shmq_writer_end(const shmq_view *view, uint32_t writer) {
  uint64_t ours = view->tag;
  /* acq_rel: pairs with shmq_all_written. Only ours: a forked child's is the parent's. */
  cas_acq_rel(&view->stream->writers[writer], &ours, 0);
}

/* By the tail's owner: the end, unless another writer has registered since `begun` were counted. */
static inline int shmq_shut_written(const shmq_view *view, uint64_t begun) {
  /* relaxed: changed under the word that we hold. */
  if (load_relaxed(&view->stream->writers_begun) != begun) return 0;
  shmq_end_shut(shmq_tail(view));
  return 1;
}

/* Wakes everyone who sleeps anywhere in a stream. */
static inline void shmq_stream_ring_all(const shmq_view *view) {
  shmq_end_ring_all(shmq_tail(view));
  shmq_end_ring_all(shmq_head(view));
  for (uint64_t left = shmq_groups_open(view); left != 0; left &= left - 1)
    shmq_end_ring_all(shmq_group_head(view, (uint32_t)__builtin_ctzll(left)));
}

#endif
