/* Items that say who they are, in every part: a torn one, or another one's bytes, are noticed. */
#ifndef KILLPOINTS_ITEMS_H
#define KILLPOINTS_ITEMS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define KIND_OF_ITEM 7u
#define BLOCK_BYTES 1500u              /* a page's block */
#define LARGE_BYTES (3u * 4096u - 100u) /* three pages' */

/* Of a short item each word counts. In a long one only a word in so many is written and looked at:
 * else most instructions of a path would be those of a copy to a block, which nobody can see yet. */
#define LONG_ITEM 256u
#define LONG_STRIDE 512u

static inline uint64_t item_word(uint64_t id, uint64_t size, uint64_t at) {
  uint64_t word = (id + 1) * UINT64_C(0x9E3779B97F4A7C15) ^ size << 32 ^ at;
  return (word ^ word >> 29) * UINT64_C(0xBF58476D1CE4E5B9);
}

static inline uint64_t item_step(uint64_t size) {
  return size <= LONG_ITEM ? sizeof(uint64_t) : LONG_STRIDE;
}

/* The lengths of short items differ, so that an item at another one's place is noticed. */
static inline uint64_t short_bytes(uint64_t id) { return 24 + id % 4 * 8; }

static inline void item_fill(void *bytes, uint64_t id, uint64_t size) {
  memcpy(bytes, &id, sizeof(id));
  for (uint64_t at = sizeof(id); at + sizeof(id) <= size; at += item_step(size)) {
    uint64_t word = item_word(id, size, at);
    memcpy((char *)bytes + at, &word, sizeof(word));
  }
}

/* The id of a whole item, or UINT64_MAX. */
static inline uint64_t item_read(const void *bytes, uint64_t size) {
  uint64_t id, word;
  if (size < sizeof(id)) return UINT64_MAX;
  memcpy(&id, bytes, sizeof(id));
  for (uint64_t at = sizeof(id); at + sizeof(id) <= size; at += item_step(size)) {
    memcpy(&word, (const char *)bytes + at, sizeof(word));
    if (word != item_word(id, size, at)) return UINT64_MAX;
  }
  return id;
}

#endif
