"""Build of the extension modules; everything else stands in pyproject.toml.

Environment, for work on shmqueue itself:

SHMQUEUE_DEBUG=1
    No optimisation, debug symbols, C assertions on.
SHMQUEUE_SANITIZE=address,undefined  (or: thread)
    Instrument with these sanitizers of the compiler. Python itself is not instrumented, so their
    runtime library must be loaded before it: LD_PRELOAD="$(gcc -print-file-name=libasan.so)".
"""

import os
import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

PACKAGE = Path("shmqueue")
DEBUG = os.environ.get("SHMQUEUE_DEBUG", "") not in ("", "0")
SANITIZE = os.environ.get("SHMQUEUE_SANITIZE", "")

DIRECTIVES = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "cdivision": True,
    "freethreading_compatible": True,
}


def compile_args() -> list[str]:
    args = [
        "-std=gnu11",
        "-fvisibility=hidden",
        "-Wall",
        "-Wextra",
        # What Cython's own output gives rise to; our headers are held to -Werror by `make check`.
        "-Wno-unused-function",
        "-Wno-unused-parameter",
        "-Wno-missing-field-initializers",
        "-Wno-cast-function-type",
        "-Wno-sign-compare",
        # An extern block with a typo, or a pointer passed for an integer, must not link.
        "-Werror=implicit-function-declaration",
        "-Werror=int-conversion",
        "-Werror=return-type",
    ]
    # Never -march=native: the machine that builds a wheel is not the one that runs it.
    args += ["-O0", "-g3", "-UNDEBUG"] if DEBUG else ["-O3"]
    if SANITIZE:
        # -O1: what is instrumented takes minutes to compile at -O3, and its stacks say less.
        args += [f"-fsanitize={SANITIZE}", "-fno-omit-frame-pointer", "-g", "-O1"]
    return args


def link_args() -> list[str]:
    return [f"-fsanitize={SANITIZE}"] if SANITIZE else []


def extensions() -> list[Extension]:
    # Every module is rebuilt when any header or .pxd changes: their inline code is in each of them.
    depends = [str(path) for path in sorted([*PACKAGE.glob("_native/*.h"), *PACKAGE.glob("*.pxd")])]
    return [
        Extension(
            f"shmqueue.{source.stem}",
            [str(source)],
            include_dirs=[str(PACKAGE)],
            depends=depends,
            extra_compile_args=compile_args(),
            extra_link_args=link_args(),
        )
        for source in sorted(PACKAGE.glob("*.pyx"))
    ]


class BuildExt(build_ext):
    """Refuse other systems, rebuild when the flags changed since the last build, use all cores."""

    def finalize_options(self) -> None:
        super().finalize_options()
        if self.parallel is None:
            self.parallel = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1

    def run(self) -> None:
        if not sys.platform.startswith("linux"):
            raise SystemExit(
                "shmqueue runs on Linux only: it stands on futexes, open-file-description locks"
                f" and /dev/shm, which {sys.platform!r} does not have."
            )
        flags = " ".join(compile_args() + link_args())
        record = Path("build") / f"flags-{sys.implementation.cache_tag}.txt"
        if not record.is_file() or record.read_text() != flags:
            self.force = True
        super().run()
        record.parent.mkdir(exist_ok=True)
        record.write_text(flags)


def modules() -> list[Extension]:
    """Return what is to be compiled; nothing where it was, in place, just before."""
    if os.environ.get("SHMQUEUE_EXTENSIONS") == "built":
        return []
    return cythonize(
        extensions(), build_dir="build/cython", compiler_directives=DIRECTIVES, quiet=True
    )


setup(
    ext_modules=modules(),
    cmdclass={"build_ext": BuildExt},
)
