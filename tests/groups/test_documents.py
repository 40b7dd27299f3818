"""What the page about streams and the example say works as they say."""

import pathlib
import re

import pytest

from tests.api.test_examples import run_example
from tests.support import segment_files

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("name", "blocks", "printed"),
    [("groups.md", 3, "4950\n"), ("records.md", 1, ""), ("waiting.md", 1, "")],
)
def test_the_code_of_a_page_runs(programs, name, blocks, printed):
    page = (ROOT / "docs" / name).read_text()
    found = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(found) >= blocks
    assert programs.run("\n".join(found)) == printed


def test_the_video_example_says_what_became_of_the_frames():
    pytest.importorskip("numpy")
    done = run_example("video.py", "--frames", "256")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0] == "faces: 55 bright frames"
    assert lines[1] == "motion: 155 bright frames"
    kept, lost = map(
        int, re.fullmatch(r"recorder: (\d+) frames kept, (\d+) lost", lines[2]).groups()
    )
    assert kept + lost == 256
    assert segment_files("camera@video-") == []


def test_the_disruptor_example_says_what_each_stage_did():
    done = run_example("disruptor.py", "--orders", "5120")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    amounts = [(number * 7919 % 1000, number) for number in range(5120)]
    assert sorted(lines[:2]) == [
        "largest: order {1}, {0}".format(*max(amounts)),
        f"total: {sum(amount for amount, _ in amounts)}",
    ]
    for line, stage in zip(lines[2:], ("check", "total", "largest"), strict=True):
        assert re.fullmatch(rf"{stage}: 5120 orders in \d+ lists, .* \d+ behind at most", line)
