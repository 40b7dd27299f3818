"""The page of large items: ``python -m benchmarks.large.report build/benchmarks-large.json``."""

from benchmarks.large.plot import draw
from benchmarks.page import Page, main

SECTIONS = (
    (
        "Frames from one process to another",
        ("frames",),
        "An array is put and an array is got; of each the first and the last byte are looked at, "
        "or all are summed, byte by byte (`frame.sum()`) or by 64-bit words, which is seven times "
        "as fast. The limit is one memcpy into a bare shared buffer on which the consumer works. "
        "All hold 8 frames, the limit 2.",
    ),
    (
        "Arrays inside objects",
        ("dict",),
        "pyzmq sends a pickle of protocol 5 and the arrays as messages of their own.",
    ),
    (
        "bytes in one process",
        ("bytes",),
        "bytes own their memory, so each get copies into a new object. What that costs depends on "
        "how the process's allocator gets large memory; here nothing large was allocated before.",
    ),
    (
        "Reserved arrays",
        ("reserve",),
        "`reserve_array`, one byte written, commit; the consumer looks at it in place. Nothing is "
        "copied, so the size does not matter.",
    ),
    (
        "Long runs once warm",
        ("steady",),
        "System calls of both processes for each item, futexes left out (`strace`); and the most "
        "by which the memory of both processes and of the segment grew.",
    ),
    (
        "From 64 bytes to 64 MiB",
        ("sweep",),
        "What the picture shows, as arrays a second.",
    ),
)

PAGE = Page(
    "large",
    "benchmarks.large.report",
    "Benchmarks of large items",
    SECTIONS,
    draw,
    "throughput over item size, from 64 bytes to 64 MiB, and the limit of one memcpy",
    limit="memcpy",
)


if __name__ == "__main__":
    main(PAGE)
