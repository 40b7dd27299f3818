/* The system underneath the protocol, simulated: futexes, the kernel's locks, memory that is reserved
 * and given back, the poll descriptor, clocks. Read before the protocol's own headers, after the
 * system's, so that the names below stand for the simulation in the protocol alone.
 */
#ifndef EXPLORED_SYSTEM_H
#define EXPLORED_SYSTEM_H

#include "world.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
  EX_SEGMENT_FD = 100,   /* + process: by which memory is reserved and locks are asked for */
  EX_SEAT_FD = 200,      /* + process: the fresh description that takes the seat's lock */
  EX_POLL_FD = 300,
  EX_INODE = 7,
  EX_POLL_INODE = 8,
};

static long ex_futex(uint32_t *word, int operation, uint32_t value, const struct timespec *until,
                     uint32_t bitset);
static int ex_lock(int fd, int command, struct flock *lock);
static int ex_stat(int fd, struct stat *status);
static int ex_allocate(int fd, int mode, uint64_t offset, uint64_t length);
static void *ex_map(int fd);
static int ex_unmap(void *page);
static int ex_close(int fd);
static ssize_t ex_read(int fd, void *buffer);
static ssize_t ex_write(int fd, const void *buffer);
static off_t ex_seek_hole(uint64_t from);
static int ex_clock(struct timespec *now);
static int ex_pid(void);

#define syscall(number, word, operation, value, until, unused, bitset) \
  ex_futex((word), (operation), (uint32_t)(value), (until), (bitset))
#define fcntl(fd, command, lock) ex_lock((fd), (command), (lock))
#define fstat(fd, status) ex_stat((fd), (status))
#define fallocate(fd, mode, offset, length) \
  ex_allocate((fd), (mode), (uint64_t)(offset), (uint64_t)(length))
#define lseek(fd, offset, whence) ex_seek_hole((uint64_t)(offset))
#define mmap(at, length, protection, flags, fd, offset) ex_map(fd)
#define munmap(page, length) ex_unmap(page)
#define madvise(page, length, advice) 0
#define open(path, flags) (-1)
#define close(fd) ex_close(fd)
#define read(fd, buffer, size) ex_read((fd), (buffer))
#define write(fd, buffer, size) ex_write((fd), (buffer))
#define readlink(path, buffer, size) ((ssize_t)-1)
#define clock_gettime(clock, now) ex_clock(now)
#define time(unused) ((time_t)(EX_START_NS / 1000000000))
#define getpid() ex_pid()

#endif
