/* Explores one scenario of the protocol: see search.h for what a schedule is.
 *
 *   explored SCENARIO [--kills N] [--expiries N] [--preemptions N] [--weak] [--every-access]
 *                     [--seconds N]
 *   explored SCENARIO [the same] --replay 0,0,1,k0
 *   explored --list
 *
 * Ends with a line of JSON: what was seen, and the violation if there is one.
 */
#include "system.h"

#include "points.h"
#include "attempts.h"
#include "snapshot.h"

#include "unsimulated.h"

#include "search.h"

static struct {
  double begun, limit_s;
} run;

static double ex_seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int ex_stop_is_due(void) {
  static uint64_t looked;
  if (++looked % 4096 != 0) return 0;
  return ex_seconds() - run.begun > run.limit_s || seen.used > EX_MOST_STATES;
}

static void ex_print_path(void) {
  printf("\"");
  for (uint32_t i = 0; i < depth; i++) {
    const ex_choice choice = path[i];
    uint32_t times = 1;
    printf("%s", i > 0 ? "," : "");
    if (choice.what != 'a') printf("%c", choice.what);
    printf("%u", choice.who);
    if (choice.what == 'f') printf(".%u", choice.which);
    while (choice.what == 'a' && i + 1 < depth && path[i + 1].what == 'a' &&
           path[i + 1].who == choice.who) {
      times++;
      i++;
    }
    if (times > 1) printf("*%u", times);
  }
  printf("\"");
}

static void ex_report(int is_complete) {
  const double seconds = ex_seconds() - run.begun;
  printf("{\"scenario\": \"%s\", \"kills\": %d, \"expiries\": %d, \"preemptions\": %d,"
         " \"weak\": %s, \"every_access\": %s, \"complete\": %s, \"states\": %llu, \"steps\": %llu,"
         " \"schedules\": %llu, \"ends\": %llu, \"kills_made\": %llu, \"deepest\": %llu,"
         " \"healed\": %llu, \"seconds\": %.2f, \"violation\": ",
         scenario->name, options.kills, options.expiries, options.preemptions,
         options.weak ? "true" : "false", options.every_access ? "true" : "false",
         is_complete ? "true" : "false", (unsigned long long)counts.states,
         (unsigned long long)counts.steps, (unsigned long long)counts.schedules,
         (unsigned long long)counts.ends, (unsigned long long)counts.kills,
         (unsigned long long)counts.deepest, (unsigned long long)counts.healed, seconds);
  if (options.violation[0] == 0) {
    printf("null}\n");
    return;
  }
  printf("\"%s\", \"schedule\": ", options.violation);
  ex_print_path();
  printf("}\n");
}

/* The bytes of a broken twin may lead anywhere. */
static void ex_on_crash(int signal_number) {
  snprintf(options.violation, sizeof(options.violation), "crashed with signal %d", signal_number);
  ex_report(1);
  fflush(stdout);
  _exit(0);
}

static void ex_watch_for_crashes(void) {
  static uint8_t stack[65536];
  const stack_t alternative = {.ss_sp = stack, .ss_size = sizeof(stack)};
  struct sigaction action = {.sa_handler = ex_on_crash, .sa_flags = SA_ONSTACK};
  sigaltstack(&alternative, NULL);
  sigaction(SIGSEGV, &action, NULL);
  sigaction(SIGBUS, &action, NULL);
  sigaction(SIGFPE, &action, NULL);
  sigaction(SIGILL, &action, NULL);
}

/* Follows a schedule that is written down; then to the end of it as it comes. */
static int ex_replay(const char *text) {
  last_actor = 0xFF;
  options.tracing = 1;
  while (*text != 0) {
    ex_choice choice = {'a', 0, 0}, possible[EX_CHOICES];
    char *end;
    uint64_t times = 1;
    if (*text == 'k' || *text == 't' || *text == 'f') choice.what = *text++;
    choice.who = (uint8_t)strtoul(text, &end, 10);
    if (*end == '.') choice.which = (uint8_t)strtoul(end + 1, &end, 10);
    if (*end == '*') times = strtoull(end + 1, &end, 10);
    if (end == text || (*end != ',' && *end != 0)) {
      fprintf(stderr, "a schedule is like 0*5,1,k0,t1: not %s\n", text);
      return 0;
    }
    text = *end == ',' ? end + 1 : end;
    for (; times > 0; times--) {
      int is_possible = 0;
      for (uint32_t i = 0, count = ex_list(possible); i < count; i++)
        is_possible |= memcmp(&possible[i], &choice, sizeof(choice)) == 0;
      /* The bounds that heal pass at the end, whatever the bounds of the run. */
      if (choice.what == 't') is_possible = world.actors[choice.who].status == EX_ASLEEP;
      if (!is_possible) {
        fprintf(stderr, "after %u choices, %c%u cannot be\n", depth, choice.what, choice.who);
        return 0;
      }
      if (!ex_take_choice(choice)) return 1;
    }
  }
  if (ex_run_until_quiet() && !ex_is_end()) {
    ex_heal();
    if (options.violation[0] == 0) ex_is_end();
  }
  return 1;
}

static const ex_scenario *ex_find(const char *name) {
  for (size_t i = 0; i < EX_SCENARIOS; i++)
    if (strcmp(scenarios[i].name, name) == 0) return &scenarios[i];
  return NULL;
}

static int ex_number(int argc, char **argv, int *at, const char *name, int *value) {
  if (strcmp(argv[*at], name) != 0 || *at + 1 >= argc) return 0;
  *value = atoi(argv[++*at]);
  return 1;
}

int main(int argc, char **argv) {
  const char *replay = NULL;
  int seconds = 1 << 30;
  if (argc > 1 && strcmp(argv[1], "--list") == 0) {
    for (size_t i = 0; i < EX_SCENARIOS; i++)
      printf("%s\t%s\n", scenarios[i].name, scenarios[i].about);
    return 0;
  }
  scenario = argc > 1 ? ex_find(argv[1]) : NULL;
  for (int i = 2; i < argc && scenario != NULL; i++) {
    if (ex_number(argc, argv, &i, "--kills", &options.kills) ||
        ex_number(argc, argv, &i, "--expiries", &options.expiries) ||
        ex_number(argc, argv, &i, "--preemptions", &options.preemptions) ||
        ex_number(argc, argv, &i, "--seconds", &seconds))
      continue;
    if (strcmp(argv[i], "--weak") == 0) options.weak = 1;
    else if (strcmp(argv[i], "--every-access") == 0) options.every_access = 1;
    else if (strcmp(argv[i], "--replay") == 0 && i + 1 < argc) replay = argv[++i];
    else scenario = NULL;
  }
  if (scenario == NULL) {
    fprintf(stderr, "no such scenario or option; explored --list\n");
    return 2;
  }
  run.begun = ex_seconds();
  run.limit_s = seconds;
  ex_watch_for_crashes();
  int is_complete = 1;
  if (ex_set_up()) {
    if (replay == NULL) is_complete = ex_search();
    else if (!ex_replay(replay)) return 2;
  }
  ex_report(is_complete);
  return 0;
}
