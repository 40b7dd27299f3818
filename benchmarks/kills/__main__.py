"""How many kills each queue survives: ``python -m benchmarks.kills --reports FOLDER``.

    python -m benchmarks.kills --runs 5 --kills 1000 --seed 7 --reports docs/reports

Every run has fresh processes, and a /dev/shm, pids and a folder of its own where the system allows
it (`unshare`). Writes FOLDER/rivals.json and the page docs/benchmarks-kills.md.
"""

import argparse
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.kills.report import as_markdown, summary
from benchmarks.kills.rivals import RIVALS
from tests import evidence, support

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "benchmarks-kills.md"

NAMESPACES = ["unshare", "--mount", "--ipc", "--pid", "--fork", "--kill-child"]
AS_ROOT = ["--user", "--map-root-user"]  # for whoever isn't
MOUNTS = 'mount -t tmpfs tmpfs /dev/shm && mount -t proc proc /proc && exec "$@"'
# A run that takes longer hangs where nothing here expected it.
LIMIT_SECONDS = 900


def isolation():
    """Return the command that gives a run a /dev/shm and pids of its own; [] if there is none."""
    for options in ([], AS_ROOT):
        command = [*NAMESPACES, *options, "sh", "-c", MOUNTS, "sh"]
        if shutil.which(command[0]) and _succeeds([*command, "true"]):
            return command
    return []


def _succeeds(command):
    return subprocess.run(command, capture_output=True).returncode == 0


def run(rival, prefix, kills, seed, massacre=False):
    """Run once; return what came of it."""
    name = f"kills{os.getpid()}{secrets.token_hex(4)}"
    with tempfile.TemporaryDirectory(prefix="kills") as folder:
        inner = os.path.join(folder, "run")
        os.mkdir(inner)
        request = {
            "rival": rival.key,
            "kills": kills,
            "seed": seed,
            "name": name,
            "directory": inner,
            "result": os.path.join(folder, "result.json"),
            "alone": bool(prefix),
            "massacre": massacre,
        }
        module = [sys.executable, "-m", "benchmarks.kills.run", json.dumps(request)]
        process = subprocess.Popen(
            [*prefix, *module],
            cwd=ROOT,
            env=support.program_environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            _, said = process.communicate(timeout=LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            for pid in support.descendants():
                os.kill(pid, signal.SIGKILL)
            _, said = process.communicate()
            said += f"\nkilled after {LIMIT_SECONDS} s"
        if not os.path.exists(request["result"]):
            return {"error": said.strip()[-2000:]}
        with open(request["result"]) as file:
            told = json.load(file)
        if said.strip():
            told["said"] = said.strip()[-2000:]
    return told


def main():
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.kills",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--kills", type=int, default=1000, help="of a run, at most")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--rivals", help="these only, by their keys, with commas")
    parser.add_argument("--reports", metavar="FOLDER", help="keep the figures there")
    parser.add_argument("--page", type=Path, default=PAGE, help="where the page goes")
    options = parser.parse_args()
    seed = secrets.randbits(32) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    wanted = options.rivals.split(",") if options.rivals else [rival.key for rival in RIVALS]
    prefix = isolation()

    results = {}
    for rival in RIVALS:
        if rival.key not in wanted:
            continue
        if not rival.is_installed():
            print(f"{rival.label}: not installed")
            continue
        runs = []
        for number in range(options.runs):
            _tell(f"{rival.label}: run {number + 1} of {options.runs}")
            runs.append(run(rival, prefix, options.kills, f"{seed} {number}"))
        massacre = run(rival, prefix, 0, f"{seed}", massacre=True)
        told = summary(rival, runs, massacre)
        results[rival.key] = told
        _tell("")
        print(f"{rival.label}: {told['kills_until_stopped']}", flush=True)
    figures = {
        "seed": str(seed),
        "most_kills": options.kills,
        "isolated": bool(prefix),
        "rivals": results,
    }
    if options.reports:
        evidence.report("rivals", figures, options.reports)
    options.page.write_text(as_markdown(figures, evidence.machine()))
    # Rivals may do what they do; ours may not.
    ours = [told for told in results.values() if told["ours"]]
    return 0 if all(told["is_clean"] for told in ours) else 1


def _tell(line):
    if sys.stdout.isatty():
        print(f"\r{line:<60}\r", end="", flush=True)


if __name__ == "__main__":
    sys.exit(main())
