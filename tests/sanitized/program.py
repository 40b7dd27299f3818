"""The program of threads in C: built as the extension is, and run on a queue's segment."""

import os
import pathlib
import shutil
import subprocess

HERE = pathlib.Path(__file__).resolve().parent
PACKAGE = HERE.parent.parent / "shmqueue"
# What an optimiser can't see through in the headers is no news here.
FLAGS = (
    "-std=gnu11 -g -O1 -fno-omit-frame-pointer -Wall -Wno-unused-function -Wno-maybe-uninitialized"
)

# Orders that the protocol needs, as it states them, and without.
UNORDERED = {
    "ends.h": (
        "xchg_acq_rel(&end->owner, 0)",
        "__atomic_exchange_n(&end->owner, 0, __ATOMIC_RELAXED)",
    ),
    "ring.h": (
        "store_release(&tail->sequence, sequence + count)",
        "store_relaxed(&tail->sequence, sequence + count)",
    ),
    "blocks.h": (
        "store_release(&block->state, SHMQ_BLOCK_FREE)",
        "store_relaxed(&block->state, SHMQ_BLOCK_FREE)",
    ),
}


def build(folder, include=PACKAGE):
    """Compile the program into a folder, with the flags of the sanitizer if there is one."""
    program = pathlib.Path(folder, "threads")
    # The compiler is not to be watched.
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    flags = FLAGS.split() + os.environ.get("SHMQUEUE_CFLAGS", "").split()
    subprocess.run(
        [
            *(os.environ.get("CC", "gcc"), *flags, "-I", str(include), "-o", str(program)),
            *(str(HERE / "threads.c"), "-lpthread"),
        ],
        env=environment,
        check=True,
    )
    return program


def build_without_order(folder, header):
    """Compile it with one of the orders left out."""
    shutil.copytree(PACKAGE / "_native", pathlib.Path(folder, "_native"))
    path = pathlib.Path(folder, "_native", header)
    ordered, unordered = UNORDERED[header]
    text = path.read_text()
    assert ordered in text, f"{header} says no more: {ordered}"
    path.write_text(text.replace(ordered, unordered))
    return build(folder, folder)


def run(program, fd, items, limit=300):
    """Run it on an empty segment; return what it said, and how it ended."""
    done = subprocess.run(
        [str(program), str(fd), str(items)],
        pass_fds=[fd],
        capture_output=True,
        text=True,
        timeout=limit,
        check=False,
    )
    return done.stdout, done.stderr, done.returncode
