/* Kills processes at every instruction of what they do to a queue, and has the living account for it.
 *
 *   killpoints list
 *   killpoints run GEOMETRY STATE OPERATION        ... killed in an operation
 *   killpoints double GEOMETRY STATE FIRST SECOND  ... killed, and then who came after it as well
 *
 *   --every WHAT  instruction (default), or change: where an instruction changed what others can see,
 *                 before and after each system call, at the beginning and at the end
 *   --ways N      in how many of the ways in which the living may go on each (default: 1, in turn)
 *   --trials N    so many of all these, evenly spread (default: all)
 *   --offset I    which of them; and if it is odd, the first of two has not the second one's seat
 *   --limit MS    how long anything may take before it counts as a hang
 *   --only K:MANNER:BEGINNING   this trial alone; of `double` the image's number and a colon before
 *   --cpu N       where to run
 *
 * Says what it found in lines of JSON; exits with 1 if there is a finding, 77 without permission.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>

#include "streams_states.h"

#define MOST_FINDINGS 3u
#define MOST_IMAGES 4096u

static struct {
  const char *geometry, *state, *first, *second;
  uint64_t trials, offset, limit_ns, ways;
  int changes_only, is_one, image;
  shot one;
} asked = {.limit_ns = 10000 * SHMQ_MS, .ways = 1, .image = -1};

/* What is going on, for whoever is told that it hangs or crashed. */
static struct {
  int image;
  shot what;
  uint64_t pc;
  uint32_t findings;
} now_at = {.image = -1};

static const char *const manner_names[] = {"before", "entry", "asleep"};

static void say_finding(const char *text) {
  Dl_info where = {0};
  printf("{\"finding\": \"%s\", \"geometry\": \"%s\", \"state\": \"%s\", \"first\": \"%s\", ", text,
         asked.geometry, asked.state, asked.first);
  if (asked.second != NULL)
    printf("\"second\": \"%s\", \"image\": %d, \"offset\": %lu, ", asked.second, now_at.image,
           (unsigned long)asked.offset);
  printf("\"k\": %u, \"manner\": \"%s\", \"begins\": \"%s\", \"pc\": \"%#lx\"", now_at.what.k,
         manner_names[now_at.what.how], beginning_names[now_at.what.begins],
         (unsigned long)now_at.pc);
  if (dladdr((void *)now_at.pc, &where) && where.dli_sname != NULL)
    printf(", \"symbol\": \"%s+%#lx\"", where.dli_sname,
           (unsigned long)(now_at.pc - (uint64_t)where.dli_saddr));
  printf("}\n");
  fflush(stdout);
  now_at.findings++;
}

static void on_signal(int number) {
  /* Not what a handler may do by the book; but it is the last thing that happens. */
  say_finding(number == SIGALRM ? "the survivor hangs" : "the survivor crashed");
  _exit(1);
}

static const geometry *find_geometry(const char *name) {
  for (size_t i = 0; i < sizeof(geometries) / sizeof(geometries[0]); i++)
    if (strcmp(geometries[i].name, name) == 0) return &geometries[i];
  errno = EINVAL;
  give_up("no geometry %s", name);
}

/* A queue and a stream have each their own states and operations. */
#define COUNT(table) (sizeof(table) / sizeof((table)[0]))
static const state *states_of(const geometry *kind, size_t *count) {
  *count = kind->is_stream ? COUNT(stream_states) : COUNT(queue_states);
  return kind->is_stream ? stream_states : queue_states;
}
static const operation *operations_of(const geometry *kind, size_t *count) {
  *count = kind->is_stream ? COUNT(stream_operations) : COUNT(queue_operations);
  return kind->is_stream ? stream_operations : queue_operations;
}

static const state *find_state(const char *name) {
  size_t count;
  const state *states = states_of(find_geometry(asked.geometry), &count);
  for (size_t i = 0; i < count; i++)
    if (strcmp(states[i].name, name) == 0) return &states[i];
  errno = EINVAL;
  give_up("no state %s", name);
}
static const operation *find_operation(const char *name) {
  size_t count;
  const operation *operations = operations_of(find_geometry(asked.geometry), &count);
  for (size_t i = 0; i < count; i++)
    if (strcmp(operations[i].name, name) == 0) return &operations[i];
  errno = EINVAL;
  give_up("no operation %s", name);
}

/* ---- all trials of an operation -------------------------------------------------------------------- */

/* Is it worth to be killed after k instructions? */
static int is_point(const bench *on, uint32_t k) {
  return !asked.changes_only || k == 0 || k == on->way.length || on->changes[k] ||
         on->way.kinds[k] != ORDINARY || on->way.kinds[k - 1] != ORDINARY;
}

/* What the survivor does first. The last of the ways needs one more process: it comes more seldom,
 * unless they are to be gone through. */
static beginning way_of(uint32_t point, uint64_t way, uint32_t all_ways) {
  uint64_t number = point + way + asked.offset;
  if (asked.ways > 1 || all_ways < BEGINNINGS || number % 8 == 7)
    return (beginning)(asked.ways > 1 || all_ways < BEGINNINGS ? number % all_ways : WAITED);
  return (beginning)(number % WAITED);
}

/* All points at which a process is killed on its way: before instructions, at the end, and in system
 * calls; and what the survivor does then. */
static uint32_t plan_shots(const bench *on, shot **shots) {
  const uint32_t all_ways = on->base.sleeps == NOBODY ? BEGINNINGS : WAITED;
  const uint64_t ways = asked.ways < all_ways ? asked.ways : all_ways;
  uint32_t count = 0, room = 0, points = 0;
  *shots = NULL;
  for (uint32_t k = 0; k <= on->way.length; k++) {
    if (!is_point(on, k)) continue;
    uint32_t kind = k < on->way.length ? on->way.kinds[k] : ORDINARY;
    for (uint32_t how = BEFORE; how <= ASLEEP; how++) {
      if ((how == ON_ENTRY && kind == ORDINARY) || (how == ASLEEP && kind != SLEEP)) continue;
      for (uint64_t way = 0; way < ways; way++) {
        shot one = {k, (manner)how, way_of(points, way, all_ways)};
        if (count == room) {
          room = room * 2 + 1024;
          *shots = realloc(*shots, room * sizeof(shot));
          if (*shots == NULL) give_up("no memory for a plan");
        }
        (*shots)[count++] = one;
      }
      points++;
    }
  }
  return count;
}

static void run_one(bench *on, const shot *what, tally *sum) {
  now_at.what = *what;
  alarm((unsigned)(on->base.limit_ns / (1000 * SHMQ_MS)) * 3 + 20);
  if (!run_trial(on, what, sum, &now_at.pc)) say_finding(finding);
}

/* Returns how many kill points there are. */
static uint32_t run_all(bench *on, tally *sum) {
  const shot at_end = {0, BEFORE, SWEEPS_FIRST};
  now_at.what = at_end;
  now_at.pc = 0;
  alarm((unsigned)(on->base.limit_ns / (1000 * SHMQ_MS)) * 3 + 20);
  sum->trials++;
  if (!run_whole(on, &at_end)) {
    say_finding(finding);
    return 0;
  }
  shot *shots;
  uint32_t count = plan_shots(on, &shots);
  if (asked.is_one) {
    run_one(on, &asked.one, sum);
  } else {
    uint64_t trials = asked.trials == 0 || asked.trials > count ? count : asked.trials;
    for (uint64_t i = 0; i < trials && now_at.findings < MOST_FINDINGS; i++) {
      /* Evenly spread, all of them if all are asked for. */
      uint64_t at = (i * count + asked.offset % count) / trials % count;
      run_one(on, &shots[at], sum);
    }
  }
  free(shots);
  return count;
}

static void say_sum(const bench *on, const tally *sum, uint32_t points) {
  printf("{\"geometry\": \"%s\", \"state\": \"%s\", \"first\": \"%s\", \"instructions\": %u, "
         "\"points\": %u, \"trials\": %lu, \"kills\": %lu, \"off_path\": %lu, \"asleep\": %lu, "
         "\"in_calls\": %lu, \"findings\": %u}\n",
         asked.geometry, asked.state, asked.first, on->way.length, points,
         (unsigned long)sum->trials, (unsigned long)sum->kills, (unsigned long)sum->off_path,
         (unsigned long)sum->sleeps, (unsigned long)sum->calls, now_at.findings);
}

static void *shared_page(void) {
  void *page = mmap(NULL, SHMQ_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) give_up("no shared page");
  return page;
}

static void begin_bench(bench *on, const operation *what, uint64_t first_id) {
  on->what = what;
  on->first_id = first_id;
  on->patience_ns = LONGEST_PATIENCE_NS;
  on->victim = shared_page();
  on->other = shared_page();
}

static void run_single(void) {
  static bench on;
  tally sum = {0};
  build_state(&on, find_geometry(asked.geometry), find_state(asked.state), asked.limit_ns);
  begin_bench(&on, find_operation(asked.first), FIRST_PUT);
  uint32_t points = run_all(&on, &sum);
  say_sum(&on, &sum, points);
}

/* ---- the double fault ------------------------------------------------------------------------------ */

/* The segment as each instruction of the first operation leaves it, without repetitions. */
typedef struct {
  shmq_view view; /* the survivor's */
  image last;
  image *images;
  uint32_t *stands_for; /* so many instructions each */
  uint32_t count;
} album;

static void take_picture(uint32_t k, void *argument) {
  album *all = argument;
  (void)k;
  if (all->count > 0 && image_is_same(&all->last, &all->view)) {
    all->stands_for[all->count - 1]++;
    return;
  }
  if (all->count == MOST_IMAGES) give_up("more than %u images", MOST_IMAGES);
  image_renew(&all->last, &all->view, 1);
  image_copy(&all->images[all->count], &all->last);
  all->stands_for[all->count++] = 1;
}

/* Kills the second one over each of the images, at each instruction. */
static void run_double(void) {
  static bench on, after;
  album all = {.count = 0};
  tally sum = {0};
  uint64_t points = 0, pairs = 0;
  uint32_t first_length;
  int how;
  build_state(&on, find_geometry(asked.geometry), find_state(asked.state), asked.limit_ns);
  begin_bench(&on, find_operation(asked.first), FIRST_PUT);
  all.images = calloc(MOST_IMAGES, sizeof(image));
  all.stands_for = calloc(MOST_IMAGES, sizeof(uint32_t));
  if (all.images == NULL || all.stands_for == NULL) give_up("no memory for images");

  image_restore(&on.start, &on.base.view);
  all.view = on.base.view;
  /* Its seat is not that of the second one, in every other run: else the generation alone would tell
   * that its tags are dead, and the lock never. */
  pid_t holder = asked.offset % 2 ? start_holder(&on.base) : 0;
  pid_t pid = start_victim(&on);
  if (path_record(&on.way, pid, take_picture, &all, &how) != AT_END)
    give_up("the first one ended with status %#x", how);
  kill_and_reap(pid);
  if (holder != 0) kill_and_reap(holder);
  first_length = on.way.length;

  begin_bench(&after, find_operation(asked.second), FIRST_PUT_AGAIN);
  after.fixed_bytes = on.fixed_bytes;
  for (uint32_t i = 0; i < all.count && now_at.findings < MOST_FINDINGS; i++) {
    if (asked.image >= 0 && (uint32_t)asked.image != i) continue;
    now_at.image = (int)i;
    after.start = all.images[i];
    image_restore(&after.start, &on.base.view);
    after.base = on.base;
    after.base.head = sequence_of(shmq_head(&on.base.view));
    after.base.tail = sequence_of(shmq_tail(&on.base.view));
    after.base.done = sequence_of(shmq_done(&on.base.view));
    note_groups(&on.base.view, after.base.groups);
    for (uint64_t j = 0; j < on.what->puts; j++) *id_at(&after.base, on.base.tail + j) = FIRST_PUT + j;
    uint64_t kills = sum.kills;
    points += run_all(&after, &sum);
    pairs += (sum.kills - kills) * all.stands_for[i];
    path_drop(&after.way);
    image_drop(&after.start);
  }
  printf("{\"geometry\": \"%s\", \"state\": \"%s\", \"first\": \"%s\", \"second\": \"%s\", "
         "\"instructions\": %u, \"images\": %u, \"points\": %lu, \"pairs\": %lu, \"trials\": %lu, "
         "\"kills\": %lu, \"off_path\": %lu, \"findings\": %u}\n",
         asked.geometry, asked.state, asked.first, asked.second, first_length, all.count,
         (unsigned long)points, (unsigned long)pairs, (unsigned long)sum.trials,
         (unsigned long)sum.kills, (unsigned long)sum.off_path, now_at.findings);
}

/* ---- the command line ------------------------------------------------------------------------------ */

static void list(void) {
  for (size_t g = 0; g < COUNT(geometries); g++) {
    size_t count;
    const state *states = states_of(&geometries[g], &count);
    for (size_t s = 0; s < count; s++)
      if (states[s].geometries & 1u << g)
        printf("%s %s %s\n", geometries[g].name, states[s].name, states[s].operations);
  }
}

static void parse_shot(char *text) {
  char *parts[4] = {NULL};
  int count = 0;
  for (char *part = strtok(text, ":"); part != NULL && count < 4; part = strtok(NULL, ":"))
    parts[count++] = part;
  errno = EINVAL;
  if (count < 3) give_up("--only wants K:MANNER:BEGINNING");
  if (count == 4) asked.image = atoi(parts[0]);
  asked.is_one = 1;
  asked.one.k = (uint32_t)strtoul(parts[count - 3], NULL, 10);
  for (int i = 0; i < 3; i++)
    if (strcmp(manner_names[i], parts[count - 2]) == 0) asked.one.how = (manner)i;
  for (int i = 0; i < BEGINNINGS; i++)
    if (strcmp(beginning_names[i], parts[count - 1]) == 0) asked.one.begins = (beginning)i;
}

int main(int count, char **arguments) {
  int cpu = sched_getcpu(), at = 2;
  const char **names[] = {&asked.geometry, &asked.state, &asked.first, &asked.second};
  errno = EINVAL;
  if (count < 2) give_up("what shall I do?");
  if (strcmp(arguments[1], "list") == 0) {
    list();
    return 0;
  }
  int is_double = strcmp(arguments[1], "double") == 0;
  for (int i = 0; i < 3 + is_double; i++, at++) {
    if (at >= count) give_up("too few names");
    *names[i] = arguments[at];
  }
  for (; at + 1 < count; at += 2) {
    const char *name = arguments[at];
    char *value = arguments[at + 1];
    if (strcmp(name, "--trials") == 0) asked.trials = strtoull(value, NULL, 10);
    else if (strcmp(name, "--offset") == 0) asked.offset = strtoull(value, NULL, 10);
    else if (strcmp(name, "--ways") == 0) asked.ways = strtoull(value, NULL, 10);
    else if (strcmp(name, "--every") == 0) asked.changes_only = strcmp(value, "change") == 0;
    else if (strcmp(name, "--limit") == 0) asked.limit_ns = strtoull(value, NULL, 10) * SHMQ_MS;
    else if (strcmp(name, "--cpu") == 0) cpu = atoi(value);
    else if (strcmp(name, "--only") == 0) parse_shot(value);
    else give_up("what is %s?", name);
  }
  /* Those who take turns anyhow do so more quickly on one core. */
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  CPU_SET(cpu, &cpus);
  sched_setaffinity(0, sizeof(cpus), &cpus);
  signal(SIGALRM, on_signal);
  signal(SIGSEGV, on_signal);
  signal(SIGBUS, on_signal);
  if (is_double) run_double();
  else run_single();
  return now_at.findings > 0;
}
