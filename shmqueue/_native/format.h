/* A new segment: what stands in it before anybody is attached. */
#ifndef SHMQ_FORMAT_H
#define SHMQ_FORMAT_H

#include "view.h"

/* Writes header, ends and regions of a new segment at `base`: memory that is reserved, reads zero,
 * and that nobody else has seen yet. `header`: planned (shmq_plan), with what its creator chose. */
static inline void shmq_format(uint8_t *base, const shmq_header *planned) {
  shmq_header header = *planned;
  shmq_view view;
  header.layout_version = SHMQ_LAYOUT_VERSION;
  header.byte_order = SHMQ_BYTE_ORDER;
  header.magic = SHMQ_MAGIC;
  header.checksum = shmq_header_checksum(header);
  header.magic = 0;
  memcpy(base, &header, sizeof(header));
  shmq_view_set(&view, base, &header);
  view.ends[SHMQ_END_TAIL].state = SHMQ_END_OPEN;
  view.ends[SHMQ_END_POOL].state = SHMQ_END_OPEN;
  view.ends[SHMQ_END_DONE].state = SHMQ_END_OPEN;
  view.ends[SHMQ_END_HEAD0].state = SHMQ_END_OPEN;
  view.ends[SHMQ_END_TAIL].place[1].sequence = UINT64_MAX;
  view.ends[SHMQ_END_HEAD0].place[1].sequence = UINT64_MAX;
  for (uint32_t i = 0; i < header.region_count; i++) view.regions[i].entered = UINT64_MAX;
  for (uint32_t i = 0; view.stream != NULL && i < SHMQ_MAX_HOLDS; i++)
    view.stream->holds[i].sequence = UINT64_MAX;
  if (header.region_count > 0) view.regions[0].backed = view.regions[0].dirty = SHMQ_FIRST_BACKED;
  /* release: last; and the segment has no name yet, so nobody sees a half-written one anyhow. */
  store_release(&view.header->magic, SHMQ_MAGIC);
}

#endif
