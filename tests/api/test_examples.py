"""The examples run, and print what they promise."""

import importlib.util
import json
import os
import pathlib
import re
import signal
import subprocess
import sys

import pytest

from tests.support import LIMIT, program_environment, segment_files, wait_until

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


def test_camera_example_prints_its_frame_rate():
    pytest.importorskip("numpy")
    done = run_example("camera.py", "--frames", "40", "--size", "320x240")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    pattern = (
        r"40 frames of 320x240: [\d,]+ frames/s, [\d,]+ MB/s,"
        r" [\d.]+ ms from camera to collector \(median\)\n"
    )
    assert re.fullmatch(pattern, done.stdout)


def test_camera_example_prints_its_figures_as_json():
    pytest.importorskip("numpy")
    done = run_example("camera.py", "--frames", "40", "--size", "320x240", "--json")
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["frames"] == 40
    assert figures["frames_per_second"] > 0


def test_camera_example_ends_cleanly_when_interrupted():
    pytest.importorskip("numpy")
    program = subprocess.Popen(
        [sys.executable, str(EXAMPLES / "camera.py"), "--frames", "10000000", "--size", "320x240"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=program_environment(),
        start_new_session=True,  # so that it can be ended with its workers
    )
    try:
        wait_until(lambda: segment_files(f"camera-results@{program.pid}"), "its queues")
        program.send_signal(signal.SIGINT)
        output, errors = program.communicate(timeout=LIMIT)
    finally:
        if program.poll() is None:
            os.killpg(program.pid, signal.SIGKILL)
            program.wait()
    assert program.returncode == 128 + signal.SIGINT, errors
    assert errors == ""
    assert " frames of 320x240: " in output
    assert segment_files(f"@{program.pid}") == []


def test_every_example_is_in_their_readme():
    named = set(re.findall(r"\w+\.py", (EXAMPLES / "README.md").read_text()))
    assert named == {path.name for path in EXAMPLES.glob("*.py")}
