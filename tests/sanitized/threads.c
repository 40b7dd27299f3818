/* The protocol with no interpreter around it, whose lock would put most of what threads do in order.
 *
 *   threads FD ITEMS      FD: an empty segment; ITEMS: how many each of the putting threads puts
 *
 * Two views of one mapping stand for two processes: each with a seat of its own, and threads that share
 * it. (Of two mappings of one memory ThreadSanitizer would see nothing.) Half of the threads put: singly,
 * in batches, in blocks; half take. One looks on: snapshots, trims, sweeps, bells. In the middle one
 * that holds an owner word is gone, and has to be taken over from. Every item is looked at byte by byte,
 * each taker sees the items of each putter in their order, and in the end all were taken once.
 */
#define _GNU_SOURCE
#include "_native/loans.h"
#include "_native/snapshot.h"
#include "_native/wait.h"

#include <inttypes.h>

#define VIEWS 2
#define PUTTERS 2 /* of each view */
#define TAKERS 2
#define WRITERS (VIEWS * PUTTERS)
#define MOST_AT_ONCE 3
#define SMALL_BYTES 96
#define LARGE_BYTES (5 * 4096 + 100)
#define BUFFER_BYTES (MOST_AT_ONCE * 4096)
#define LIMIT_NS (UINT64_C(240) * 1000 * SHMQ_MS)

typedef struct {
  uint64_t writer;
  uint64_t number;
  uint64_t bytes; /* the rest is a pattern of the two */
} item_head;

static shmq_view views[VIEWS];
static uint64_t items_of_each, deadline_ns;
static const shmq_handle never;
static uint64_t taken_of[WRITERS], taken_sum[WRITERS];
static uint32_t is_over;

#define CHECK(condition) \
  do { \
    if (!(condition)) { \
      fprintf(stderr, "threads.c:%d: %s does not hold\n", __LINE__, #condition); \
      exit(1); \
    } \
  } while (0)

static uint8_t pattern(uint64_t writer, uint64_t number, uint64_t at) {
  return (uint8_t)(writer * 31 + number * 7 + at);
}

static void fill(uint8_t *to, uint64_t writer, uint64_t number, uint64_t bytes) {
  item_head head = {writer, number, bytes};
  memcpy(to, &head, sizeof(head));
  for (uint64_t at = sizeof(head); at < bytes; at++) to[at] = pattern(writer, number, at);
}

static void examine(const uint8_t *from, uint64_t length, uint64_t *last) {
  item_head head;
  CHECK(length >= sizeof(head));
  memcpy(&head, from, sizeof(head));
  CHECK(head.bytes == length && head.writer < WRITERS);
  for (uint64_t at = sizeof(head); at < length; at++)
    CHECK(from[at] == pattern(head.writer, head.number, at));
  CHECK(head.number > last[head.writer]);
  last[head.writer] = head.number;
  fetch_add_relaxed(&taken_of[head.writer], 1); /* relaxed: summed when all threads are done */
  fetch_add_relaxed(&taken_sum[head.writer], head.number);
}

/* ---- putting -------------------------------------------------------------------------------- */

static void put(shmq_view *view, const shmq_record *records, uint64_t count) {
  shmq_waiter waiter;
  shmq_status status;
  shmq_waiter_init(&waiter, deadline_ns, count, &never);
  do status = shmq_put(view, records, count, &waiter);
  while (status == SHMQ_INTERRUPTED);
  shmq_waiter_end(view, &waiter, status != SHMQ_OK);
  CHECK(status == SHMQ_OK);
}

static void put_large(shmq_view *view, uint64_t writer, uint64_t number) {
  uint64_t bytes = LARGE_BYTES + number % 3 * 4096;
  shmq_block_ref ref = {0, 0, bytes};
  shmq_record record = {&ref, sizeof(ref), 0, SHMQ_SLOT_IN_BLOCK, bytes};
  shmq_waiter waiter;
  shmq_status status;
  shmq_waiter_init(&waiter, deadline_ns, 1, &never);
  do status = shmq_block_take(view, bytes, &ref.block, &waiter);
  while (status == SHMQ_INTERRUPTED);
  shmq_waiter_end(view, &waiter, status != SHMQ_OK);
  CHECK(status == SHMQ_OK);
  uint8_t *memory = shmq_block_bytes(view, ref.block, bytes);
  CHECK(memory != NULL);
  fill(memory, writer, number, bytes);
  put(view, &record, 1);
}

static void *put_all(void *argument) {
  uint64_t writer = (uint64_t)(uintptr_t)argument;
  shmq_view *view = &views[writer % VIEWS];
  uint8_t bytes[MOST_AT_ONCE][SMALL_BYTES];
  shmq_record records[MOST_AT_ONCE];
  for (uint64_t number = 1; number <= items_of_each;) {
    uint64_t count = number % MOST_AT_ONCE + 1;
    if (number % 5 == 0) {
      put_large(view, writer, number++);
      continue;
    }
    if (count > items_of_each - number + 1) count = items_of_each - number + 1;
    for (uint64_t i = 0; i < count; i++, number++) {
      uint32_t length = (uint32_t)(sizeof(item_head) + number * 13 % (SMALL_BYTES - sizeof(item_head)));
      fill(bytes[i], writer, number, length);
      records[i] = (shmq_record){bytes[i], length, 0, 0, length};
    }
    put(view, records, count);
  }
  return NULL;
}

/* ---- taking --------------------------------------------------------------------------------- */

static void *take_all(void *argument) {
  shmq_view *view = &views[(uintptr_t)argument % VIEWS];
  uint64_t last[WRITERS] = {0}, count;
  uint8_t buffer[BUFFER_BYTES];
  shmq_taken taken[MOST_AT_ONCE];
  for (;;) {
    shmq_waiter waiter;
    shmq_status status;
    shmq_waiter_init(&waiter, deadline_ns, 1, &never);
    do status = shmq_take(view, MOST_AT_ONCE, buffer, sizeof(buffer), UINT64_MAX, taken, &count, &waiter);
    while (status == SHMQ_INTERRUPTED);
    shmq_waiter_end(view, &waiter, status != SHMQ_OK);
    if (load_relaxed(&view->trim_is_due)) shmq_ring_trim(view); /* relaxed: as the caller does */
    if (status == SHMQ_SHUTDOWN) return NULL;
    CHECK(status == SHMQ_OK);
    for (uint64_t i = 0; i < count; i++) {
      if (taken[i].block == SHMQ_NO_BLOCK) {
        examine(buffer + taken[i].offset, taken[i].length, last);
        continue;
      }
      uint8_t *memory = shmq_block_bytes(view, taken[i].block, taken[i].length);
      CHECK(memory != NULL);
      examine(memory, taken[i].length, last);
      shmq_block_free(view, taken[i].block);
    }
    CHECK(shmq_tasks_done(view, count));
  }
}

/* ---- looking on ----------------------------------------------------------------------------- */

static void *look_on(void *argument) {
  shmq_view *view = &views[(uintptr_t)argument % VIEWS];
  shmq_snapshot snapshot;
  for (uint64_t round = 0; !load_acquire(&is_over); round++) { /* acquire: pairs with the store in main */
    shmq_snapshot_take(view, &snapshot);
    CHECK(snapshot.tail - snapshot.head <= view->capacity);
    for (uint32_t seat = 0; seat < shmq_seats_granted(view); seat++) {
      shmq_seat_snapshot row;
      shmq_snapshot_seat(view, seat, &row);
    }
    if (round % 8 == 0) shmq_sweep_after_the_dead(view);
    if (round % 16 == 0) shmq_pool_trim(view, 0);
    if (round % 4 == 0) shmq_end_ring_all(round % 8 ? shmq_tail(view) : shmq_head(view));
    usleep(200);
  }
  return NULL;
}

static void *join_all(void *argument) {
  shmq_view *view = &views[(uintptr_t)argument % VIEWS];
  shmq_waiter waiter;
  shmq_status status;
  shmq_waiter_init(&waiter, deadline_ns, 1, &never);
  do status = shmq_join(view, &waiter);
  while (status == SHMQ_INTERRUPTED);
  shmq_waiter_end(view, &waiter, status != SHMQ_OK);
  CHECK(status == SHMQ_OK);
  return NULL;
}

/* ---- who comes and goes --------------------------------------------------------------------- */

static void attach(shmq_view *view, int fd, uint8_t *base, const shmq_header *header) {
  char path[32];
  struct stat status;
  snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
  memset(view, 0, sizeof(*view));
  view->fd = fd;
  view->poll_fd = -1;
  CHECK(fstat(fd, &status) == 0);
  view->device = status.st_dev;
  view->inode = status.st_ino;
  shmq_view_set(view, base, header);
  view->spin_ns = 20000;
  view->allowance_bytes = INT64_MAX / 2;
  CHECK(shmq_seat_take(view, open(path, O_RDWR | O_CLOEXEC)) == SHMQ_OK);
  shmq_views_begin(view, 1);
}

/* One who held an owner word and is no more, as far as the kernel's lock tells. */
static void die_holding(uint32_t end, int fd, uint8_t *base, const shmq_header *header) {
  shmq_view mortal;
  attach(&mortal, fd, base, header);
  while (!shmq_end_try_acquire(&mortal, &mortal.ends[end])) cpu_pause();
  shmq_seat_leave(&mortal);
}

int main(int argc, char **argv) {
  pthread_t putting[WRITERS], taking[VIEWS * TAKERS], looking[VIEWS], joining;
  shmq_header header;
  shmq_waiter waiter;
  CHECK(argc == 3);
  int fd = atoi(argv[1]);
  items_of_each = (uint64_t)atoll(argv[2]);
  deadline_ns = now_ns() + LIMIT_NS;
  CHECK(pread(fd, &header, sizeof(header), 0) == sizeof(header));
  CHECK(shmq_header_check(&header, header.segment_bytes) == SHMQ_OK);
  uint8_t *base = mmap(NULL, header.segment_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  CHECK(base != MAP_FAILED);
  for (int i = 0; i < VIEWS; i++) attach(&views[i], fd, base, &header);

  for (uintptr_t i = 0; i < VIEWS * TAKERS; i++) pthread_create(&taking[i], NULL, take_all, (void *)i);
  for (uintptr_t i = 0; i < WRITERS; i++) pthread_create(&putting[i], NULL, put_all, (void *)i);
  for (uintptr_t i = 0; i < VIEWS; i++) pthread_create(&looking[i], NULL, look_on, (void *)i);
  pthread_create(&joining, NULL, join_all, NULL);
  die_holding(SHMQ_END_TAIL, fd, base, &header);
  die_holding(SHMQ_END_HEAD0, fd, base, &header);
  die_holding(SHMQ_END_POOL, fd, base, &header);

  for (int i = 0; i < WRITERS; i++) pthread_join(putting[i], NULL);
  shmq_waiter_init(&waiter, deadline_ns, 1, &never);
  CHECK(shmq_end_do(&views[0], shmq_tail(&views[0]), SHMQ_DO_SHUT, &waiter) == SHMQ_OK);
  shmq_waiter_end(&views[0], &waiter, 0);
  shmq_end_ring_all(shmq_tail(&views[0]));
  for (int i = 0; i < VIEWS * TAKERS; i++) pthread_join(taking[i], NULL);
  pthread_join(joining, NULL);
  store_release(&is_over, 1); /* release: pairs with the load in look_on */
  for (int i = 0; i < VIEWS; i++) pthread_join(looking[i], NULL);

  shmq_sweep_after_the_dead(&views[0]); /* what nobody needed since they died */
  shmq_snapshot snapshot;
  shmq_snapshot_take(&views[0], &snapshot);
  for (int i = 0; i < WRITERS; i++) {
    CHECK(taken_of[i] == items_of_each);
    CHECK(taken_sum[i] == items_of_each * (items_of_each + 1) / 2);
  }
  CHECK(snapshot.tail == snapshot.head && snapshot.tail == WRITERS * items_of_each);
  CHECK(snapshot.pool_bytes == snapshot.pool_free_bytes);
  printf("%" PRIu64 " items, %" PRIu64 " takeovers\n", snapshot.tail, snapshot.totals.takeovers);
  for (int i = 0; i < VIEWS; i++) shmq_seat_leave(&views[i]);
  return 0;
}
