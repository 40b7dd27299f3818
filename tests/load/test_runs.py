"""Runs of the load: accounts that hold, whoever is slow, is killed, or ends it."""

import os
import re
import signal
import subprocess

import pytest

from shmqueue.load.plan import SCENARIOS
from tests import support
from tests.load.conftest import FOREVER, LIMIT

SHORT = {
    "good-behaviour": (),
    "too-many-readers": ("--readers", "6"),
    "too-many-writes": ("--readers", "2"),
    "too-much-data": ("--slot-bytes", "12000000", "--readers", "2"),
    "slow-readers": ("--slots", "4"),
}

pytestmark = pytest.mark.watchdog(LIMIT)


def assert_all_accounted_for(told):
    assert told["problems"] == []
    assert told["put"] == sum(row["items"] for row in told["writers"]) > 0
    for row in told["readers"]:
        assert row["state"] == "ended"
        assert row["items"] + row["lapped"] + row["left"] == told["put"]
        assert row["torn"] == row["doubled"] == row["out_of_order"] == 0


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_each_scenario_accounts_for_every_item(start_load, scenario):
    load = start_load("--scenario", scenario, "--duration-seconds", "1", *SHORT[scenario])
    status, told = load.account()
    assert status == 0
    assert_all_accounted_for(told)
    plan = SCENARIOS[scenario]
    assert (told["scenario"], len(told["writers"])) == (scenario, plan.writers)
    assert all(row["lapped"] == 0 for row in told["readers"])
    assert told["latency_p50_seconds"] <= told["latency_p99_seconds"]


def test_readers_that_are_too_slow_hold_the_writers_up(start_load):
    options = ("--slots", "2", "--writes-per-second", "0", "--duration-seconds", "1")
    status, told = start_load("--scenario", "slow-readers", "--readers", "1", *options).account()
    assert status == 0
    assert_all_accounted_for(told)
    assert not told["kept_up"]
    assert told["blocked_seconds"] > 0
    assert told["readers"][0]["held_up_seconds"] == pytest.approx(told["blocked_seconds"])


@pytest.mark.parametrize("slot_bytes", ["100", "30000"])
def test_lagging_readers_count_exactly_what_they_lost(start_load, slot_bytes):
    options = ("--policy", "lag", "--slots", "3", "--writers", "2", "--writes-per-second", "0")
    options += ("--reader-burn-cpu-milliseconds", "10", "--duration-seconds", "1", "--readers", "2")
    status, told = start_load("--slot-bytes", slot_bytes, *options).account()
    assert status == 0
    assert_all_accounted_for(told)
    assert all(row["lapped"] > 0 for row in told["readers"])
    assert not told["kept_up"]


def test_the_account_is_told_in_words_without_colours_where_no_terminal_is(start_command, run_id):
    pytest.importorskip("numpy")
    options = ("--duration-seconds", "1", "--no-verify", "--debug", "--run-id", run_id)
    load = start_command("load", *options)
    output, errors = load.communicate(timeout=LIMIT)
    assert (load.returncode, errors) == (0, "")
    assert "\x1b" not in output
    assert "\r" not in output
    assert re.search(r"r3 is process \d+", output)
    assert re.search(r"Check: each of \d+ items came to every reader once and in order", output)


def test_a_terminal_has_a_line_that_is_rewritten(start_command, run_id):
    pytest.importorskip("numpy")
    ours, theirs = os.openpty()
    try:
        load = start_command(
            *("load", "--duration-seconds", "1", "--run-id", run_id),
            stdout=theirs,
            env={**support.program_environment(), "TERM": "xterm", "PYTHONIOENCODING": "utf-8"},
        )
        os.close(theirs)
        shown = b""
        while True:
            try:
                shown += os.read(ours, 65536)
            except OSError:  # nobody has the other side any more
                break
    finally:
        os.close(ours)
    assert load.wait(LIMIT) == 0
    text = shown.decode()
    assert re.search(r"\r\x1b\[36m.*behind \d+/24", text)
    assert "once, whole and in order" in text


@pytest.mark.parametrize(
    "options",
    [(), ("--writes-per-second", "0.01"), ("--reader-burn-cpu-milliseconds", "1000")],
    ids=["usual", "rare", "long"],
)
def test_ctrl_c_ends_a_run_with_its_account(start_load, options):
    load = start_load(*FOREVER, "--readers", "1", *options)
    load.stream(put=1).close()
    load.interrupt()
    status, told = load.account()
    assert status == 128 + signal.SIGINT
    assert told["interrupted"]
    assert_all_accounted_for(told)
    assert support.segment_files(load.run_id) == []


def test_ctrl_c_while_programs_start_leaves_nothing(start_load):
    load = start_load(*FOREVER)
    support.wait_until(lambda: load.workers("reader"), "a reader to be started")
    load.interrupt()
    output, errors = load.command.communicate(timeout=LIMIT)
    assert (load.command.returncode, output) == (128 + signal.SIGINT, "")
    assert errors == "Interrupted; programs ended, the stream removed.\n"
    assert support.segment_files(load.run_id) == []


def test_sigterm_leaves_no_program_and_no_segment(start_load):
    load = start_load(*FOREVER)
    load.stream().close()
    workers = {*load.workers("reader").values(), *load.workers("writer").values()}
    load.command.terminate()
    load.command.communicate(timeout=LIMIT)
    assert load.command.returncode == 128 + signal.SIGTERM
    assert support.segment_files(load.run_id) == []
    assert workers.isdisjoint(support.living())


def test_a_killed_reader_is_reported_and_holds_nobody_back(start_load):
    load = start_load(*FOREVER, "--slots", "4")
    with load.stream() as stream:
        os.kill(load.workers("reader")[1], signal.SIGKILL)
        # Its group is in the way until the ring is full, and is removed then.
        support.wait_until(lambda: len(stream.groups()) == 2, "the group to be removed")
        put = stream.get_metrics()["items_put"]
        support.wait_until(lambda: stream.get_metrics()["items_put"] > put + 8, "more items")
    load.interrupt()
    status, told = load.account()
    assert status == 128 + signal.SIGINT
    killed = told["readers"].pop(1)
    assert killed["state"] == "killed by SIGKILL"
    assert not told["kept_up"]
    assert any(line.startswith("r2 killed by SIGKILL after ") for line in told["behind"])
    assert_all_accounted_for(told)


def test_a_killed_writer_has_finished_and_its_items_are_accounted_for(start_load):
    load = start_load(*FOREVER, "--writers", "2")
    with load.stream():
        os.kill(load.workers("writer")[0], signal.SIGKILL)
    load.interrupt()
    status, told = load.account()
    assert status == 128 + signal.SIGINT
    assert told["problems"] == []
    assert [row["state"] for row in told["writers"]] == ["killed by SIGKILL", "ended"]
    assert all(row["items"] == told["put"] for row in told["readers"])


def test_a_stopped_reader_is_given_up_and_reported(start_load):
    load = start_load(*FOREVER, "--slots", "4", "--readers", "2")
    with load.stream():
        os.kill(load.workers("reader")[0], signal.SIGSTOP)
    load.interrupt()
    status, told = load.account()
    assert status == 1
    assert told["problems"] == ["r1 did not end"]
    assert [row["state"] for row in told["readers"]] == ["did not end", "ended"]


def test_a_torn_item_is_found_by_every_reader(start_load):
    import numpy

    load = start_load(*FOREVER)
    with load.stream() as stream:
        stream.put(numpy.full(20000, 7, "uint8"), timeout=LIMIT)
        tail = stream.get_metrics()["items_put"]
        support.wait_until(
            lambda: all(row["next_sequence"] > tail for row in stream.get_metrics()["groups"]),
            "the readers to have taken it",
        )
    load.interrupt()
    status, told = load.account()
    assert status == 1
    assert [row["torn"] for row in told["readers"]] == [1, 1, 1]
    assert "r1 got 1 item torn" in told["problems"]


@pytest.mark.parametrize("when", ["while they start", "while they work"])
def test_the_programs_of_a_killed_parent_end_and_remove_the_stream(start_load, when):
    load = start_load(*FOREVER)
    if when == "while they work":
        load.stream().close()
    else:
        support.wait_until(lambda: load.workers("writer"), "a program to be started")
    load.command.kill()
    load.command.wait(LIMIT)

    def are_gone():
        return not any(load.run_id in line for line in support.descendants().values())

    support.wait_until(are_gone, "the programs to end", LIMIT)
    assert support.segment_files(load.run_id) == []


class TestBadOptions:
    @pytest.mark.parametrize(
        ("options", "told"),
        [
            (["--readers", "0"], "--readers must be at least 1, not 0"),
            (["--readers", "65"], "--readers must be at most 64, not 65"),
            (["--writers", "0"], "--writers must be at least 1, not 0"),
            (["--writers", "256"], "--writers must be at most 255, not 256"),
            (["--slots", "1"], "--slots must be at least 2, not 1"),
            (["--slot-bytes", "23"], "--slot-bytes must be at least 24, not 23"),
            (["--slot-bytes", "1000000000000"], "may need 36,250,000,000,000 bytes"),
            (["--slots", "1000000000", "--scenario", "all"], "choose fewer or smaller slots"),
            (["--duration-seconds", "0"], "--duration-seconds must be above 0, not 0"),
            (["--duration-seconds", "nan"], "--duration-seconds must be above 0, not nan"),
            (["--duration-seconds", "inf"], "--duration-seconds must be above 0, not inf"),
            (["--writes-per-second", "-1"], "--writes-per-second must be at least 0, not -1"),
            (["--writes-per-second", "inf"], "--writes-per-second must be at most"),
            (["--reader-burn-cpu-milliseconds", "nan"], "must be at least 0, not nan"),
            (["--run-id", "x" * 300], "--run-id 'xxx"),
            (["--scenario", "dance"], "dance"),
            (["--policy", "drop"], "drop"),
            (["--slots", "many"], "many"),
        ],
    )
    def test_what_cannot_be_run_is_told_before_anything_is_started(
        self, start_command, options, told
    ):
        pytest.importorskip("numpy")
        load = start_command("load", *options)
        output, errors = load.communicate(timeout=LIMIT)
        assert (load.returncode, output) == (2, "")
        assert told in errors
        assert "Traceback" not in errors

    @pytest.mark.parametrize(
        ("absent", "options"), [("matplotlib", ["--plot", "load.png"]), ("numpy", [])]
    )
    def test_what_is_not_installed_is_told_with_the_extra_that_brings_it(
        self, start_command, tmp_path, absent, options
    ):
        # `python -m` looks into the current folder first.
        (tmp_path / f"{absent}.py").write_text("raise ImportError('there is none')")
        if absent == "matplotlib":
            pytest.importorskip("numpy")
        load = start_command("load", *options)
        output, errors = load.communicate(timeout=LIMIT)
        assert (load.returncode, output) == (2, "")
        assert f"{absent} is not installed" in errors
        assert 'pip install "shmqueue-ipc[load]"' in errors


class TestPlot:
    @pytest.mark.parametrize("readers", ["2", "9"])
    def test_the_plot_is_written(self, start_command, tmp_path, run_id, readers):
        pytest.importorskip("matplotlib")
        path = tmp_path / "load.png"
        load = start_command(
            *("load", "--duration-seconds", "1", "--readers", readers, "--writers", "2"),
            *("--plot", str(path), "--run-id", run_id),
        )
        output, errors = load.communicate(timeout=LIMIT)
        assert (load.returncode, errors) == (0, "")
        assert output.endswith(f"Plot: {path}\n")
        assert path.read_bytes().startswith(b"\x89PNG")

    @pytest.mark.parametrize(
        ("path", "told"), [("load.dance", "must end in one of"), ("no/load.png", "no folder")]
    )
    def test_where_no_plot_can_be_is_told_before_anything_is_started(
        self, start_command, path, told
    ):
        pytest.importorskip("matplotlib")
        load = start_command("load", "--plot", path, stdout=subprocess.PIPE)
        output, errors = load.communicate(timeout=LIMIT)
        assert (load.returncode, output) == (2, "")
        assert told in errors
