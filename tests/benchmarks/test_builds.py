"""Two builds by turns: each is used, and its time is put down to it."""

import json
import shutil
from pathlib import Path

import pytest

from benchmarks import builds

ROOT = Path(__file__).resolve().parents[2]

CLOCK = """
import itertools
import time

time.thread_time_ns = itertools.count(0, {step}).__next__
"""


@pytest.fixture
def build(tmp_path):
    """Return a maker of builds whose clock goes on by so much whenever it is looked at."""

    def make(name, step):
        folder = tmp_path / name
        shutil.copytree(ROOT / "shmqueue", folder / "shmqueue")
        with (folder / "shmqueue" / "__init__.py").open("a") as package:
            package.write(CLOCK.format(step=step))
        return folder

    return make


def test_the_ratio_is_that_of_the_second_build_to_the_first(build):
    folders = [build("older", 1000), build("newer", 3000)]
    ratios = builds.compare(folders, rounds=2, turns=3, share=0.01)
    assert ratios == {case: [3.0, 3.0] for case in builds.CASES}


def test_a_folder_without_a_build_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        builds.main([str(ROOT), str(tmp_path)])
    assert "is not built: make build there" in capsys.readouterr().err


def test_a_report_tells_the_ratio_of_each_case_and_what_was_compared(build, tmp_path, monkeypatch):
    monkeypatch.setattr(builds, "compare", lambda folders, rounds: {"int": [1.5, 1.0, 2.0]})
    folders = [str(build(name, 1)) for name in ("a", "b")]
    builds.main([*folders, "--names", "old", "new", "--reports", str(tmp_path / "reports")])
    figures = json.loads((tmp_path / "reports" / "cost.json").read_text())["figures"]
    assert figures["int"] == "1.500 (1.000 to 2.000)"
    assert (figures["older"], figures["newer"]) == ("old", "new")
