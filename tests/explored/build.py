"""The explorer, compiled with the protocol's headers as they are, or with some of them changed.

A change is a piece of text that is there once, and what stands there instead; one that no longer
applies is an error, so that no test goes on without the change that it is about.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
NATIVE = HERE / "native"
ROOT = HERE.parent.parent
HEADERS = ROOT / "shmqueue" / "_native"
BUILDS = ROOT / "build" / "explored"

FLAGS = [
    "-std=gnu11",
    "-D_GNU_SOURCE",
    # Of what is dead on an actor's stack, this leaves the least: fewer states that are the same.
    "-Og",
    "-fno-stack-protector",
    "-U_FORTIFY_SOURCE",
    "-Wall",
    "-Wno-unused-function",
    "-Wno-unused-value",
]
# The same, where the compiler knows it.
ZEROED = "-ftrivial-auto-var-init=zero"

# A ring of regions that are a few slots long, so that a handful of items goes through all of them.
SMALL_REGIONS = (
    (
        "layout.h",
        "#define SHMQ_FIRST_REGION (UINT64_C(1) << 20)",
        "#define SHMQ_FIRST_REGION (UINT64_C(1) << 7)",
    ),
    (
        "layout.h",
        "#define SHMQ_FIRST_BACKED (UINT64_C(1) << 16)",
        "#define SHMQ_FIRST_BACKED (UINT64_C(1) << 6)",
    ),
)
# A stream with a few rows for its writers, and who finishes as the last tries twice to end it.
SMALL_STREAM = (
    ("layout.h", "#define SHMQ_MAX_WRITERS 256u", "#define SHMQ_MAX_WRITERS 3u"),
    ("layout.h", "#define SHMQ_MAX_HOLDS 256u", "#define SHMQ_MAX_HOLDS 3u"),
    ("joining.h", "attempt < 1000; attempt++", "attempt < 2; attempt++"),
)
# Where memory is weak, the plain stores to a slot may be late like all others.
LATE_SLOTS = (
    ("ring.h", "slot->length = record->length;", "store_relaxed(&slot->length, record->length);"),
    ("ring.h", "slot->kind = record->kind;", "store_relaxed(&slot->kind, record->kind);"),
    ("ring.h", "slot->flags = record->flags;", "store_relaxed(&slot->flags, record->flags);"),
)


class BuildError(Exception):
    """The explorer does not compile, or a change does not apply."""


def compiler():
    """Return the command of the C compiler."""
    return (os.environ.get("CC") or sysconfig.get_config_var("CC") or "gcc").split()[0]


def changed(texts, changes):
    """Return the headers, by name, with each change made."""
    texts = dict(texts)
    for name, old, new in changes:
        found = texts[name].count(old)
        if found != 1:
            raise BuildError(
                f"{name} has this {found} times, not once; the change to it is out of date:\n{old}"
            )
        texts[name] = texts[name].replace(old, new)
    return texts


def build(changes=()):
    """Compile the explorer, unless that was done before; returns the program's path."""
    headers = {path.name: path.read_text() for path in sorted(HEADERS.glob("*.h"))}
    texts = changed(headers, changes)
    own = [path.read_text() for path in sorted(NATIVE.iterdir())]
    key = "\0".join([compiler(), *FLAGS, *own, *texts, *texts.values()])
    program = BUILDS / hashlib.sha256(key.encode()).hexdigest()[:20]
    if program.exists():
        return program
    BUILDS.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=BUILDS))
    try:
        for name, text in texts.items():
            (folder / name).write_text(text)
        output = folder / "explored"
        _compile(folder, output, [*FLAGS, ZEROED])
        output.replace(program)
    finally:
        shutil.rmtree(folder)
    return program


def _compile(headers, output, flags):
    command = [compiler(), *flags, "-I", NATIVE, "-I", headers, NATIVE / "explored.c", "-o", output]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0 and ZEROED in flags and ZEROED in done.stderr:
        return _compile(headers, output, [flag for flag in flags if flag != ZEROED])
    if done.returncode != 0:
        # Of a changed header, the first complaints are what there is to know.
        raise BuildError(re.sub(r"(?s)(.{3000}).*", r"\1 ...", done.stderr))
    return output
