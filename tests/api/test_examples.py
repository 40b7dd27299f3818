"""The examples run, and print both times and their ratio."""

import importlib.util
import pathlib
import re
import subprocess
import sys

import pytest

from tests.support import LIMIT, program_environment

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"


def run_example(name, *options):
    return subprocess.run(
        [sys.executable, str(EXAMPLES / name), *options],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        env=program_environment(),
    )


def assert_both_times(done, unit, rounds):
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    for line, name in zip(lines[:2], ("multiprocessing", "shmqueue"), strict=True):
        assert re.fullmatch(rf"{name} +\d+\.\d{{3}} s +[\d,]+ {unit}/s", line)
    pattern = rf"ratio +\d+\.\d\dx \(\d+\.\d\d to \d+\.\d\d, {rounds} rounds, \w+\)"
    assert re.fullmatch(pattern, lines[2])


@pytest.mark.parametrize(
    ("command", "unit"),
    [
        (("pool.py", "--calls", "200"), "calls"),
        (("executor.py", "--calls", "100"), "calls"),
        (("executor.py", "--calls", "100", "--install"), "calls"),
        (("logs.py", "--records", "100"), "records"),
    ],
    ids=" ".join,
)
def test_example_prints_the_times_of_both_contexts(command, unit):
    done = run_example(*command, "--workers", "2", "--rounds", "2")
    assert_both_times(done, unit, rounds=2)


def test_dataloader_example_runs_or_says_how_to_install_torch():
    done = run_example("dataloader.py", "--batches", "4", "--batch-size", "2", "--rounds", "2")
    if importlib.util.find_spec("torch"):
        assert_both_times(done, "batches", rounds=2)
    else:
        assert done.returncode != 0
        assert "pip install torch==2.13.0" in done.stderr


def test_every_example_is_in_their_readme():
    named = set(re.findall(r"\w+\.py", (EXAMPLES / "README.md").read_text()))
    assert named == {path.name for path in EXAMPLES.glob("*.py")}
