"""The account of a soak, for people."""

import os
import platform

import numpy

MEGABYTE = 1 << 20

ROWS = [
    ("Items put", lambda told: f"{told['items_put']:,}"),
    ("Items received, whole and in order", lambda told: f"{told['got']:,}"),
    ("Bytes received", lambda told: f"{told['bytes_got'] / 1e9:.1f} GB"),
    (
        "In the hands of killed consumers (at most)",
        lambda t: f"{t['lost']:,} ({t['may_be_lost']:,})",
    ),
    ("Large items viewed in place", lambda told: f"{told['items_viewed']:,}"),
    ("Large items copied out", lambda told: f"{told['items_copied']:,}"),
    ("Kept and looked at again", lambda told: f"{told['kept']:,}"),
    ("Reservations aborted or dropped", lambda told: f"{told['aborted']:,}"),
    ("Forks with arrays in hand", lambda told: f"{told['forks']:,}"),
    ("Producers killed", lambda told: f"{told['kills']['producer']:,}"),
    ("Consumers killed", lambda told: f"{told['kills']['consumer']:,}"),
    ("Takeovers", lambda told: f"{told['takeovers']:,}"),
    ("Pool, early and late", lambda told: _both(told, "pool")),
    ("Segment, early and late", lambda told: _both(told, "shared")),
    ("Private memory, early and late", lambda told: _both(told, "private")),
    ("Pool at the end, of it free", lambda t: _mb(t["pool_bytes"], t["pool_free_bytes"])),
]


def _mb(*values):
    return ", ".join(f"{value / MEGABYTE:.0f} MB" for value in values)


def _both(told, key):
    return _mb(*told["memory"][key])


def machine():
    """Return what the soak ran on."""
    return {
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "kernel": platform.release(),
        "cores": os.cpu_count(),
    }


def _cells(account):
    names = list(account["queues"])
    yield "", *(f"{name} queue" for name in names)
    for label, text in ROWS:
        yield label, *(text(account["queues"][name]) for name in names)


def as_text(account):
    """Return the account as lines."""
    rows = list(_cells(account))
    widths = [max(len(row[column]) for row in rows) + 2 for column in range(len(rows[0]))]
    lines = ["".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)) for row in rows]
    return "\n".join([f"{account['seconds']:g} s, seed {account['seed']}", *lines])


def as_markdown(account):
    """Return the account as a page."""
    header, *rows = _cells(account)
    verdict = "; ".join(account["problems"]) or "none"
    lines = [
        "# Soak",
        "",
        "Written by `make soak`: producers and consumers on a named and on an unnamed queue put"
        " and get items of 24 bytes to 4 MB by every call that there is, keep and drop arrays,"
        " reserve, abort and fork, and are killed by SIGKILL at random. Each item tells by a"
        " checksum that it is whole, and by its number that it is in order. *Early* and *late* are"
        " the most of the second and of the last fifth of the time.",
        "",
        f"{account['seconds']:g} s, seed {account['seed']}; Python {account['python']}, numpy"
        f" {account['numpy']}, Linux {account['kernel']}, {account['cores']} cores."
        f" Problems: {verdict}.",
        "",
        "| " + " | ".join(header) + " |",
        "|---" * len(header) + "|",
        *("| " + " | ".join(row) + " |" for row in rows),
    ]
    return "\n".join(lines)
