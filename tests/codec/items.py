"""Items that the packed encoding covers, and how to tell whether two are the same."""

import math
import random
import struct

INTS = [
    *(sign * (1 << bits) + delta for bits in range(70) for sign in (1, -1) for delta in (-1, 0, 1)),
    *(
        sign * (1 << bits)
        for bits in (255, 256, 1000, 8 * 253, 8 * 254, 100_000)
        for sign in (1, -1)
    ),
]

SCALARS = [
    None,
    True,
    False,
    *INTS,
    *(0.0, -0.0, 1.5, -1e308, 5e-324, math.inf, -math.inf),
    *(1j, -0j, complex(-0.0, math.inf), complex(1.5, -2.5)),
    *(
        "",
        "a",
        "\x00",
        "é",
        "ÿ",
        "Ā",
        "€",
        "\U00010000",
        "\U0010ffff",
        "\ud800",
        "a\udfffb",
        "\ud83d\ude00",
    ),
    *(
        character * length
        for character in "aé€\U0001f600"
        for length in (30, 31, 32, 63, 64, 253, 254, 70_000)
    ),
    *(b"x" * length for length in (0, 1, 253, 254, 255, 256, 65_535, 65_536, 100_000)),
    *(bytearray(b"y" * length) for length in (0, 1, 300, 100_000)),
]

CONTAINERS = [
    *((), [], {}, set(), frozenset()),
    *((1,), [None], {"": ""}, {0}, frozenset({0})),
    [[[]], ((),), {1: {}}, {frozenset()}, frozenset({frozenset({1})})],
    {"id": 7, "name": "abc", "v": 1.5},
    {
        (1, (2, "x"), frozenset({3})): [1, 2],
        b"k": bytearray(b"v"),
        None: 1,
        2.5: True,
        1 << 80: 0,
        "€": 1,
    },
    {key: key for key in reversed(range(300))},
    [*range(-300, 300)],
    tuple(range(1000)),
    set(range(1000)),
    frozenset(str(i) for i in range(1000)),
    {(i, str(i)) for i in range(100)},
    [SCALARS, tuple(SCALARS)],
]


def fingerprint(item, seen=()):
    """Everything that must survive a round trip: types, signs of zeros, order of keys."""
    kind = type(item)
    if id(item) in seen:
        return (kind, "again", len(seen) - seen.index(id(item)))
    inner = (*seen, id(item))
    if kind is float:
        return (kind, struct.pack("<d", item))
    if kind is complex:
        return (kind, struct.pack("<dd", item.real, item.imag))
    if kind in (list, tuple):
        return (kind, [fingerprint(element, inner) for element in item])
    if kind is dict:
        return (kind, [(fingerprint(k, inner), fingerprint(v, inner)) for k, v in item.items()])
    if kind in (set, frozenset):
        return (kind, sorted(repr(fingerprint(element, inner)) for element in item))
    if kind is bytearray:
        return (kind, bytes(item))
    if kind is int:
        return (kind, hex(item))  # repr, of which sets are sorted, refuses the largest
    return (kind, item)


def random_item(source: random.Random, depth=4, hashable=False):
    """An item of the packed encoding; some of its parts occur in it more than once."""
    return _random(source, depth, hashable, [])


def _random(source, depth, hashable, known):
    if known and not hashable and source.random() < 0.1:
        return source.choice(known)
    choice = source.randrange(13 if depth else 7)
    if choice < 7:
        item = source.choice(SCALARS)
        if hashable and type(item) is bytearray:
            item = bytes(item)
        return item if choice else source.randrange(-(1 << 40), 1 << 40)
    size = source.choice([0, 1, 2, 3, 8])

    def parts(hashable):
        return [_random(source, depth - 1, hashable, known) for _ in range(size)]

    if choice == 7:
        item = tuple(parts(hashable))
    elif choice == 8:
        item = frozenset(parts(True))
    elif hashable:
        item = source.choice(INTS)
    elif choice == 9:
        item = parts(False)
    elif choice == 10:
        item = set(parts(True))
    else:
        item = dict(zip(parts(True), parts(False), strict=True))
    known.append(item)
    return item
