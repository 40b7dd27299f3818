"""A few seconds of the soak that `make soak` runs for ten minutes."""

import json
import os
import pathlib
import secrets

from tests.support import LIMIT

ROOT = str(pathlib.Path(__file__).parents[2])
SECONDS = float(os.environ.get("SHMQUEUE_SOAK_SECONDS", "5"))


def test_a_soak_of_some_seconds_finds_nothing(programs, tmp_path):
    seed = secrets.randbits(32)
    program = f"""
        import sys
        from pathlib import Path
        sys.path.insert(0, {ROOT!r})
        sys.argv[0] = "soak"
        import runpy
        runpy.run_module("tests.soak", run_name="__main__")
    """
    report = tmp_path / "report.json"
    arguments = ["--seconds", SECONDS, "--seed", seed, "--report", report]
    process = programs.start(program, *arguments)
    print(programs.finish(process, limit=SECONDS + 2 * LIMIT))
    account = json.loads(report.read_text())
    assert account["seed"] == seed
    assert account["problems"] == []
    for told in account["queues"].values():
        assert told["got"] > 0
        assert told["items_viewed"] > 0
        assert sum(told["kills"].values()) > 0
        assert told["pool_free_bytes"] == told["pool_bytes"]
