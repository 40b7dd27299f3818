"""The drop-ins' page: ``python -m benchmarks.dropins.report build/benchmarks-dropins.json ...``."""

from benchmarks.page import Page, main

SECTIONS = (
    (
        "Programs that others wrote",
        ("pool", "executor", "loader"),
        "The same program with the standard context, with ours passed to it, and, where that makes "
        "a difference, after `shmqueue.install()`.",
    ),
    (
        "The drop-in and the named queue",
        ("dropin-local", "dropin-spsc"),
        "`shmqueue.Queue`, with a bound and without one, beside `SharedMemoryQueue` with 1024 "
        "slots of 256 bytes and `multiprocessing.Queue(1024)`.",
    ),
    (
        "From making to dropping",
        ("life", "burst", "memory"),
        "The named queue is one that was made large enough for the whole burst.",
    ),
)

PAGE = Page("dropins", "benchmarks.dropins.report", "Benchmarks of the drop-ins", SECTIONS)


if __name__ == "__main__":
    main(PAGE)
