/* Errors made on purpose: each must be reported, or the instrumentation is not in force. */
#include <limits.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* AddressSanitizer, memcheck: a byte behind what was allocated. */
int overflow(int length) {
  volatile char *bytes = calloc(1, (size_t)length);
  if (bytes == NULL) return -1;
  int result = bytes[length];
  free((void *)bytes);
  return result;
}

/* AddressSanitizer, memcheck: a byte of what was freed. */
int use_after_free(int length) {
  volatile char *bytes = calloc(1, (size_t)length);
  if (bytes == NULL) return -1;
  free((void *)bytes);
  return bytes[length / 2];
}

/* UndefinedBehaviorSanitizer: more than an int holds. */
int signed_overflow(int value) { return value + INT_MAX; }

/* memcheck: a branch on what nobody wrote. */
int uninitialised(int length) {
  volatile char *bytes = malloc((size_t)length);
  if (bytes == NULL) return -1;
  int result = bytes[length / 2] > 3 ? 1 : 2;
  free((void *)bytes);
  return result;
}

/* ThreadSanitizer: threads, one word, no order. */
static uint64_t word;

static void *count(void *unused) {
  (void)unused;
  for (int i = 0; i < 10000; i++) word++;
  return NULL;
}

int race(int threads) {
  pthread_t others[8];
  if (threads > 8) threads = 8;
  for (int i = 0; i < threads; i++) pthread_create(&others[i], NULL, count, NULL);
  for (int i = 0; i < threads; i++) pthread_join(others[i], NULL);
  return (int)word;
}
