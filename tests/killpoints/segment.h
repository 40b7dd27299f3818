/* A segment to kill processes over: made anew for each starting state, and put back, byte for byte and
 * page for page, before each trial. */
#ifndef KILLPOINTS_SEGMENT_H
#define KILLPOINTS_SEGMENT_H

#include "_native/format.h"
#include "_native/joining.h"
#include "_native/loans.h"
#include "_native/snapshot.h"
#include "_native/wait.h"

#include <sys/eventfd.h>

#define MAX_SEATS 8u
#define POOL_PAGES 12u
#define FOR_EVER (INT64_C(1) << 60)

/* The kinds of ring there are: cells, in a file without a name as a named queue begins; regions, in a
 * sealed memfd as an unnamed queue has it; and streams, which have cells. Those without groups hold what
 * is put, or drop the oldest. */
typedef struct {
  const char *name;
  uint64_t item_size;
  uint32_t region_count;
  int is_stream;
  uint32_t ungrouped;
} geometry;

static const geometry geometries[] = {
    {"cells", 64, 0, 0, 0},
    {"regions", 16384, 3, 0, 0},
    {"stream", 64, 0, 1, SHMQ_UNGROUPED_HOLD},
    {"dropping", 64, 0, 1, SHMQ_UNGROUPED_DROP},
};

static _Noreturn void __attribute__((format(printf, 1, 2))) give_up(const char *text, ...) {
  va_list arguments;
  va_start(arguments, text);
  fprintf(stderr, "killpoints: ");
  vfprintf(stderr, text, arguments);
  fprintf(stderr, " (%s)\n", strerror(errno));
  va_end(arguments);
  exit(2);
}

/* A new open file description of the segment, as every seat needs one. */
static int reopen(int fd) {
  char path[32];
  snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
  return open(path, O_RDWR | O_CLOEXEC);
}

static int segment_file(const geometry *kind, uint64_t bytes) {
  int fd = -1;
  if (kind->region_count == 0) fd = open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (fd < 0) fd = memfd_create("shmqueue-killpoints", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0 || ftruncate(fd, (off_t)bytes) != 0) give_up("no file for a segment");
  if (kind->region_count > 0 &&
      fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
    give_up("the segment can't be sealed");
  return fd;
}

/* Maps a segment without taking a seat. */
static void map_segment(shmq_view *view, int fd, int poll_fd) {
  struct stat status;
  shmq_header header;
  memset(view, 0, sizeof(*view));
  view->fd = fd;
  view->poll_fd = poll_fd;
  if (poll_fd >= 0 && fstat(poll_fd, &status) == 0) view->poll_inode = status.st_ino;
  if (fstat(fd, &status) != 0 || pread(fd, &header, sizeof(header), 0) != sizeof(header) ||
      shmq_header_check(&header, (uint64_t)status.st_size) != SHMQ_OK)
    give_up("the segment is not sound");
  view->device = status.st_dev;
  view->inode = status.st_ino;
  uint8_t *base =
      mmap(NULL, header.segment_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (base == MAP_FAILED) give_up("the segment can't be mapped");
  shmq_view_set(view, base, &header);
  view->allowance_bytes = FOR_EVER;
  view->view_limit_bytes = UINT64_C(1) << 40;
}

/* Gives this process a seat, as the core does on attaching and first thing in a forked child. */
static shmq_status take_seat(shmq_view *view) {
  uint64_t epoch = shmq_epoch_begin();
  view->anchor = NULL; /* a child doesn't have its parent's */
  shmq_view_forget_cursors(view);
  shmq_status status = shmq_seat_take(view, reopen(view->fd));
  if (status != SHMQ_OK) return status;
  shmq_views_begin(view, 0);
  shmq_view_set_mine(view, epoch);
  return SHMQ_OK;
}

/* A formatted segment, mapped, with a seat: of whoever will survive. */
static void make_segment(shmq_view *view, const geometry *kind, uint64_t capacity, int is_polled) {
  shmq_header header = {0};
  if (!shmq_plan(&header, capacity, kind->item_size, MAX_SEATS, POOL_PAGES * SHMQ_PAGE,
                 kind->region_count, kind->is_stream))
    give_up("no segment has this geometry");
  header.created_realtime_ns = 1;
  header.ungrouped = kind->ungrouped;
  int fd = segment_file(kind, header.segment_bytes);
  /* As plan_segment says what of it is reserved. */
  uint64_t reserved = header.views_offset;
  if (kind->region_count > 0) {
    reserved = shmq_round_up(header.seats_offset, SHMQ_PAGE);
    if (fallocate(fd, 0, (off_t)header.slots_offset, SHMQ_FIRST_BACKED) != 0)
      give_up("no memory for a segment");
  }
  if (fallocate(fd, 0, 0, (off_t)reserved) != 0) give_up("no memory for a segment");
  uint8_t *base = mmap(NULL, reserved, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (base == MAP_FAILED) give_up("a new segment can't be mapped");
  shmq_format(base, &header);
  munmap(base, reserved);
  map_segment(view, fd, is_polled ? eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC) : -1);
  if (take_seat(view) != SHMQ_OK) give_up("no seat for the survivor");
}

/* ---- images ------------------------------------------------------------------------------------- */

/* All that a trial can change: which pages have memory, what is in them, the poll descriptor's count,
 * and what the survivor remembers. */
typedef struct {
  uint32_t pages;      /* of the file */
  uint32_t kept;       /* pages that have memory */
  uint32_t *numbers;   /* which those are */
  uint8_t *bytes;      /* what is in them, in that order */
  blkcnt_t blocks;     /* what the kernel says of it */
  uint64_t poll_count;
  shmq_view view;
} image;

static blkcnt_t file_blocks(const shmq_view *view) {
  struct stat status;
  if (fstat(view->fd, &status) != 0) give_up("the segment is gone");
  return status.st_blocks;
}

/* Calls for each run of pages that the image has (`kept`) or has not. */
static void for_runs(const image *of, int kept,
                     void (*call)(const shmq_view *, off_t, off_t), const shmq_view *view) {
  uint32_t at = 0;
  for (uint32_t i = 0; i <= of->kept;) {
    uint32_t from = i < of->kept ? of->numbers[i] : of->pages;
    if (!kept && from > at) call(view, (off_t)at * SHMQ_PAGE, (off_t)(from - at) * SHMQ_PAGE);
    at = from;
    while (i < of->kept && of->numbers[i] == at) i++, at++;
    if (kept && at > from) call(view, (off_t)from * SHMQ_PAGE, (off_t)(at - from) * SHMQ_PAGE);
    if (from == of->pages) break;
  }
}

static void punch(const shmq_view *view, off_t offset, off_t bytes) {
  if (fallocate(view->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, bytes) != 0)
    give_up("no hole can be punched");
}

static void reserve(const shmq_view *view, off_t offset, off_t bytes) {
  if (fallocate(view->fd, 0, offset, bytes) != 0) give_up("no memory to put a segment back");
}

static void image_restore(const image *from, shmq_view *view) {
  uint64_t count;
  for_runs(from, 0, punch, view);
  if (file_blocks(view) != from->blocks) for_runs(from, 1, reserve, view);
  for (uint32_t i = 0; i < from->kept; i++) {
    uint8_t *page = view->base + (uint64_t)from->numbers[i] * SHMQ_PAGE;
    const uint8_t *kept = from->bytes + (uint64_t)i * SHMQ_PAGE;
    if (memcmp(page, kept, SHMQ_PAGE) != 0) memcpy(page, kept, SHMQ_PAGE);
  }
  if (file_blocks(view) != from->blocks) give_up("a segment was not put back");
  if (view->poll_fd >= 0) {
    while (read(view->poll_fd, &count, sizeof(count)) > 0) {
    }
    if (from->poll_count > 0 &&
        write(view->poll_fd, &from->poll_count, sizeof(count)) != sizeof(count))
      give_up("the poll descriptor was not put back");
  }
  *view = from->view;
}

static uint64_t poll_count(const shmq_view *view) {
  uint64_t count = 0;
  if (view->poll_fd < 0 || read(view->poll_fd, &count, sizeof(count)) != sizeof(count)) return 0;
  if (write(view->poll_fd, &count, sizeof(count)) != sizeof(count)) give_up("eventfd");
  return count;
}

/* Does the segment hold the same bytes as the image, in the same pages? */
static int image_is_same(const image *of, const shmq_view *view) {
  if (of->numbers == NULL || file_blocks(view) != of->blocks ||
      (view->poll_fd >= 0 && poll_count(view) != of->poll_count))
    return 0;
  for (uint32_t i = 0; i < of->kept; i++)
    if (memcmp(view->base + (uint64_t)of->numbers[i] * SHMQ_PAGE,
               of->bytes + (uint64_t)i * SHMQ_PAGE, SHMQ_PAGE) != 0)
      return 0;
  return 1;
}

/* Which pages have memory only the kernel knows, reserved but untouched ones too: a page had some if
 * there is less after a hole was made of it. What is lost by asking is put back. */
static void image_take(image *to, shmq_view *view) {
  to->pages = (uint32_t)(view->mapped_bytes / SHMQ_PAGE);
  to->kept = 0;
  to->blocks = file_blocks(view);
  uint32_t most = (uint32_t)(to->blocks * 512 / SHMQ_PAGE);
  to->numbers = malloc(most * sizeof(uint32_t));
  to->bytes = malloc((size_t)most * SHMQ_PAGE);
  if (to->numbers == NULL || to->bytes == NULL) give_up("no memory for an image");
  blkcnt_t blocks = to->blocks;
  for (uint32_t page = 0; page < to->pages && to->kept < most; page++) {
    uint8_t *kept = to->bytes + (uint64_t)to->kept * SHMQ_PAGE;
    if (pread(view->fd, kept, SHMQ_PAGE, (off_t)page * SHMQ_PAGE) != SHMQ_PAGE)
      give_up("a page can't be read");
    punch(view, (off_t)page * SHMQ_PAGE, SHMQ_PAGE);
    if (file_blocks(view) == blocks) continue;
    blocks = file_blocks(view);
    to->numbers[to->kept++] = page;
  }
  if (to->kept != most) give_up("%u pages have memory, %u were found", most, to->kept);
  to->poll_count = poll_count(view);
  to->view = *view;
  image_restore(to, view);
}

static void image_drop(image *which) {
  free(which->numbers);
  free(which->bytes);
  memset(which, 0, sizeof(*which));
}

/* Brings an image up to date. Other pages that have memory are found only while nobody else runs,
 * since that disturbs: `may_ask`. */
static void image_renew(image *which, const shmq_view *view, int may_ask) {
  if (may_ask && (which->numbers == NULL || file_blocks(view) != which->blocks)) {
    shmq_view same = *view;
    image_drop(which);
    image_take(which, &same);
    return;
  }
  which->blocks = file_blocks(view);
  for (uint32_t i = 0; i < which->kept; i++)
    memcpy(which->bytes + (uint64_t)i * SHMQ_PAGE,
           view->base + (uint64_t)which->numbers[i] * SHMQ_PAGE, SHMQ_PAGE);
  which->poll_count = poll_count(view);
}

static void image_copy(image *to, const image *from) {
  *to = *from;
  to->numbers = malloc(from->kept * sizeof(uint32_t));
  to->bytes = malloc((size_t)from->kept * SHMQ_PAGE);
  if (to->numbers == NULL || to->bytes == NULL) give_up("no memory for an image");
  memcpy(to->numbers, from->numbers, from->kept * sizeof(uint32_t));
  memcpy(to->bytes, from->bytes, (size_t)from->kept * SHMQ_PAGE);
}

#endif
