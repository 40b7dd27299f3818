"""Each C header may be the first to be included, and all compile without any warning."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

NATIVE = Path(__file__).resolve().parent.parent / "shmqueue" / "_native"

WARNINGS = [
    "-Wall",
    "-Wextra",
    "-Wshadow",
    "-Wstrict-prototypes",
    "-Wpointer-arith",
    "-Wvla",
    "-Werror",
    "-Wno-unused-function",  # static inline: each user takes what it needs
]


def main():
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "gcc").split()[0]
    failed = False
    headers = sorted(path.name for path in NATIVE.glob("*.h"))
    for first in headers:
        # Through an #include: a header named on the command line is warned of differently.
        unit = "".join(f'#include "{name}"\n' for name in [first, *headers])
        # -O2: some warnings need the optimiser to look.
        command = [
            compiler,
            "-std=gnu11",
            "-D_GNU_SOURCE",
            "-O2",
            *WARNINGS,
            "-I",
            str(NATIVE),
            "-c",
            "-x",
            "c",
        ]
        done = subprocess.run([*command, "-o", os.devnull, "-"], input=unit, text=True, check=False)
        failed |= done.returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main())
