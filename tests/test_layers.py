"""Each layer knows only those before it; the table below is the architecture."""

import ast
import re
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "shmqueue"

# Who may import whom, in the order of the layers: an entry names only entries above it. A new file
# is entered here on purpose or not at all. `_native/x` is shmqueue/_native/x.h; a folder of the
# package (`demo`) is one entry.
ALLOWED = {
    # exceptions and the machine's memory know nothing
    "errors": set(),
    "memory": set(),
    "serializers": set(),
    # the protocol, in C
    "_native/atomics": set(),
    "_native/layout": set(),
    "_native/futex": {"_native/atomics"},
    "_native/view": {"_native/atomics", "_native/layout"},
    "_native/format": {"_native/view"},
    "_native/seats": {"_native/futex", "_native/view"},
    "_native/ends": {"_native/seats"},
    "_native/groups": {"_native/ends"},
    "_native/poll": {"_native/ends"},
    "_native/regions": {"_native/poll"},
    "_native/ring": {"_native/groups", "_native/regions"},
    "_native/blocks": {"_native/ring"},
    "_native/floor": {"_native/blocks"},
    "_native/writers": {"_native/floor"},
    "_native/growth": {"_native/blocks"},
    "_native/done": {"_native/ends"},
    "_native/handle": {"_native/view"},
    "_native/wait": {"_native/done", "_native/growth", "_native/handle", "_native/writers"},
    "_native/joining": {"_native/wait"},
    "_native/views": {"_native/blocks"},
    "_native/loans": {"_native/floor", "_native/views"},
    "_native/snapshot": {"_native/views"},
    # objects and bytes; knows no queue and no segment
    "_payload": set(),
    "_packed": set(),
    "_pack": {"_packed"},
    "_unpack": {"_packed"},
    "_buffers": {"_packed", "_payload"},
    "_dtypes": set(),
    "_arrays": {"_buffers", "_dtypes", "_packed", "_payload", "errors"},
    "_tensors": {"_buffers"},
    "_pickling": {"_tensors"},
    "_pickles": {"_arrays", "_buffers", "_packed", "_payload", "_pickling", "errors"},
    "_codec": {
        *("_arrays", "_buffers", "_pack", "_packed", "_payload", "_pickles", "_unpack"),
        "errors",
    },
    # the extension over the protocol
    "_protocol": {"_native/format", "_native/joining", "_native/snapshot"},
    "_format": {"_protocol", "errors"},
    "_core": {"_format", "_protocol", "errors", "memory"},
    "_inspect": {"_core", "_protocol"},
    "_ending": {"_core", "_protocol", "errors"},
    "_readers": {"_core", "_protocol", "errors"},
    "_groups": {"_core", "_inspect", "_protocol", "_readers", "errors"},
    "_examine": {"_format", "_inspect", "_protocol", "errors"},
    "_repair": {"_core", "_protocol"},
    "segment": {"_core", "_examine", "_format", "errors", "memory", "serializers"},
    "stats": {"_core", "_inspect", "errors"},
    "doctor": {"_examine", "_repair", "errors", "segment", "stats"},
    # the queues
    "_deadlines": {"_core", "_protocol"},
    "_pool": {"_core", "_protocol"},
    "_payloads": {"_core", "_deadlines", "_pool", "_protocol"},
    "_loans": {"_native/loans", "_protocol"},
    "_blocks": {"_buffers", "_codec", "_core", "_loans", "_pool", "_protocol", "_readers"},
    "_batch": {"_blocks", "_codec", "_core", "_pool", "_protocol"},
    "_kept": {"_blocks"},
    "_consumer": {
        *("_blocks", "_codec", "_core", "_deadlines", "_kept", "_pool", "_protocol", "_readers"),
        "errors",
    },
    "_bytes": {
        *("_blocks", "_buffers", "_codec", "_consumer", "_core", "_deadlines", "_kept"),
        "_protocol",
        "_readers",
    },
    "_queue": {
        *("_batch", "_blocks", "_bytes", "_codec", "_core", "_deadlines", "_ending", "_pool"),
        "_protocol",
    },
    "_reservations": {
        *("_blocks", "_buffers", "_codec", "_core", "_pool", "_protocol", "_queue"),
    },
    "_raw": {"_codec", "_core", "_deadlines", "_queue", "_reservations"},
    "_typed": {
        *("_codec", "_consumer", "_core", "_deadlines", "_kept", "_protocol", "_queue", "_readers"),
        "errors",
    },
    "item_types": {"_consumer", "_dtypes", "_queue", "_typed", "errors"},
    "named": {
        *("_raw", "_core", "doctor", "item_types", "segment", "serializers", "stats"),
        "errors",
    },
    "queue": {"_queue", "named", "errors"},
    "groups": {"_arrays", "_bytes", "_core", "_groups", "_readers", "stats", "errors"},
    "_declared": {"_groups", "groups", "stats"},
    "stream": {"_declared", "_groups", "_readers", "groups", "named", "stats"},
    "consumers": {"groups", "stream", "errors"},
    # the drop-ins for multiprocessing's
    "connections": {"_queue", "_core", "errors"},
    "dropin": {"connections", "_queue", "_raw", "_core", "_inspect", "segment", "errors"},
    "executor": {"dropin", "errors"},
    "context": {"executor", "dropin"},
    "__init__": {
        *(
            "consumers",
            "context",
            "dropin",
            "groups",
            "queue",
            "segment",
            "serializers",
            "stream",
            "errors",
        ),
    },
    # what faces are made of: a terminal to show themselves on, programs that help them
    "programs": set(),
    "terminal": set(),
    # faces: they hold no protocol, and see the package as its users do
    "demo": {"__init__", "programs", "terminal"},
    "load": {"__init__", "doctor", "memory", "programs", "segment", "terminal"},
    "run": {"__init__"},
    "checkup": {"doctor", "segment"},
    "__main__": {"checkup", "demo", "load", "run", "__init__"},
}

# Packages from elsewhere, and the only places that may know them.
OUTSIDE = {
    "_pickling": {"cloudpickle"},
    # only once an array or a tensor turns up
    "_arrays": {"numpy"},
    "_dtypes": {"numpy"},
    "_reservations": {"numpy"},
    "item_types": {"numpy"},
    "_tensors": {"torch"},
    "demo": {"numpy", "rich"},
    "load": {"matplotlib", "numpy"},
}
# What Cython and the type checkers bring along themselves.
BUNDLED = {"cython", "cpython", "libc", "libcpp", "posix"}
BUNDLED_FOR_STUBS = {"typing_extensions", "_typeshed"}


def entry_of(path):
    """The table's name for a file of the package."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    if parts[0] == "_native":
        return "/".join(parts)
    return parts[0]


def sources():
    suffixes = {".py", ".pyi", ".pyx", ".pxd", ".pxi", ".h"}
    return sorted(path for path in PACKAGE.rglob("*") if path.suffix in suffixes)


def python_imports(text):
    """Yield (dots, module, names) of each import statement, wherever it stands."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield 0, alias.name, []
        elif isinstance(node, ast.ImportFrom):
            yield node.level, node.module or "", [alias.name for alias in node.names]


def cython_imports(text):
    """The same for Cython, whose syntax `ast` does not read; cimports count as imports."""
    text = re.sub(r'""".*?"""|#[^\n]*', "", text, flags=re.DOTALL)
    text = re.sub(r"\\\n", " ", text)
    pattern = r"^[ \t]*from[ \t]+(\.*)([\w.]*)[ \t]+c?import[ \t]*(\([^)]*\)|[^\n]*)"
    for dots, module, names in re.findall(pattern, text, re.MULTILINE):
        listed = [name.split()[0] for name in names.strip("() \t\n").split(",") if name.strip()]
        yield len(dots), module, listed
    for names in re.findall(r"^[ \t]*c?import[ \t]+([^\n]+)", text, re.MULTILINE):
        for name in names.split(","):
            yield 0, name.split()[0], []


def included_headers(text):
    """Yield the headers of ours that C or Cython text names."""
    text = re.sub(r"/\*.*?\*/|//[^\n]*", "", text, flags=re.DOTALL)
    pattern = r'^[ \t]*(?:#[ \t]*include[ \t]+"|cdef extern from[ \t]+["\'])([^"\'\n]+)["\']'
    for name in re.findall(pattern, text, re.MULTILINE):
        yield "_native/" + Path(name).stem


def imports_of(path):
    """Return the entries of the table that a file knows, and the packages from elsewhere."""
    text = path.read_text()
    if path.suffix == ".h":
        return set(included_headers(text)), set()
    own = entry_of(path)
    statements = python_imports if path.suffix in {".py", ".pyi"} else cython_imports
    inside, outside = set(), set()
    if path.suffix in {".pyx", ".pxd", ".pxi"}:
        inside.update(name for name in included_headers(text) if (PACKAGE / f"{name}.h").is_file())
        inside.update(re.findall(r'^include "([\w/]+)\.\w+"', text, re.MULTILINE))
    depth = len(path.relative_to(PACKAGE).parts) - 1
    for dots, module, names in statements(text):
        parts = module.split(".") if module else []
        if dots == 0 and parts[0] != "shmqueue":
            outside.add(parts[0])
            continue
        if dots == 0:
            parts = parts[1:]
        elif dots <= depth:
            inside.add(own)
            continue
        # `from . import x`: a module of ours, or else a public name, which is __init__'s.
        inside.update(parts[:1] or {name if name in ALLOWED else "__init__" for name in names})
        if dots == 0 and not parts and not names:
            inside.add("__init__")
    outside -= sys.stdlib_module_names
    return inside - {own}, outside - (BUNDLED_FOR_STUBS if path.suffix == ".pyi" else BUNDLED)


def trespasses(entry, inside, outside):
    """Return what an entry may not know, out of what it knows."""
    return sorted(inside - ALLOWED[entry]) + sorted(outside - OUTSIDE.get(entry, set()))


def test_every_file_of_the_package_is_in_the_table():
    unknown = sorted({entry_of(path) for path in sources()} - set(ALLOWED))
    assert unknown == [], "enter new files in ALLOWED, at the layer where they belong"


def test_every_entry_of_the_table_exists():
    assert sorted(set(ALLOWED) - {entry_of(path) for path in sources()}) == []


def test_each_layer_of_the_table_knows_only_those_before_it():
    before = set()
    for entry, allowed in ALLOWED.items():
        assert allowed <= before, f"{entry} would know what comes after it: {allowed - before}"
        before.add(entry)


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_knows_only_what_the_table_allows(path):
    assert trespasses(entry_of(path), *imports_of(path)) == []


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("stats.py", "def f():\n    from .queue import SharedMemoryQueue\n", ["queue"]),
        ("stats.py", "from . import queue, _core\n", ["queue"]),
        ("stats.py", "from . import Empty\n", ["__init__"]),
        ("stats.py", "import shmqueue.queue as q\n", ["queue"]),
        ("stats.py", "from shmqueue import segment\n", ["segment"]),
        ("stats.py", "import os, numpy.linalg\n", ["numpy"]),
        (
            "demo/word.py",
            "from ..queue import SharedMemoryQueue\nfrom .other import x\n",
            ["queue"],
        ),
        ("_codec.pyx", "from ._core cimport Segment\n", ["_core"]),
        ("_codec.pyx", "from shmqueue cimport (\n    _core,\n    _pack,\n)\n", ["_core"]),
        ("_codec.pyx", "cimport cython\nfrom libc.stdint cimport uint64_t\n", []),
        ("_codec.pyx", "cimport shmqueue._core\n", ["_core"]),
        ("_codec.pxd", 'cdef extern from "_native/ring.h" nogil:\n    pass\n', ["_native/ring"]),
        ("_native/ring.h", '#include <string.h>\n#include "wait.h"\n', ["_native/wait"]),
        ("_native/ring.h", '/* #include "wait.h" would be a cycle */\n', []),
    ],
)
def test_a_trespass_is_found(name, text, found, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path)
    path = tmp_path / name
    for header in ("ring", "wait"):
        (tmp_path / "_native").mkdir(exist_ok=True)
        (tmp_path / "_native" / f"{header}.h").touch()
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    assert trespasses(entry_of(path), *imports_of(path)) == found
