"""How much memory there is, by the accounts of machine and control groups; and what a put does."""

import errno
import re
from pathlib import Path

import pytest

from shmqueue import memory
from shmqueue._inspect import snapshot
from tests import support
from tests.support import LIMIT, Thread
from tests.unnamed import FIRST_BACKED, FIRST_REGION, RawUnnamed

MB = 1 << 20
GB = 1 << 30

LARGE = bytes(range(256)) * 400
SIZE = 3000


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine of files: ``machine(available, total=...)``, ``machine.group(path, ...)``."""
    return Machine(monkeypatch, tmp_path)


class Machine:
    def __init__(self, monkeypatch, folder):
        self.folder = folder
        self.groups = folder / "cgroup"
        self.groups.mkdir()
        monkeypatch.setattr(memory, "CGROUP_ROOT", self.groups)
        real = memory._text

        def read(path):
            assert not Path(path).is_relative_to("/sys"), path
            here = {
                "/proc/meminfo": folder / "meminfo",
                "/proc/self/cgroup": folder / "self-cgroup",
            }
            return real(here.get(str(path), Path(path)))

        monkeypatch.setattr(memory, "_text", read)

    def has(self, available, total=64 * GB):
        lines = [
            f"MemTotal:       {total // 1024} kB",
            "MemFree:            1234 kB",
            f"MemAvailable:   {available // 1024} kB",
            "HugePages_Total:       0",
            "",
        ]
        (self.folder / "meminfo").write_text("\n".join(lines))

    def is_in(self, *lines):
        (self.folder / "self-cgroup").write_text("".join(line + "\n" for line in lines))

    def group(self, path, **files):
        folder = self.groups / path
        folder.mkdir(parents=True, exist_ok=True)
        for name, value in files.items():
            (folder / name.replace("__", ".")).write_text(f"{value}\n")


def _margin(total):
    return min(memory.MARGIN_BYTES, total // 16)


class TestMachine:
    def test_what_is_available_less_a_margin(self, machine):
        machine.has(10 * GB)
        assert memory.headroom_bytes() == 10 * GB - memory.MARGIN_BYTES

    def test_a_small_machine_leaves_a_smaller_margin(self, machine):
        machine.has(100 * MB, total=512 * MB)
        assert memory.headroom_bytes() == 100 * MB - 32 * MB

    @pytest.mark.parametrize("available", [0, 1, 5 * MB, memory.MARGIN_BYTES])
    def test_it_is_never_negative(self, machine, available):
        machine.has(available)
        assert memory.headroom_bytes() == 0

    @pytest.mark.parametrize("text", ["", "\n", "nonsense", "MemAvailable: 5 pages\n"])
    def test_where_nothing_is_told_nothing_is_refused(self, machine, text):
        (machine.folder / "meminfo").write_text(text)
        assert memory.headroom_bytes() > 1 << 60

    def test_the_real_machine_has_some(self):
        assert 0 < memory.headroom_bytes() <= memory.total_bytes()
        assert memory.total_bytes() > 64 * MB


class TestControlGroups:
    def test_a_limit_of_version_2_counts(self, machine):
        machine.has(10 * GB)
        machine.is_in("0::/a/b")
        machine.group("a/b", memory__max=2 * GB, memory__current=1 * GB)
        assert memory.headroom_bytes() == 1 * GB - memory.MARGIN_BYTES

    def test_the_narrowest_of_the_levels_counts(self, machine):
        machine.has(10 * GB)
        machine.is_in("0::/a/b/c")
        machine.group("a", memory__max=4 * GB, memory__current=int(3.5 * GB))
        machine.group("a/b", memory__max="max", memory__current=3 * GB)
        machine.group("a/b/c", memory__max=3 * GB, memory__current=1 * GB)
        assert memory.headroom_bytes() == 512 * MB - memory.MARGIN_BYTES

    def test_what_can_be_reclaimed_counts_as_free(self, machine):
        machine.has(10 * GB)
        machine.is_in("0::/a")
        stat = f"anon {500 * MB}\nfile {400 * MB}\ninactive_file {300 * MB}\nactive_file 1"
        machine.group("a", memory__max=1 * GB, memory__current=1 * GB, memory__stat=stat)
        assert memory.headroom_bytes() == 300 * MB - 64 * MB

    def test_no_limit_is_none(self, machine):
        machine.has(10 * GB)
        machine.is_in("0::/a")
        machine.group("a", memory__max="max", memory__current=9 * GB)
        assert memory.headroom_bytes() == 10 * GB - memory.MARGIN_BYTES

    def test_a_container_that_sees_its_own_group_as_the_root(self, machine):
        machine.has(10 * GB)
        machine.is_in("0::/")
        machine.group("", memory__max=1 * GB, memory__current=600 * MB)
        assert memory.headroom_bytes() == (1 * GB - 600 * MB) - _margin(1 * GB)

    def test_a_path_that_is_not_there_is_looked_for_at_the_root(self, machine):
        machine.has(10 * GB)
        machine.is_in("0::/docker/0123")
        machine.group("", memory__max=1 * GB, memory__current=600 * MB)
        assert memory.headroom_bytes() == (1 * GB - 600 * MB) - _margin(1 * GB)

    def test_version_1_has_other_names(self, machine):
        machine.has(10 * GB)
        machine.is_in("9:name=systemd:/", "4:cpu,memory:/a", "0::/")
        stat = f"inactive_file 1\ntotal_inactive_file {100 * MB}"
        machine.group(
            "memory/a",
            memory__limit_in_bytes=2 * GB,
            memory__usage_in_bytes=1 * GB,
            memory__stat=stat,
        )
        assert memory.headroom_bytes() == 1 * GB + 100 * MB - memory.MARGIN_BYTES

    def test_no_limit_of_version_1_is_a_large_number(self, machine):
        machine.has(10 * GB)
        machine.is_in("4:memory:/a")
        machine.group("memory/a", memory__limit_in_bytes=2**63 - 4096, memory__usage_in_bytes=1)
        assert memory.headroom_bytes() == 10 * GB - memory.MARGIN_BYTES

    def test_usage_above_the_limit_is_no_room(self, machine):
        machine.has(10 * GB)
        machine.is_in("0::/a")
        machine.group("a", memory__max=1 * GB, memory__current=2 * GB)
        assert memory.headroom_bytes() == 0

    @pytest.mark.parametrize("line", ["0::/../..", "0::/a:b", "5:cpu:/x", "0::/gone/for/good"])
    def test_no_line_is_an_error(self, machine, line):
        machine.has(10 * GB)
        machine.is_in(line)
        assert memory.headroom_bytes() == 10 * GB - memory.MARGIN_BYTES

    def test_files_that_cannot_be_read_are_no_limit(self, machine):
        machine.has(10 * GB)
        machine.is_in("0::/a")
        machine.group("a", memory__max="", memory__current="?")
        assert memory.headroom_bytes() == 10 * GB - memory.MARGIN_BYTES


@pytest.fixture
def headroom(monkeypatch):
    """Tell how much memory is left: ``headroom[0] = bytes``, or a function that says so."""
    told = [0]

    def left():
        return told[0]() if callable(told[0]) else told[0]

    monkeypatch.setattr(memory, "headroom_bytes", left)
    return told


def _put_number(queue, number):
    queue.put(number.to_bytes(8, "little") + bytes(SIZE - 8))


def _fill(queue, first=0):
    """Put until there is no memory; return how many went in, and the error."""
    for number in range(first, 100_000):
        try:
            _put_number(queue, number)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            return number - first, error
    raise AssertionError("memory without end")


def _check(queue, count):
    for number in range(count):
        assert queue.get_nowait() == number.to_bytes(8, "little") + bytes(SIZE - 8)
    assert queue.empty()


class TestRefusedGrowth:
    def test_is_an_os_error_and_the_queue_is_as_before(self, make, headroom):
        queue = make()
        count, _ = _fill(queue)
        assert 10 < count * 3000 <= FIRST_BACKED
        assert queue.qsize() == count
        for _ in range(3):
            with pytest.raises(OSError) as caught:
                queue.put(bytes(3000))
            assert caught.value.errno == errno.ENOSPC
            with pytest.raises(OSError):
                queue.put_nowait(bytes(3000))
            with pytest.raises(OSError):
                queue.put_batch([bytes(3000)] * 3)
        assert queue.qsize() == count
        _check(queue, count)

    def test_it_tells_wanted_and_available(self, make, headroom):
        queue = make()
        headroom[0] = 1234
        _, error = _fill(queue)
        assert re.search(r"wanted \d+ bytes, available 1234 ", str(error))

    def test_consumers_go_on_and_what_they_free_is_used(self, make, headroom):
        queue = make()
        count, _ = _fill(queue)
        _check(queue, count)
        for _ in range(20):
            queue.put_batch([bytes(3000)] * (count // 2))
            assert len(queue.get_batch(count)) == count // 2
        raw = RawUnnamed(queue._attachment)
        assert raw.backed()[0][0] == FIRST_BACKED
        raw.close()

    def test_it_works_again_once_there_is_memory(self, make, headroom):
        queue = make()
        count, _ = _fill(queue)
        headroom[0] = GB
        for number in range(count, 2000):
            _put_number(queue, number)
        _check(queue, 2000)

    def test_a_refusal_on_the_way_to_a_larger_region_harms_nothing(self, make, headroom):
        queue = make()
        raw = RawUnnamed(queue._attachment)
        headroom[0] = GB
        number = 0
        while raw.regions()[1] < 1:
            _put_number(queue, number)
            number += 1
        headroom[0] = 0
        number += _fill(queue, number)[0]
        before = raw.slots_memory_bytes()
        with pytest.raises(OSError):
            queue.put(bytes(3000))
        assert raw.slots_memory_bytes() == before
        _check(queue, number)
        assert raw.slots_memory_bytes() <= FIRST_REGION
        raw.close()

    def test_a_large_item_is_refused_alike(self, make, headroom):
        queue = make()
        queue.put("small")
        for call in (lambda: queue.put(LARGE), lambda: queue.put_batch(["x", LARGE])):
            with pytest.raises(OSError) as caught:
                call()
            assert caught.value.errno == errno.ENOSPC
        assert queue.get_nowait() == "small"
        assert queue.empty()
        headroom[0] = GB
        queue.put(LARGE)
        assert queue.get_nowait() == LARGE
        seen = snapshot(queue._attachment)
        assert seen["pool_bytes"] == seen["pool_free_bytes"]

    def test_blocks_of_other_sizes_that_nobody_uses_serve_first(self, make, headroom):
        """Free memory of the queue's own is given back before a put is refused."""
        queue = make()
        headroom[0] = GB
        queue.put_batch([LARGE] * 20)
        support.drain(queue, 20)
        held = snapshot(queue._attachment)["pool_bytes"]
        assert held >= 20 * len(LARGE)

        def left():
            return max(0, held - snapshot(queue._attachment)["pool_bytes"])

        headroom[0] = left
        for _ in range(100):
            queue.put(bytes(300_000))
            assert queue.get_nowait() == bytes(300_000)

    def test_a_thread_that_waits_for_room_meets_it_too(self, make, headroom):
        queue = make(30)
        for _ in range(19):
            queue.put(bytes(3000))
        putting = Thread(queue.put_batch, [bytes(4000)] * 20)
        support.await_thread_asleep(putting)
        support.drain(queue, 9, LIMIT)
        with pytest.raises(OSError) as caught:
            putting.result()
        assert caught.value.errno == errno.ENOSPC
        assert queue.qsize() == 10
