"""What a hostile or broken process writes: numbers where they hurt, and bytes anywhere."""

# A number of a field, a number of another field, and numbers around the bounds of everything.
WILD = [
    *(0, 1, 2, 3, 24, 31, 32, 33, 255, 256, 4095, 4096, 4097, 16384),
    *(2**bits + delta for bits in (16, 20, 24, 31, 32, 33, 36, 46, 62, 63) for delta in (-1, 0, 1)),
    *(2**64 - delta for delta in (1, 2, 24, 32, 33, 4096)),
]
STEPS = [1, -1, 2, -2, 8, -8, 32, -32, 64, 4096, -4096, 1 << 20]

# How often a structure is chosen: the most useful ones most often.
WEIGHTS = {
    "header": 2,
    "end": 9,
    "class": 2,
    "seat": 2,
    "views": 2,
    "region": 4,
    "slot": 9,
    "block": 9,
    "stream": 4,
    "group": 4,
    "hold": 3,
    "owners": 2,
}


def mutate(ground, rng):
    """Return one write, as (offset, bytes), that is made of what stands in the ground now."""
    if rng.random() < 0.75:
        return _field(ground, rng)
    return _bytes(ground, rng)


def mutate_some(ground, rng):
    """Return a few writes: mostly one."""
    count = rng.choice([1, 1, 1, 1, 2, 2, 3, 5])
    return [write for _ in range(count) for write in mutate(ground, rng)]


def _place(ground, rng):
    known = [name for name in WEIGHTS if ground.field_places.get(name)]
    structure = rng.choices(known, [WEIGHTS[name] for name in known])[0]
    return rng.choice(ground.field_places[structure])


def _field(ground, rng):
    at, size, _ = _place(ground, rng)
    most = (1 << 8 * size) - 1
    deed = rng.randrange(8)
    if deed <= 1:
        value = rng.choice(WILD)
    elif deed <= 3:
        value = _number(ground, at, size) + rng.choice(STEPS)
    elif deed == 4:
        value = _number(ground, at, size) ^ 1 << rng.randrange(8 * size)
    elif deed == 5:
        value = rng.getrandbits(rng.choice([8, 16, 8 * size]))
    else:
        there, other_size, _ = _place(ground, rng)
        value = _number(ground, there, other_size)
        if deed == 7:  # swapped
            own = _number(ground, at, size) & (1 << 8 * other_size) - 1
            return [
                (at, (value & most).to_bytes(size, "little")),
                (there, own.to_bytes(other_size, "little")),
            ]
    return [(at, (value & most).to_bytes(size, "little"))]


def _number(ground, at, size):
    return int.from_bytes(ground.read(at, size), "little")


def _bytes(ground, rng):
    start, length = rng.choice(ground.written)
    at = start + rng.randrange(length)
    deed = rng.randrange(6)
    if deed <= 2:
        data = bytes([rng.randrange(256)])
    elif deed == 3:
        data = rng.randbytes(rng.choice([2, 8, 64, 512]))
    elif deed == 4:
        data = bytes([rng.choice([0, 0xFF])]) * rng.choice([8, 64, 4096])
    else:  # a line of another place
        there, other_length = rng.choice(ground.written)
        data = ground.read(there + rng.randrange(other_length) // 64 * 64, 64)
        at -= at % 64
    return [(at, data[: max(0, ground.file_bytes - at)])]
