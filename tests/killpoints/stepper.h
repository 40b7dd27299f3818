/* A process that stands still at any instruction of an operation, and is killed there.
 *
 * What it runs through is recorded once, one single step after the other: the path. Each trial then
 * has a process of its own, which runs to a breakpoint at an instruction of the path, and over what
 * is left by single steps, so that a trial late in the path costs no more than an early one. Where
 * its way differs from the recorded one (a clock that is read twice because it ticked, a sleep that
 * ended sooner), it stops at the end at the latest, and is killed there.
 */
#ifndef KILLPOINTS_STEPPER_H
#define KILLPOINTS_STEPPER_H

#include "segment.h"

#include <elf.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>

#define NOT_PERMITTED 77
#define LONGEST_PATH 200000u

/* The one instruction that raises SIGILL: the operation begins and ends at it. */
#if defined(__x86_64__)
#define MARK() __asm__ volatile("ud2" ::: "memory")
#define MARK_BYTES 2
#define PC(registers) ((registers).rip)
#define TRAP_BYTES 1 /* how far the counter is past a breakpoint when it stops there */
static inline unsigned long with_trap(unsigned long text) { return (text & ~0xFFul) | 0xCC; }
static inline int is_syscall(uint64_t pc) {
  const uint8_t *text = (const uint8_t *)pc;
  return text[0] == 0x0F && text[1] == 0x05;
}
#elif defined(__aarch64__)
#define MARK() __asm__ volatile(".inst 0" ::: "memory")
#define MARK_BYTES 4
#define PC(registers) ((registers).pc)
#define TRAP_BYTES 0
static inline unsigned long with_trap(unsigned long text) {
  return (text & ~0xFFFFFFFFul) | 0xD4200000ul;
}
static inline int is_syscall(uint64_t pc) { return *(const uint32_t *)pc == 0xD4000001u; }
#else
#error "killpoints knows x86-64 and aarch64"
#endif

/* How a stopped process stands there. */
typedef enum { STANDS, AT_END, IS_GONE } stance;

/* Ways to be killed at an instruction. */
typedef enum {
  BEFORE,    /* it, by whatever its kind */
  ON_ENTRY,  /* in the system call that it is, before it did anything */
  ASLEEP,    /* in the futex wait that it is */
} manner;

typedef enum { ORDINARY, CALL, SLEEP } instruction;

typedef struct {
  uint64_t *pcs;         /* pcs[k]: where a process stands after k instructions */
  uint32_t *occurrences; /* how often it came there by then, this time included */
  uint8_t *kinds;        /* what the instruction is */
  uint32_t length;       /* instructions from mark to mark */
} path;

/* ---- one process --------------------------------------------------------------------------------- */

static struct user_regs_struct registers_of(pid_t pid) {
  struct user_regs_struct registers;
  struct iovec part = {&registers, sizeof(registers)};
  if (ptrace(PTRACE_GETREGSET, pid, NT_PRSTATUS, &part) != 0) give_up("no registers");
  return registers;
}

static void set_pc(pid_t pid, uint64_t pc) {
  struct user_regs_struct registers = registers_of(pid);
  struct iovec part = {&registers, sizeof(registers)};
  PC(registers) = pc;
  if (ptrace(PTRACE_SETREGSET, pid, NT_PRSTATUS, &part) != 0) give_up("registers can't be set");
}

/* What a process that was set going does next; its exit or signal in *how. */
static stance await_stop(pid_t pid, int *how) {
  int status;
  while (waitpid(pid, &status, __WALL) != pid)
    if (errno != EINTR) give_up("waitpid");
  *how = status;
  if (!WIFSTOPPED(status)) return IS_GONE;
  if (WSTOPSIG(status) == SIGILL) return AT_END;
  if ((WSTOPSIG(status) & 0x7F) == SIGTRAP) return STANDS;
  return IS_GONE; /* a signal of its own: a crash */
}

static stance go_on(pid_t pid, int request, int *how) {
  if (ptrace(request, pid, NULL, NULL) != 0) give_up("a process can't be set going");
  return await_stop(pid, how);
}

/* Starts a process that prepares itself and stops at its mark. */
static pid_t start_stopped(void (*run)(void *), void *argument) {
  int how;
  pid_t parent = getpid(), pid = fork();
  if (pid < 0) give_up("no process");
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent || ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0) _exit(NOT_PERMITTED);
    run(argument);
    _exit(0);
  }
  if (await_stop(pid, &how) != AT_END) {
    if (WIFEXITED(how) && WEXITSTATUS(how) == NOT_PERMITTED) {
      fprintf(stderr, "killpoints: ptrace is not permitted here\n");
      exit(NOT_PERMITTED);
    }
    errno = 0;
    give_up("a process failed before it began: status %#x", how);
  }
  if (ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD) != 0)
    give_up("ptrace options");
  set_pc(pid, PC(registers_of(pid)) + MARK_BYTES);
  return pid;
}

/* SIGKILL, and the wait for what is left. */
static void kill_and_reap(pid_t pid) {
  int status;
  if (kill(pid, SIGKILL) != 0) give_up("kill");
  for (;;) {
    if (waitpid(pid, &status, __WALL) != pid) {
      if (errno != EINTR) give_up("waitpid");
    } else if (!WIFSTOPPED(status)) {
      return;
    }
  }
}

/* 'S' asleep, 'R', 't' stopped, 'Z' ended, ... */
static char state_of(pid_t pid) {
  char name[32], text[512];
  snprintf(name, sizeof(name), "/proc/%d/stat", pid);
  int fd = open(name, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 'X';
  ssize_t size = read(fd, text, sizeof(text) - 1);
  close(fd);
  text[size > 0 ? size : 0] = 0;
  const char *end = strrchr(text, ')');
  return end == NULL ? 'X' : end[2];
}

/* Lets other processes run until one of them sleeps, or is over. Neither by the clock nor for ever:
 * a process that does nothing else gets there. */
static char await_rest(pid_t pid) {
  for (;;) {
    char state = state_of(pid);
    if (state != 'R' && state != 'D') return state;
    sched_yield();
  }
}

/* ---- the path ------------------------------------------------------------------------------------ */

/* What stands at an instruction, before it is done. */
static instruction kind_of(const struct user_regs_struct *registers) {
  if (!is_syscall(PC(*registers))) return ORDINARY;
#if defined(__x86_64__)
  uint64_t number = registers->rax, call = registers->rsi;
#else
  uint64_t number = registers->regs[8], call = registers->regs[1];
#endif
  return number == SYS_futex && (call & FUTEX_CMD_MASK) == FUTEX_WAIT_BITSET ? SLEEP : CALL;
}

static void path_drop(path *way) {
  free(way->pcs);
  free(way->occurrences);
  free(way->kinds);
  memset(way, 0, sizeof(*way));
}

static void count_occurrences(path *way) {
  uint32_t size = 1;
  while (size < 4 * way->length + 4) size *= 2;
  struct {
    uint64_t pc;
    uint32_t count;
  } *table = calloc(size, sizeof(*table));
  way->occurrences = malloc((way->length + 1) * sizeof(uint32_t));
  if (table == NULL || way->occurrences == NULL) give_up("no memory for a path");
  for (uint32_t k = 0; k <= way->length; k++) {
    uint32_t at = (uint32_t)(way->pcs[k] * UINT64_C(0x9E3779B97F4A7C15) >> 32) & (size - 1);
    while (table[at].pc != 0 && table[at].pc != way->pcs[k]) at = (at + 1) & (size - 1);
    table[at].pc = way->pcs[k];
    way->occurrences[k] = ++table[at].count;
  }
  free(table);
}

/* Steps a process from mark to mark, and calls `after_each` where it stands. AT_END, or IS_GONE. */
static stance path_record(path *way, pid_t pid, void (*after_each)(uint32_t, void *),
                          void *argument, int *how) {
  stance now = STANDS;
  uint32_t room = 0;
  memset(way, 0, sizeof(*way));
  for (uint32_t k = 0;; k++) {
    if (k >= room) {
      room = room * 2 + 1024;
      way->pcs = realloc(way->pcs, room * sizeof(uint64_t));
      way->kinds = realloc(way->kinds, room);
      if (way->pcs == NULL || way->kinds == NULL) give_up("no memory for a path");
    }
    const struct user_regs_struct registers = registers_of(pid);
    way->pcs[k] = PC(registers);
    way->kinds[k] = (uint8_t)kind_of(&registers);
    way->length = k;
    if (after_each != NULL) after_each(k, argument);
    now = go_on(pid, PTRACE_SINGLESTEP, how);
    if (now != STANDS) break;
    if (k == LONGEST_PATH) give_up("an operation of more than %u instructions", k);
  }
  if (now == AT_END) count_occurrences(way);
  return now;
}

/* Where it sleeps for the first time; its end, if it doesn't. */
static uint32_t path_sleeps(const path *way) {
  const uint8_t *at = memchr(way->kinds, SLEEP, way->length);
  return at == NULL ? way->length : (uint32_t)(at - way->kinds);
}

/* Runs to the given occurrence of an instruction. */
static stance run_to(pid_t pid, uint64_t pc, uint32_t occurrence, int *how) {
  errno = 0;
  unsigned long text = (unsigned long)ptrace(PTRACE_PEEKTEXT, pid, (void *)pc, NULL);
  if (errno != 0) give_up("no text at %#lx", (unsigned long)pc);
  for (;;) {
    if (ptrace(PTRACE_POKETEXT, pid, (void *)pc, (void *)with_trap(text)) != 0)
      give_up("no breakpoint at %#lx", (unsigned long)pc);
    stance now = go_on(pid, PTRACE_CONT, how);
    if (now != STANDS) return now;
    if (ptrace(PTRACE_POKETEXT, pid, (void *)pc, (void *)text) != 0) give_up("a breakpoint stays");
    set_pc(pid, PC(registers_of(pid)) - TRAP_BYTES);
    if (--occurrence == 0) return STANDS;
    now = go_on(pid, PTRACE_SINGLESTEP, how);
    if (now != STANDS) return now;
  }
}

/* Brings a process that stands at the beginning to where k instructions are done. */
static stance go_to(pid_t pid, const path *way, uint32_t k, int *how) {
  /* A breakpoint costs some single steps, each time that it is met. */
  const uint32_t breakpoint = 4;
  uint32_t best = 0, least = k;
  for (uint32_t from = k; from > 0 && k - from < least; from--) {
    uint32_t cost = k - from + breakpoint * way->occurrences[from];
    if (cost < least) {
      least = cost;
      best = from;
    }
  }
  stance now = STANDS;
  if (best > 0) now = run_to(pid, way->pcs[best], way->occurrences[best], how);
  for (uint32_t at = best; at < k && now == STANDS; at++)
    now = go_on(pid, PTRACE_SINGLESTEP, how);
  return now;
}

/* From before a system call: into it, as `how_killed` wants it. */
static stance enter_call(pid_t pid, manner how_killed, int *how) {
  stance now = go_on(pid, PTRACE_SYSCALL, how);
  if (now != STANDS || how_killed == ON_ENTRY) return now;
  if (ptrace(PTRACE_SYSCALL, pid, NULL, NULL) != 0) give_up("a call can't go on");
  await_rest(pid);
  return STANDS;
}

#endif
