/* After the protocol's headers: the system's own names again, for the explorer itself. */
#undef syscall
#undef fcntl
#undef fstat
#undef fallocate
#undef lseek
#undef mmap
#undef munmap
#undef madvise
#undef open
#undef close
#undef read
#undef write
#undef readlink
#undef clock_gettime
#undef time
#undef getpid
