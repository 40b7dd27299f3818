"""The benchmarks of streams: every contender delivers, and whoever does not is no number."""

import json
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("numpy")

from benchmarks import page
from benchmarks.groups import GROUPS
from benchmarks.peers.base import End
from benchmarks.stats import load
from benchmarks.streams import loops
from benchmarks.streams.cases import CASES
from benchmarks.streams.lock_ring import LockRing, PolledLockRing
from benchmarks.streams.peers import OurStream
from benchmarks.streams.pubsub import PubSub
from benchmarks.targets import STREAM_TARGETS, Ceiling
from tests import support

ROOT = Path(__file__).resolve().parents[2]
GROUP = next(group for group in GROUPS if group.key == "streams")
BY_KEY = {case.key: case for case in CASES}
COUNT = 30
RUN_LIMIT = 4 * support.LIMIT
"""Of a run of several cases, which calibrates each."""


def contenders():
    for each in CASES:
        if each.scenario != "readers" and each.key not in ("arrays/8", "arrays/16"):
            for peer in GROUP.peers_of(each):
                yield pytest.param(each, peer, id=f"{each.key}-{peer.key}")


@pytest.mark.parametrize(("case", "peer"), list(contenders()))
def test_every_contender_gives_every_reader_every_item(case, peer, run_id, tmp_path):
    if not peer.is_installed():
        pytest.skip(f"{peer.label} is not installed")
    assert peer.unsupported(case) is None
    request = {
        "case": case.key,
        "peer": peer.key,
        "amount": COUNT,
        "name": f"{run_id}-",
        "directory": str(tmp_path),
        "result": str(tmp_path / "result.json"),
        "parent": os.getpid(),
    }
    subprocess.run(
        [sys.executable, "-m", "benchmarks.case", json.dumps(request)],
        cwd=ROOT,
        check=True,
        timeout=support.LIMIT,
    )
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["status"] == "ok", result
    assert result["value"] > 0
    assert result["seconds"] > 0


def torn(item):
    return item[:-1] + b"?"


def of_another_place(item):
    return loops.table("bytes1k")[-1]


@pytest.mark.parametrize("spoil", [torn, of_another_place])
def test_a_single_reader_that_gets_something_else_is_an_error(spoil, run_id, tmp_path):
    case = BY_KEY["broadcast/3"]
    channel = OurStream().create(run_id, case, str(tmp_path))
    producer, *readers = (job.ends[0] for job in case.jobs(COUNT))
    assert len(readers) == 3
    ends = [channel.open(role, index) for _, role, index in (producer, *readers)]
    put = ends[0].put
    for item in loops.table("bytes1k")[:COUNT]:
        put(item)
    spoilt = ends[2].get
    ends[2].get = lambda: spoil(spoilt())
    wrong = [loops.consume(end, COUNT, "bytes1k") for end in ends[1:]]
    for end in ends:
        end.close()
    channel.close()
    with pytest.raises(ValueError, match=f"{COUNT} of {COUNT} items were not the expected ones"):
        case.evaluate(COUNT, [{"start": 0}, *wrong])
    del wrong[1]
    assert case.evaluate(COUNT, [{"start": 0}, *wrong])["value"] > 0


def test_what_comes_in_chunks_is_compared_item_by_item():
    items = loops.table("bytes1k")[:10]
    chunks = iter([items[:4], [items[5], items[4], *items[6:]]])
    result = loops.consume(End(get_batch=chunks.__next__), 10, "bytes1k")
    assert result["wrong"] == 2


@pytest.mark.parametrize("peer", [LockRing(), PolledLockRing(), PubSub()], ids=lambda p: p.key)
def test_a_writer_waits_for_a_slow_reader_instead_of_dropping(peer, tmp_path):
    if not peer.is_installed():
        pytest.skip(f"{peer.label} is not installed")
    case = replace(BY_KEY["broadcast/3"], slots=4, consumers=2)
    channel = peer.create("slow", case, str(tmp_path))
    opened = []
    # A publisher is open when its subscribers are connected.
    writer = threading.Thread(target=lambda: opened.append(channel.open("producer", 0)))
    writer.start()
    quick, slow = (channel.open("consumer", index) for index in range(2))
    writer.join(support.LIMIT)
    count = 200
    put = threading.Thread(target=lambda: [opened[0].put(bytes([i]) * 1024) for i in range(count)])
    put.start()
    # Sockets hold what the kernel buffers besides; the slow one has had nothing of it.
    got = [quick.get()[0] for _ in range(2)]
    assert [slow.get()[0] for _ in range(2)] == got == [0, 1]
    late = threading.Thread(target=lambda: got.extend(quick.get()[0] for _ in range(count - 2)))
    late.start()
    assert [slow.get()[0] for _ in range(count - 2)] == list(range(2, count))
    late.join(support.LIMIT)
    put.join(support.LIMIT)
    assert got == list(range(count))
    for end in (quick, slow, opened[0]):
        end.close()
    channel.close()


def test_of_a_crowd_the_longest_delay_counts():
    ms = 1_000_000
    case = BY_KEY["crowd/50"]
    results = [
        {"start": 0, "due": [0, 40 * ms], "producer_cpu_ns": 8 * ms},
        {"end": 42 * ms, "times": [1 * ms, 42 * ms], "wrong": 0, "cpu_ns": 3 * ms},
        {"end": 80 * ms, "times": [7 * ms, 80 * ms], "wrong": 0, "cpu_ns": 5 * ms},
    ]
    told = case.evaluate(2, results)
    assert told["value"] == 40.0
    assert told["median_delay_ms"] == 7.0
    assert (told["producer_cpu"], told["readers_cpu"]) == (0.1, 0.1)


def test_of_two_by_turns_the_median_ratio_counts():
    turns = [[10, 5], [9, 10], [30, 20], [1, 10], [12, 10]]
    told = BY_KEY["single/local-int"].evaluate(
        5, [{"start": 0, "end": 10**9, "turns": turns, "wrong": 0}]
    )
    assert told["value"] == 1.2


def test_by_turns_what_either_of_the_two_gets_is_compared(monkeypatch):
    monkeypatch.setattr(loops, "TURN", 3)
    right = loops.table("int")[:3]

    def end(items):
        return End(put=lambda item: None, get=iter(items).__next__)

    both = end(right * 2)
    both.queue = end([*right, *right[:2], -1])
    assert loops.consume_both(both, 1, "int")["wrong"] == 1
    both = end([*right[:2], -1, *right])
    both.queue = end(right * 2)
    assert loops.both_local(both, 1, "int")["wrong"] == 1


def test_every_target_names_a_case_and_contenders_of_it():
    for target in STREAM_TARGETS:
        case = BY_KEY[target.case]
        keys = {peer.key for peer in GROUP.peers_of(case)}
        assert target.ours in keys
        if not isinstance(target, Ceiling):
            other = {peer.key for peer in GROUP.peers_of(BY_KEY[target.other_case])}
            assert target.peer in other


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The results of a quick run of a few cases, by the same runner as all benchmarks."""
    out = tmp_path_factory.mktemp("results") / "results.json"
    subprocess.run(
        [sys.executable, "-m", "benchmarks.run", "--quick", "--rounds", "1", "--out", str(out)]
        + ["--only", "arrays/1,arrays/2,pipeline", "--peers", "shmqueue,lock-ring,mp-queue"],
        cwd=ROOT,
        check=True,
        timeout=RUN_LIMIT,
        capture_output=True,
    )
    return out


@pytest.mark.watchdog(RUN_LIMIT)
def test_the_page_says_of_each_floor_whether_it_is_reached(results, tmp_path):
    data = json.loads(results.read_text())
    for case in data["cases"]:
        for peer, entry in case["peers"].items():
            if (case["key"], peer) != ("pipeline/3", "mp-queue"):
                entry["rounds"][0]["value"] = 1000.0
            else:
                entry["rounds"][0]["value"] = 500.0
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps(data))
    pytest.importorskip("matplotlib")
    from benchmarks.streams.report import PAGE

    text = page.document(PAGE, load(changed, "streams"), tmp_path / "page.md")
    floors = [line for line in text.splitlines() if "at least" in line]
    by_work = {(line.split(" | ")[0], line.split(" | ")[1]): line for line in floors}
    assert "reached |" in by_work["| arrays of 1 MiB, 2 readers", "shmqueue Stream"]
    assert "**lost** |" in by_work["| 3 stages, dict of 4 entries", "shmqueue Stream"]
    assert "not measured |" in by_work["| broadcast/3", "shmqueue Stream"]


@pytest.mark.watchdog(RUN_LIMIT)
def test_the_picture_has_a_line_for_each_contender(results, tmp_path):
    pytest.importorskip("matplotlib")
    from benchmarks.streams import plot

    lines = plot._lines(load(results, "streams"), "arrays")
    assert [(line.name, [point[0] for point in line.points]) for line in lines] == [
        ("ours, get", [1, 2]),
        ("one lock", [1, 2]),
    ]
    picture = tmp_path / "picture.png"
    # In a process of its own: fonts stay open.
    subprocess.run(
        [sys.executable, "-m", "benchmarks.streams.report", str(results), "--png", str(picture)],
        cwd=ROOT,
        check=True,
        timeout=support.LIMIT,
        capture_output=True,
    )
    assert picture.read_bytes().startswith(b"\x89PNG")
