"""The codec under a coverage-guided fuzzer (atheris, which is libFuzzer for Python).

    make fuzz ARGS="--seconds 600"

builds the package a second time, with coverage of its compiled code, and runs this:

    python -m tests.hostile.fuzz --seconds 600 --seed 7 --reports docs/reports

An input is a byte that says the kind, and how it is loaded, and then the bytes to decode. The first
inputs are encodings of many objects; ours are mixed with the fuzzer's own ways to change them. A
crash, a hang, memory beyond bounds, or an exception that no decoder documents ends the run: the
input is kept, and `--only FILE` loads it again. The exit status is 0 if there was none.
"""

import argparse
import base64
import ctypes
import importlib.util
import os
import pathlib
import random
import re
import secrets
import subprocess
import sys
import tempfile
import time

from tests import evidence

IN_PLACE = 0x10
MOST_MEGABYTES = 2048
HANG_SECONDS = 20
# The library that `make fuzz` builds; without it, only what is written in Python is seen.
COVERAGE = "SHMQUEUE_COVERAGE"

PROGRESS = re.compile(r"#(\d+)\t\w+ +cov: (\d+) ft: (\d+) corp: (\d+)/")


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.hostile.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--reports", help="folder to keep the figures in")
    parser.add_argument("--only", type=pathlib.Path, help="load this one input, and end")
    parser.add_argument("--fuzz-in", type=pathlib.Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        return _repeat(options.only)
    seed = secrets.randbits(31) if options.seed is None else options.seed
    if options.fuzz_in:
        return _fuzz(options.fuzz_in, options.seconds, seed)
    return _supervise(options, seed)


# ---- the parent: starts the fuzzer, shows how far it is, keeps what it found


def _supervise(options, seed):
    print(f"seed {seed}", flush=True)
    if importlib.util.find_spec("atheris") is None:
        print("atheris is not installed here: see `make fuzz`", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        folder = pathlib.Path(name)
        count = _write_corpus(folder)
        last, tail, code = _follow(folder, options.seconds, seed)
        inputs = sorted(folder.glob("found-*"))
        figures = {
            "fuzz_inputs": int(last[0]),
            "fuzz_edges": int(last[1]),
            "fuzz_features": int(last[2]),
            "fuzz_corpus": int(last[3]),
            "fuzz_first_inputs": count,
            "fuzz_seconds": options.seconds,
            "fuzz_seed": seed,
            "fuzz_findings": max(len(inputs), int(code != 0)),
            "fuzz_sees_compiled_code": os.environ.get(COVERAGE) is not None,
        }
        print("\r" + ", ".join(f"{key[5:]} {value}" for key, value in figures.items()))
        for path in inputs:
            kept = pathlib.Path(tempfile.gettempdir(), f"{path.name}.fuzz")
            kept.write_bytes(path.read_bytes())
            print(f"--only {kept}  # {base64.b85encode(kept.read_bytes()[:300])}", file=sys.stderr)
        if code != 0:
            print("".join(tail), file=sys.stderr)
    evidence.report("fuzz", figures, options.reports)
    return 1 if code != 0 else 0


def _write_corpus(folder):
    """Write the first inputs, each of them sound; return how many."""
    from tests.hostile.encodings import encodings

    (folder / "corpus").mkdir()
    for number, (kind, data) in enumerate(encodings()):
        for in_place in (0, IN_PLACE) if kind in (7, 8) else (0,):
            path = folder / "corpus" / f"{number}-{in_place}"
            path.write_bytes(bytes([kind | in_place]) + data)
    return len(os.listdir(folder / "corpus"))


def _follow(folder, seconds, seed):
    """Run the fuzzer; return its last figures, the end of what it said, and its exit code."""
    command = [sys.executable, "-m", "tests.hostile.fuzz", "--fuzz-in", str(folder)]
    command += ["--seconds", str(seconds), "--seed", str(seed)]
    fuzzer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, errors="replace")
    begun, last, tail = time.monotonic(), ("0", "0", "0", "0"), []
    try:
        for line in fuzzer.stderr:
            found = PROGRESS.search(line)
            if not found:
                tail = [*tail[-60:], line]
                continue
            last = found.groups()
            if sys.stdout.isatty():
                left = max(0, seconds - (time.monotonic() - begun))
                text = f"{int(last[0]):,} inputs, {last[1]} edges, {last[2]} features, {left:.0f} s"
                print(f"\r{text} left ", end="", flush=True)
        return last, tail, fuzzer.wait()
    finally:
        if fuzzer.poll() is None:
            fuzzer.kill()
            fuzzer.wait()
        fuzzer.stderr.close()


# ---- the child: is the fuzzer, and never returns


def _fuzz(folder, seconds, seed):
    _begin_coverage()
    import atheris

    with atheris.instrument_imports(include=["shmqueue", "pickle"]):
        from shmqueue import _dtypes  # noqa: F401
    from tests.hostile.encodings import encodings, mutated, safe_pickles

    known = [data for _, data in encodings()]

    def mutate(data, most, number):
        source = random.Random(number)
        if not data or source.random() < 0.6:
            return atheris.Mutate(data, len(data))[:most]
        return (data[:1] + mutated(data[1:], source, source.choice(known)))[:most]

    atheris.Setup(
        [
            sys.argv[0],
            str(folder / "corpus"),
            f"-max_total_time={seconds}",
            f"-seed={seed}",
            f"-artifact_prefix={folder}/found-",
            f"-rss_limit_mb={MOST_MEGABYTES}",
            f"-malloc_limit_mb={MOST_MEGABYTES}",
            f"-timeout={HANG_SECONDS}",
            "-max_len=70000",
            "-len_control=0",
            "-use_value_profile=1",
            "-report_slow_units=10",
            "-print_final_stats=1",
        ],
        try_one,
        custom_mutator=mutate,
    )
    with safe_pickles():
        atheris.Fuzz()


def _begin_coverage():
    """Show the fuzzer what compiled code was run, if that was built for it."""
    library = os.environ.get(COVERAGE)
    if not library:
        return
    core = importlib.util.find_spec("atheris.core_with_libfuzzer").origin
    fuzzer = ctypes.CDLL(core)
    begin = ctypes.CDLL(library).shmq_coverage_begin
    begin.argtypes = [ctypes.c_void_p]
    if not begin(fuzzer._handle):
        raise RuntimeError("this atheris does not take counters from outside")


def try_one(data):
    """Decode one input; raises what no decoder should."""
    from tests.hostile.encodings import load

    if data:
        load(data[0] & ~IN_PLACE, data[1:], bool(data[0] & IN_PLACE))


def _repeat(path):
    from tests.hostile.encodings import safe_pickles

    with safe_pickles():
        try_one(path.read_bytes())
    print("it was loaded, or refused")
    return 0


if __name__ == "__main__":
    sys.exit(main())
