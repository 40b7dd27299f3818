"""Run tests under watch: see tools/sanitized.sh, which builds what is needed."""

import concurrent.futures
import json
import os
import pathlib
import shutil
import subprocess
import sys

from tests import evidence
from tests.sanitized import program
from tests.sanitized.tools import EXIT_CODE, TOOLS

BUILD = pathlib.Path("build").resolve()
FOUND = BUILD / "found"
# What an instrumented module refers to.
INIT_OF = {"asan": b"__asan_init", "tsan": b"__tsan_init"}
GROUP_SECONDS = 3600
# The program of threads, with an order left out, on a queue of its own.
UNORDERED = """
from shmqueue.segment import create_unnamed
from tests.sanitized import program
queue = create_unnamed(8)
print(*program.run(program.build_without_order({!r}, {!r}), queue.fd, 3000))
"""


def main():
    name, *arguments = sys.argv[1:]
    tool = TOOLS[name]
    shutil.rmtree(FOUND, ignore_errors=True)
    missed = see_that_it_is_in_force(tool)
    if missed:
        print("not reported:", *missed, sep="\n  ")
        return 1
    planted = [*(function for function, _, _ in tool.planted), *orders_of(tool)]
    print(f"{name} is in force; reported were these, made on purpose: {', '.join(planted)}")
    if arguments == ["--self-test"]:
        return 0
    groups = [arguments] if arguments else tool.groups
    with concurrent.futures.ThreadPoolExecutor(len(groups)) as pool:
        runs = list(pool.map(lambda n: run_tests(tool, n, groups[n]), range(len(groups))))
    counts = {kind: sum(run[1][kind] for run in runs) for kind in runs[0][1]}
    findings = [finding for run in runs for finding in run[2]]
    for finding in findings:
        print("found:", finding)
    if not arguments:
        evidence.report(
            name,
            {
                "tests_passed": counts["passed"],
                "tests_failed": counts["failed"],
                "tests_left_out": counts["deselected"],
                "findings": len(findings),
            },
        )
    print(name, ", ".join(f"{count} {kind}" for kind, count in counts.items()))
    return bool(findings) or any(run[0] for run in runs)


def see_that_it_is_in_force(tool):
    """Return the planted errors that were not reported, and the modules not instrumented."""
    missed = []
    for function, argument, expected in tool.planted:
        folder = FOUND / function
        folder.mkdir(parents=True)
        call = f"import ctypes; ctypes.CDLL({str(BUILD / 'planted.so')!r}).{function}({argument})"
        done = watched(tool, folder, sys.executable, "-c", call)
        said = done.stderr + reports_in(folder)
        if done.returncode != EXIT_CODE or expected not in said or not tool.findings_in(said):
            missed.append(f"{function}: exit code {done.returncode}, and it said: {said}")
    if tool.name in INIT_OF:
        modules = sorted(pathlib.Path("shmqueue").glob("*.so"))
        assert modules, "nothing was built"
        missed += [
            f"{path} is not instrumented"
            for path in modules
            if INIT_OF[tool.name] not in path.read_bytes()
        ]
    for header in orders_of(tool):
        folder = FOUND / header
        folder.mkdir()
        source = UNORDERED.format(str(folder), header)
        done = watched(tool, folder, sys.executable, "-c", source)
        if "data race" not in done.stderr + reports_in(folder):
            missed.append(f"an order left out of {header}: {done.stdout} {done.stderr}")
    return missed


def orders_of(tool):
    """Return the headers of which an order is left out, to see whether it is missed."""
    return list(program.UNORDERED) if tool.name == "tsan" else []


def watched(tool, folder, *command, **others):
    others = {"capture_output": True, "text": True, "timeout": GROUP_SECONDS} | others
    return subprocess.run(
        tool.command(folder, *command),
        env=tool.environment(folder) | {"SHMQUEUE_COUNTS": str(folder / "counts.json")},
        check=False,
        **others,
    )


def run_tests(tool, number, arguments):
    """Run pytest under watch; return its exit code, its counts and what was found."""
    folder = FOUND / f"tests-{number}"
    folder.mkdir(parents=True)
    output = folder / "output.txt"  # for who waits for it
    with output.open("w") as file:
        done = watched(
            tool,
            folder,
            # Their own stderr, for what is reported there; sys.stderr is captured as ever.
            *(sys.executable, "-m", "pytest", "-q", "--capture=sys", "-p", "no:cacheprovider"),
            *("-p", "tests.sanitized.plugin", f"--watchdog={tool.watchdog_seconds}"),
            *("-o", "faulthandler_timeout=0", *arguments),
            capture_output=False,
            stdout=file,
            stderr=file,
        )
    said = output.read_text(errors="replace")
    print(said[-20_000:], flush=True)
    counts = dict.fromkeys(("passed", "failed", "error", "skipped", "deselected"), 0)
    if (folder / "counts.json").exists():
        counts = json.loads((folder / "counts.json").read_text())
    findings = tool.findings_in(said + "\n" + reports_in(folder))
    return done.returncode, counts, findings


def reports_in(folder):
    return "\n".join(path.read_text(errors="replace") for path in sorted(folder.glob("report*")))


if __name__ == "__main__":
    os.environ.pop("LD_PRELOAD", None)
    sys.exit(main())
