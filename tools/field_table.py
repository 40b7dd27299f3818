"""Write docs/layout.md from the field table of the compiled module; --check only compares."""

import argparse
import sys
from itertools import groupby
from pathlib import Path

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "layout.md"

HEAD = """\
# The layout of a segment

Written by `make docs-table` from `shmqueue._format.layout_fields()`, that is, from the structures
of `shmqueue/_native/layout.h` as the C compiler laid them out. Do not edit; a test compares.

Offsets and sizes are bytes, offsets from the start of the structure. Where the structures stand in
the segment, and why, is told at the top of `layout.h`. A field that moves or changes its meaning
is a new layout version.
"""


def render(fields):
    """Return the document for these (structure, field, offset, size, meaning) tuples."""
    parts = [HEAD]
    for structure, rows in groupby(fields, key=lambda field: field[0]):
        parts.append(
            f"\n## {structure}\n\n| offset | size | field | meaning |\n|---:|---:|---|---|\n"
        )
        for _, field, offset, size, meaning in rows:
            told = meaning.replace("|", "\\|")
            parts.append(f"| {offset} | {size} | `{field}` | {told} |\n")
    return "".join(parts)


def main():
    from shmqueue._format import layout_fields

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="fail when docs/layout.md is not up to date"
    )
    arguments = parser.parse_args()
    text = render(layout_fields())
    current = DOCUMENT.read_text() if DOCUMENT.is_file() else None
    if arguments.check:
        if text != current:
            return f"{DOCUMENT.name} is not what the code says; run `make docs-table`."
    elif text != current:
        DOCUMENT.parent.mkdir(exist_ok=True)
        DOCUMENT.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
