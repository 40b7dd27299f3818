"""Tests that run in several processes at once are told apart by their names alone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 300
SEEDS = (1, 2, 3)  # sets of three come out in one order under two seeds, often enough


def collecting(seed):
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": str(seed), "PYTEST_ADDOPTS": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.watchdog(LIMIT)
def test_a_test_is_called_the_same_whatever_the_order_of_hashes():
    collections = [collecting(seed) for seed in SEEDS]
    try:
        told = [process.communicate(timeout=LIMIT)[0].splitlines() for process in collections]
    finally:
        for process in collections:
            process.kill()
            process.wait()
    first, *others = ([line for line in lines if "::" in line] for lines in told)
    assert len(first) > 1000, "\n".join(told[0][-20:])
    for names in others:
        assert [pair for pair in zip(first, names, strict=True) if pair[0] != pair[1]] == []
