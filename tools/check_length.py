"""No file of code grows past what one reads in a sitting."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("shmqueue", "tests", "benchmarks", "examples", "tools")
SUFFIXES = {".py", ".pyi", ".pyx", ".pxd", ".pxi", ".h", ".c", ".sh"}
LIMIT = 700


def main():
    failed = False
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in SUFFIXES:
                lines = len(path.read_text().splitlines())
                if lines >= LIMIT:
                    failed = True
                    print(
                        f"{path.relative_to(ROOT)}: {lines} lines; split it, the limit is {LIMIT}"
                    )
    return failed


if __name__ == "__main__":
    sys.exit(main())
