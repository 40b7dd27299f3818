"""What the page about streams and the example say works as they say."""

import pathlib
import re
import subprocess
import sys

import pytest

from tests.support import LIMIT, program_environment, segment_files

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_the_code_of_the_page_runs(programs):
    page = (ROOT / "docs" / "groups.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) >= 3
    assert programs.run("\n".join(blocks)) == ""


def test_the_video_example_says_what_became_of_the_frames():
    pytest.importorskip("numpy")
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "video.py"), "--frames", "60"],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        env=program_environment(),
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0] == "faces: 0 bright frames"
    assert lines[1] == "motion: 0 bright frames"
    kept, lost = map(
        int, re.fullmatch(r"recorder: (\d+) frames kept, (\d+) lost", lines[2]).groups()
    )
    assert kept + lost == 60
    assert segment_files("camera@video-") == []
