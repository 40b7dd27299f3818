/* What the compiler's coverage calls lead to, for a fuzzer that wants counters.
 *
 * gcc calls __sanitizer_cov_trace_pc at each edge (-fsanitize-coverage=trace-pc); libFuzzer, as it is
 * in atheris, looks at an array of counters. What compares values (trace-cmp) calls functions of the
 * names that the fuzzer's have, but the fuzzer's are not to be seen by other libraries.
 */
#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>

#define COUNTERS (1u << 15)

static uint8_t counters[COUNTERS];
/* An address for each counter, as the fuzzer wants it, and whether a function begins there. */
static struct {
  uintptr_t address;
  uintptr_t is_entry;
} places[COUNTERS];

void __sanitizer_cov_trace_pc(void) {
  uintptr_t from = (uintptr_t)__builtin_return_address(0);
  uint8_t *counter = &counters[(from ^ from >> 15 ^ from >> 30) % COUNTERS];
  if (++*counter == 0) *counter = 255; /* it never looks as if it had not been there */
}

/* Comparisons go on to the fuzzer's own functions, once there is one: by jumps, so that it sees from
 * where. Of floats, which nothing here depends on, none are of interest. */
#define COMPARES(name, type)                       \
  static void (*name##_of_fuzzer)(type, type);     \
  void __sanitizer_cov_trace_##name(type a, type b) { \
    if (name##_of_fuzzer) name##_of_fuzzer(a, b);  \
  }
COMPARES(cmp1, uint8_t)
COMPARES(cmp2, uint16_t)
COMPARES(cmp4, uint32_t)
COMPARES(cmp8, uint64_t)
COMPARES(const_cmp1, uint8_t)
COMPARES(const_cmp2, uint16_t)
COMPARES(const_cmp4, uint32_t)
COMPARES(const_cmp8, uint64_t)
COMPARES(cmpf, float)
COMPARES(cmpd, double)

static void (*switch_of_fuzzer)(uint64_t, uint64_t *);
void __sanitizer_cov_trace_switch(uint64_t value, uint64_t *cases) {
  if (switch_of_fuzzer) switch_of_fuzzer(value, cases);
}

#define FIND(name, known_as) *(void **)&name = dlsym(fuzzer, "__sanitizer_cov_" known_as)

/* Makes all this known to a fuzzer: a library that was loaded, by its handle. */
int shmq_coverage_begin(void *fuzzer) {
  void (*counters_init)(const void *begin, const void *end);
  void (*places_init)(const void *begin, const void *end);
  FIND(counters_init, "8bit_counters_init");
  FIND(places_init, "pcs_init");
  if (!counters_init || !places_init) return 0;
  for (size_t i = 0; i < COUNTERS; i++) places[i].address = (uintptr_t)&counters[i];
  counters_init(counters, counters + COUNTERS);
  places_init(places, places + COUNTERS);
  FIND(cmp1_of_fuzzer, "trace_cmp1");
  FIND(cmp2_of_fuzzer, "trace_cmp2");
  FIND(cmp4_of_fuzzer, "trace_cmp4");
  FIND(cmp8_of_fuzzer, "trace_cmp8");
  FIND(const_cmp1_of_fuzzer, "trace_const_cmp1");
  FIND(const_cmp2_of_fuzzer, "trace_const_cmp2");
  FIND(const_cmp4_of_fuzzer, "trace_const_cmp4");
  FIND(const_cmp8_of_fuzzer, "trace_const_cmp8");
  FIND(switch_of_fuzzer, "trace_switch");
  return 1;
}
