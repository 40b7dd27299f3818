"""Where everything stands in a segment, what a real one holds, and what it costs."""

import json
import os
import uuid
import zlib
from itertools import pairwise

import pytest

from shmqueue import _format
from tests import support
from tests.protocol.raw import ENDS, HEAD, POOL, SIZES, TAIL, fields

LINE = 64
PAGE = 4096

# In the order in which the file holds them; each from its offset in the header.
AREAS = ["ends", "classes", "seats", "slots", "views", "blocks", "pool"]


def _structures():
    found = {}
    for structure, field, offset, size, _ in _format.layout_fields():
        found.setdefault(structure, []).append((field, offset, size))
    return found


class TestFields:
    def test_every_structure_is_told(self):
        assert set(_structures()) == set(SIZES)

    @pytest.mark.parametrize("structure", SIZES)
    def test_they_are_sorted_and_end_within_the_structure(self, structure):
        rows = _structures()[structure]
        assert rows[0][1] == 0
        for (_, offset, size), (field, following, _) in pairwise(rows):
            assert following >= offset + size, field
        assert rows[-1][1] + rows[-1][2] <= SIZES[structure]

    @pytest.mark.parametrize("structure", SIZES)
    def test_each_word_lies_at_a_multiple_of_its_size(self, structure):
        for field, offset, size in _structures()[structure]:
            word = size if size <= 8 else 8
            assert size in (2, 4, 8) or size % 8 == 0
            assert offset % (1 if field == "uuid" else word) == 0, field

    @pytest.mark.parametrize("structure", SIZES)
    def test_no_field_crosses_a_cache_line_and_each_has_a_meaning(self, structure):
        for row in _format.layout_fields():
            if row[0] == structure:
                is_table = row[0] == "stream" and row[3] > LINE
                assert is_table or row[2] // LINE == (row[2] + row[3] - 1) // LINE
                assert row[4]

    def test_sleepers_and_movers_of_an_end_have_their_own_lines(self):
        lines = {field: offset // LINE for field, offset, _ in _structures()["end"]}
        assert lines["owner"] == lines["sequence"] == 0
        assert lines["bell"] == 1

    def test_producers_and_consumers_count_in_different_lines_of_a_seat(self):
        lines = {field: offset // LINE for field, offset, _ in _structures()["seat"]}
        assert lines["items_put"] == lines["bytes_put"] == lines["last_put_ns"] == 0
        assert lines["items_got"] == lines["bytes_got"] == lines["last_get_ns"] == 1


class TestHeader:
    def test_it_tells_the_magic_the_version_and_the_byte_order(self, create, open_raw):
        create()
        raw = open_raw()
        assert raw.bytes_at(0, 8) == b"SHMQUEUE"
        assert raw.get("header", 0, "layout_version") == _format.layout_version()
        assert raw.get("header", 0, "byte_order") == 0x01020304

    @pytest.mark.parametrize(("serializer", "number"), [("cloudpickle", 1), ("multiprocessing", 2)])
    def test_it_tells_what_the_queue_was_made_with(self, create, open_raw, serializer, number):
        create(capacity=17, item_size=333, max_processes=5, serializer=serializer)
        raw = open_raw()
        assert raw.get("header", 0, "capacity") == 17
        assert raw.get("header", 0, "item_size") == 333
        assert raw.get("header", 0, "max_seats") == 5
        assert raw.get("header", 0, "serializer") == number
        assert raw.get("header", 0, "stream_offset") == 0
        assert raw.get("header", 0, "seats_granted") == 1
        assert raw.get("header", 0, "created_realtime_ns") > 10**18

    def test_each_segment_has_its_own_uuid(self, create, open_raw):
        offset, size = fields()["header", "uuid"]
        seen = set()
        for _ in range(3):
            queue = create()
            seen.add(uuid.UUID(bytes=open_raw().bytes_at(offset, size)))
            queue.close()
            queue.unlink()
        assert len(seen) == 3

    def test_its_checksum_is_the_crc_of_the_constant_fields(self, create, open_raw):
        create()
        raw = open_raw()
        first, at = (fields()["header", f][0] for f in ("layout_version", "checksum"))
        assert raw.get("header", 0, "checksum") == zlib.crc32(raw.bytes_at(first, at - first))

    def test_the_file_is_as_long_as_it_says(self, create, open_raw, run_id):
        create()
        (file,) = support.segment_files(run_id)
        size = (support.SHM / file).stat().st_size
        assert size == open_raw().get("header", 0, "segment_bytes")


@pytest.mark.parametrize(
    "geometry",
    [(1, 1, 1), (1, 16, 1), (3, 64, 2), (1000, 4096, 256), (7, 1000, 4095), (100_000, 8, 17)],
    ids=str,
)
class TestAreas:
    @pytest.fixture
    def raw(self, geometry, create, open_raw):
        capacity, item_size, seats = geometry
        create(capacity=capacity, item_size=item_size, max_processes=seats)
        return open_raw()

    def test_they_follow_each_other_without_overlap(self, raw, geometry):
        capacity, _, seats = geometry
        starts = [raw.get("header", 0, f"{area}_offset") for area in AREAS]
        sizes = [
            ENDS * SIZES["end"],
            96 * SIZES["class"],
            seats * SIZES["seat"],
            capacity * raw.get("header", 0, "slot_bytes"),
            seats * SIZES["views"],
            raw.get("header", 0, "max_blocks") * SIZES["block"],
            raw.get("header", 0, "pool_limit_bytes"),
        ]
        assert starts[0] == SIZES["header"]
        ends = [start + size for start, size in zip(starts, sizes, strict=True)]
        for end, following in zip(ends, starts[1:], strict=False):
            assert end <= following
        assert ends[-1] == raw.get("header", 0, "segment_bytes")

    def test_tables_start_on_lines_and_mapped_areas_on_pages(self, raw, geometry):
        assert raw.get("header", 0, "ends_offset") % LINE == 0
        assert raw.get("header", 0, "seats_offset") % LINE == 0
        for area in ("slots", "views", "blocks", "pool"):
            assert raw.get("header", 0, f"{area}_offset") % PAGE == 0

    def test_a_slot_holds_its_item_and_whole_lines(self, raw, geometry):
        _, item_size, _ = geometry
        step = raw.get("header", 0, "slot_bytes")
        assert step % LINE == 0
        assert step >= SIZES["slot"] + max(item_size, SIZES["block_ref"])
        assert step < SIZES["slot"] + max(item_size, SIZES["block_ref"]) + 2 * LINE

    def test_a_new_ring_has_four_open_ends_that_nobody_holds(self, raw, geometry):
        states = [raw.get("end", end, "state") for end in range(ENDS)]
        assert states == [1] * 4 + [0] * (ENDS - 4)
        for end in (TAIL, POOL, HEAD):
            assert raw.owner(end) == 0
            assert raw.get("end", end, "sequence") == 0


class TestCosts:
    def test_a_default_queue_costs_its_slots_and_little_more(self, create, open_raw, run_id):
        create()
        raw = open_raw()
        (file,) = support.segment_files(run_id)
        slots = raw.get("header", 0, "capacity") * raw.get("header", 0, "slot_bytes")
        assert (support.SHM / file).stat().st_blocks * 512 - slots < 64 * 1024

    def test_its_slots_are_reserved_from_the_start(self, create, open_raw, run_id):
        create()
        (file,) = support.segment_files(run_id)
        reserved = (support.SHM / file).stat().st_blocks * 512
        assert reserved >= open_raw().get("header", 0, "views_offset")

    MEASURE = """
        import json, os, sys
        from shmqueue import SharedMemoryQueue

        def resident_bytes():
            with open("/proc/self/status") as status:
                fields = dict(line.split(":", 1) for line in status)
            return int(fields["VmRSS"].split()[0]) * 1024

        run_id, names = sys.argv[1], sys.argv[2:]
        warm = [SharedMemoryQueue(name, run_id=run_id) for name in names[:5]]
        for queue in warm:
            queue.qsize()
        before = resident_bytes()
        handles = [SharedMemoryQueue(name, run_id=run_id) for name in names[5:]]
        attached = resident_bytes()
        again = [SharedMemoryQueue(names[0], run_id=run_id) for _ in handles]
        print(json.dumps([attached - before, resident_bytes() - attached, len(handles)]))
    """

    def test_a_handle_costs_little_resident_memory(self, create, programs, run_id):
        names = [f"q{number}" for number in range(55)]
        for name in names:
            create(name)
        first, again, count = json.loads(programs.run(self.MEASURE, run_id, *names))
        print(f"{first / count:.0f} bytes for a queue's first handle, {again / count:.0f} for more")
        assert count == 50
        assert first / count < 50 * 1024
        assert again / count < 50 * 1024

    def test_a_handle_needs_one_descriptor(self, create):
        before = len(os.listdir("/proc/self/fd"))
        queue = create()
        assert len(os.listdir("/proc/self/fd")) - before == 1
        queue.close()
        assert len(os.listdir("/proc/self/fd")) == before
