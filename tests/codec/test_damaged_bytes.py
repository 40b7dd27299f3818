import random
import struct

import pytest

from shmqueue._codec import dumps, loads
from shmqueue.errors import CorruptItemError
from tests.codec.items import CONTAINERS, random_item

BYTES, STR1, STR2, STR4, PACKED, PICKLE = range(1, 7)

INT, STR = b"\x01", b"\x81a"
BIG_INT, STR2_TAG, STR4_TAG, BYTES_TAG, BYTEARRAY = b"\xa7", b"\xab", b"\xac", b"\xad", b"\xae"
TUPLE, LIST, DICT, SET, FROZENSET, MARK, REF = (bytes([tag]) for tag in range(0xAF, 0xB6))
U32, U64 = b"\xfe", b"\xff"


def load_or_refuse(kind, data):
    try:
        loads(kind, data)
    except CorruptItemError:
        return False
    return True


@pytest.mark.parametrize("seed", range(60))
def test_damaged_items_load_as_something_else_or_are_refused(seed):
    source = random.Random(seed)
    kind, data = dumps(random_item(source) if seed % 4 else source.choice(CONTAINERS))
    pool = bytes(range(0xA0, 0xB6)) + b"\x00\x01\x7f\x80\x9f\xfd\xfe\xff"
    for _ in range(400):
        damaged = bytearray(
            data[: source.randrange(len(data) + 1)] if source.random() < 0.2 else data
        )
        for _ in range(source.choice([0, 1, 1, 2, 5])):
            at = source.randrange(len(damaged) + 1)
            deed = source.randrange(4)
            if deed == 0:
                damaged[at : at + 1] = bytes([source.choice(pool)])
            elif deed == 1:
                damaged[at : at + 1] = bytes([source.randrange(256)])
            elif deed == 2:
                damaged[at:at] = source.choices(pool, k=source.randrange(1, 6))
            else:
                del damaged[at : at + source.randrange(1, 9)]
        load_or_refuse(PACKED, damaged)
        load_or_refuse(source.choice([BYTES, STR1, STR2, STR4]), damaged)
    assert load_or_refuse(kind, data)


@pytest.mark.parametrize("seed", range(20))
def test_bytes_at_random_load_or_are_refused(seed):
    source = random.Random(seed)
    tags = bytes(range(0xA0, 0xB6)) + b"\x00\x01\x02\x03\x80\x81"
    for _ in range(2000):
        load_or_refuse(PACKED, bytes(source.choices(tags, k=source.randrange(1, 60))))


def test_every_truncation_of_a_packed_item_is_refused():
    shared = [b"x" * 100]
    item = {
        "a": [
            1,
            -5,
            1000,
            1 << 20,
            1 << 40,
            1 << 90,
            1.5,
            2j,
            "x" * 300,
            "€" * 40,
            "\U0001f600",
            shared,
        ],
        "b": (bytearray(b"xyz"), {1, (2,)}, frozenset({"é"}), shared, {"k": None}),
    }
    kind, data = dumps(item)
    assert kind == PACKED
    for end in range(len(data)):
        with pytest.raises(CorruptItemError):
            loads(kind, data[:end])
    with pytest.raises(CorruptItemError, match="goes on"):
        loads(kind, data + b"\x00")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "ends before"),
        (b"\xb6", "unknown tag"),
        (b"\xff", "unknown tag"),
        (b"\x85abc", "longer than what is left"),
        (LIST + U64 + b"\xff" * 8, "more elements"),
        (DICT + U64 + b"\x00" * 7 + b"\x80", "more elements"),
        (TUPLE + U32 + b"\xff" * 4, "more elements"),
        (SET + b"\x05" + INT, "more elements"),
        (LIST + U32 + b"\x01", "within a length"),
        (BYTES_TAG + U64 + b"\xff" * 8 + b"x", "longer than what is left"),
        (BYTEARRAY + U32 + b"\xff" * 4, "longer than what is left"),
        (BIG_INT + b"\x09" + b"x" * 8, "longer than what is left"),
        (STR2_TAG + U64 + b"\x00" * 7 + b"\x80" + b"x" * 8, "longer than what is left"),
        (STR2_TAG + b"\x01" + b"a\x00", "characters"),
        (STR4_TAG + b"\x01" + struct.pack("<I", 0x110000), "characters"),
        (STR4_TAG + b"\x01" + struct.pack("<I", 0xFFFFFFFF), "characters"),
        (STR4_TAG + b"\x01" + struct.pack("<I", 0x20AC), "characters"),
        (DICT + b"\x01" + LIST + b"\x00" + INT, "hashed"),
        (DICT + b"\x01" + TUPLE + b"\x01" + DICT + b"\x00" + INT, "hashed"),
        (SET + b"\x01" + SET + b"\x00", "hashed"),
        (FROZENSET + b"\x01" + BYTEARRAY + b"\x00", "hashed"),
        (DICT + b"\x02" + STR + INT + STR + INT, "twice"),
        (SET + b"\x02" + INT + INT, "twice"),
        (LIST + b"\x01" + REF + b"\x01", "does not exist"),
        (LIST + b"\x01" + REF + U64 + b"\xff" * 8, "does not exist"),
        (TUPLE + b"\x01" + REF + b"\x00", "not complete"),
        (LIST + b"\x01" + MARK + TUPLE + b"\x01" + REF + b"\x01", "not complete"),
        (LIST + b"\x01" + MARK + FROZENSET + b"\x01" + REF + b"\x01", "not complete"),
        (REF + b"\x00", "not complete"),
        (LIST + b"\x01" + MARK, "mark"),
        (LIST + b"\x02" + MARK + MARK + INT, "mark"),
        (
            LIST + b"\x02" + MARK + TUPLE + b"\x00" + DICT + b"\x01" + REF + b"\x01" + INT,
            "more elements|must not",
        ),
        ((LIST + b"\x01") * 201 + INT, "too deeply"),
        ((TUPLE + b"\x01") * 100_000 + INT, "too deeply"),
    ],
    ids=lambda value: value[:12].hex() if type(value) is bytes else value,
)
def test_what_no_encoder_writes_is_refused_with_the_reason(data, why):
    with pytest.raises(CorruptItemError, match=why):
        loads(PACKED, data)


def test_a_dropped_object_cannot_be_referred_to_after_its_end():
    # The second value of the key ends the marked list; then the mark is used.
    data = LIST + b"\x02" + DICT + b"\x02" + STR + MARK + LIST + b"\x00" + STR + INT + REF + b"\x01"
    with pytest.raises(CorruptItemError):
        loads(PACKED, data)


def test_hashing_a_long_chain_of_tuples_is_refused_before_it_starts():
    links = 50_000
    data = bytearray(LIST + U32 + struct.pack("<I", links + 2) + MARK + TUPLE + b"\x00")
    for index in range(1, links + 1):
        data += MARK + TUPLE + b"\x02" + (REF + U32 + struct.pack("<I", index)) * 2
    data += SET + b"\x01" + REF + U32 + struct.pack("<I", links)
    with pytest.raises(CorruptItemError, match="must not"):
        loads(PACKED, data)


def test_a_small_input_cannot_claim_much_memory():
    # Each list claims all that is left, inside the one before.
    size = 1 << 20
    with pytest.raises(CorruptItemError, match="more elements"):
        loads(PACKED, (LIST + U32 + struct.pack("<I", size // 2)) * 150 + bytes(size))


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (0, b"x"),
        (7, b"x"),
        (0xFFFFFFFF, b"x"),
        (STR2, b""),
        (STR2, b"abc"),
        (STR2, b"a\x00b\x00"),
        (STR4, b"a\x00\x00\x00"),
        (STR4, b"\x00\x01\x00"),
        (STR4, b"\x00\x00\x11\x00"),
    ],
)
def test_a_kind_that_does_not_match_its_bytes_is_refused(kind, data):
    with pytest.raises(CorruptItemError):
        loads(kind, data)


def test_any_buffer_at_any_address_is_read():
    for item in ("€uro" * 10, "\U0001f600" * 10, [1 << 40, 2.5, "€" * 20]):
        kind, data = dumps(item)
        for shift in range(9):
            assert loads(kind, memoryview(b"\x00" * shift + data)[shift:]) == item
            assert loads(kind, bytearray(data)) == item
