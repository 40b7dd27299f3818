"""The three that watch: how each is put in force, what runs under it, and what does not and why."""

import dataclasses
import functools
import os
import pathlib
import re
import subprocess

# How a process ends that was found at fault.
EXIT_CODE = 99
ROOT = pathlib.Path(__file__).resolve().parent.parent.parent

OWN_CALLS = "it counts system calls, and the runtime makes some of its own"


@dataclasses.dataclass(frozen=True)
class Tool:
    """One that watches.

    `groups` are run beside each other, one for each core. `reported` is what a finding looks like.
    `left_out` says why of each test, or part of a test's name, that is not run.
    """

    name: str
    groups: tuple
    reported: str
    libraries: tuple = ()
    options: dict = dataclasses.field(default_factory=dict)
    prefix: tuple = ()
    left_out: dict = dataclasses.field(default_factory=dict)
    # Tests that start processes have no part in it.
    is_for_one_process: bool = False
    # How much address range a segment may take, where the tool has not as much as there is.
    address_bytes: int = 0
    # Flags with which a program in C is compiled to be watched.
    cflags: str = ""
    # A function of planted.c, what it is called with, and what is said of it.
    planted: tuple = ()
    watchdog_seconds: int = 300

    def environment(self, folder):
        """Return the environment of what is to be watched; reports go to files in `folder`."""
        environment = dict(os.environ)
        # The interpreter's own allocator hides what happens within its arenas.
        environment["PYTHONMALLOC"] = "malloc"
        environment["PYTHONDONTWRITEBYTECODE"] = "1"
        environment["SHMQUEUE_SANITIZED"] = self.name
        environment["SHMQUEUE_CFLAGS"] = self.cflags
        # Before an interpreter that is not instrumented, the runtimes must be loaded first of all.
        if self.libraries:
            environment["LD_PRELOAD"] = " ".join(map(_library, self.libraries))
        for variable, options in self.options.items():
            environment[variable] = options.format(folder=folder, code=EXIT_CODE, root=ROOT)
        return environment

    def command(self, folder, *command):
        """Return the command line that runs a program under watch."""
        return [
            *(part.format(folder=folder, code=EXIT_CODE, root=ROOT) for part in self.prefix),
            *command,
        ]

    def findings_in(self, text):
        """Return the lines of a report that are findings."""
        return [line for line in text.splitlines() if re.search(self.reported, line)]


@functools.cache
def _library(name):
    command = [os.environ.get("CC", "gcc"), f"-print-file-name={name}"]
    path = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert os.path.isabs(path), f"the compiler has no {name}: install its sanitizer libraries"
    return path


ASAN = Tool(
    name="asan",
    groups=(
        ("tests/api", "tests/faults", "tests/sanitized"),
        ("tests/protocol", "tests/contract", "tests/codec", "tests/layout", "tests/groups"),
    ),
    reported=r"ERROR: AddressSanitizer|runtime error:",
    libraries=("libasan.so", "libubsan.so"),
    cflags="-fsanitize=address,undefined",
    options={
        # Leaks: at its end the interpreter leaves thousands of objects by design; ours are looked
        # for by tests/codec/test_leaks.py and by what each test leaves behind.
        # Null for what no memory can hold: that is what the tests of MemoryError ask for.
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:exitcode={code}"
        ":log_path={folder}/report",
        # It writes to stderr whatever one tells it, when it is loaded beside the other.
        "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1:exitcode={code}",
    },
    left_out={
        "tests/codec/test_leaks": "they measure memory, which the sanitizer keeps back for a while",
        "test_less_address_space_means_fewer_regions": "RLIMIT_AS leaves the sanitizer no room",
        "test_puts_and_gets_make_no_system_call": OWN_CALLS,
    },
    planted=(
        ("overflow", 100, "heap-buffer-overflow"),
        ("use_after_free", 100, "heap-use-after-free"),
        ("signed_overflow", 100, "runtime error: signed integer overflow"),
    ),
)

TSAN = Tool(
    name="tsan",
    # Where threads meet: the rest has one, and is run under the others.
    groups=(
        (
            "tests/sanitized",
            *(f"tests/protocol/test_{name}.py" for name in ("ring", "regions", "growing_together")),
            *(f"tests/api/test_{name}.py" for name in ("view_lifetimes", "views", "view_pressure")),
            *(f"tests/api/test_{name}.py" for name in ("large_items", "large_items_that_fail")),
            "tests/groups/test_groups.py",
        ),
        (
            "tests/contract",
            *(f"tests/api/test_{name}.py" for name in ("handles", "batches", "joining")),
            *(f"tests/api/test_{name}.py" for name in ("shutdown", "polling", "async", "metrics")),
            *(f"tests/api/test_{name}.py" for name in ("reservation_limits", "raw_bytes")),
        ),
    ),
    reported=r"WARNING: ThreadSanitizer|FATAL: ThreadSanitizer",
    libraries=("libtsan.so",),
    cflags="-fsanitize=thread -Wno-tsan",
    options={
        "TSAN_OPTIONS": "halt_on_error=0:exitcode={code}:log_path={folder}/report:history_size=5"
        ":suppressions={root}/tools/tsan.supp",
    },
    # Its shadow has a fixed place, which an address space may have taken that is much randomised.
    prefix=("setarch", "-R"),
    is_for_one_process=True,
    left_out={"test_puts_and_gets_make_no_system_call": OWN_CALLS},
    planted=(("race", 2, "data race"),),
)

MEMCHECK = Tool(
    name="memcheck",
    groups=(
        (
            "tests/protocol/test_ring.py",
            "tests/protocol/test_regions.py",
            "tests/contract/test_shared_memory_queue.py",
        ),
        (
            "tests/codec/test_round_trips.py",
            "tests/api/test_views.py",
            "tests/api/test_reservations.py",
        ),
    ),
    reported=r"^==\d+== (?!Warning: set address range)\S",
    prefix=(
        "valgrind",
        "--tool=memcheck",
        "--quiet",
        "--error-exitcode={code}",
        "--leak-check=no",
        "--num-callers=30",
        "--fair-sched=yes",
        "--suppressions={root}/tools/valgrind.supp",
        "--log-file={folder}/report.%p",
    ),
    is_for_one_process=True,
    address_bytes=1 << 30,
    planted=(
        ("overflow", 100, "Invalid read"),
        ("use_after_free", 100, "Invalid read"),
        ("uninitialised", 100, "depends on uninitialised"),
    ),
    watchdog_seconds=600,
)

TOOLS = {tool.name: tool for tool in (ASAN, TSAN, MEMCHECK)}
