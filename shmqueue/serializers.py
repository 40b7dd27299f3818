"""Which serializer a queue uses: the names that a segment keeps, and what stands behind them.

Three are built in: two that pickle, and one that carries bytes and serialises nothing. Any other
object with ``dumps`` and ``loads`` may be given when a queue is created; every process that
attaches finds it by the name in the segment, or gets it along with the queue.
"""

import importlib
import types
from typing import Any, NamedTuple

__all__ = [
    "BUILT_IN",
    "CUSTOM",
    "TYPED",
    "Choice",
    "choose",
    "find",
    "name_of",
    "register_serializer",
]

# As the header of a segment numbers them.
BUILT_IN = {"cloudpickle": 1, "multiprocessing": 2, "bytes": 4}
CUSTOM = 3
TYPED = 5  # items of one type, which the segment names
# Other names for these.
ALIASES = {"pickle": "cloudpickle"}
LONGEST_NAME_BYTES = 63  # that the header has room for

_registered: dict[str, Any] = {}


class Choice(NamedTuple):
    """A serializer as it is chosen for a new queue.

    Attributes
    ----------
    number : int
        Of the policy, as the header keeps it.
    name : str
        Of a custom one, as the header keeps it: as it was registered, or ``module:attribute``;
        empty if it has none, and then it travels with the queue.
    custom : object, optional
        What has ``dumps`` and ``loads``.
    """

    number: int
    name: str = ""
    custom: Any = None


def register_serializer(name: str, serializer: Any) -> None:
    """Make an object with ``dumps`` and ``loads`` known under a name, in this process.

    A queue that is created with ``serializer=name`` keeps the name in its segment. Every process
    that attaches by name must have registered it, too; children that are forked have it already.

    Parameters
    ----------
    name : str
        Under which the queues' segments know it.
    serializer : object
        ``serializer.dumps(item)`` returns bytes, a bytearray, a memoryview or a str, and
        ``serializer.loads`` of that (bytes for a memoryview) the item. Both may be called from
        several threads at once.

    Raises
    ------
    TypeError, ValueError
        If it has no such functions, or the name is that of a built-in one or means something else
        already.
    """
    if not isinstance(name, str):
        raise TypeError(f"name must be a str, not {type(name).__name__}")
    if not name or ":" in name or name in BUILT_IN or name in ALIASES:
        raise ValueError(
            f"{name!r} can't name a serializer: it must not be empty, contain ':', or be one of"
            f" {', '.join(map(repr, [*BUILT_IN, *ALIASES]))}"
        )
    _check(serializer)
    if _registered.setdefault(name, serializer) is not serializer:
        raise ValueError(f"a serializer {name!r} is registered already: {_registered[name]!r}")


def choose(serializer: Any, *, travels: bool) -> Choice:
    """Return what is meant by the `serializer` of a new queue.

    Parameters
    ----------
    serializer : str or object
        A name, or an object with ``dumps`` and ``loads``.
    travels : bool
        Whether the object can travel with the queue, so that it needs no name.

    Raises
    ------
    TypeError, ValueError
        If nothing is meant by it.
    """
    if isinstance(serializer, str):
        serializer = ALIASES.get(serializer, serializer)
        if serializer in BUILT_IN:
            return Choice(BUILT_IN[serializer])
        if serializer in _registered:
            return Choice(CUSTOM, serializer, _registered[serializer])
        known = ", ".join(map(repr, [*BUILT_IN, *_registered]))
        raise ValueError(
            f"serializer must be one of {known}, not {serializer!r}; others are made known by"
            " shmqueue.register_serializer"
        )
    _check(serializer)
    name = _name_for(serializer)
    if travels and len(name.encode()) > LONGEST_NAME_BYTES:
        name = ""
    if not name and not travels:
        raise ValueError(
            f"serializer {serializer!r} has no name by which a process that attaches could find it:"
            " register it with shmqueue.register_serializer and give its name"
        )
    return Choice(CUSTOM, name, serializer)


def find(name: str) -> Any:
    """Return the custom serializer that a segment names.

    Raises
    ------
    ValueError
        If it is not known here.
    """
    if name in _registered:
        return _registered[name]
    module, colon, path = name.partition(":")
    if colon:
        try:
            found: Any = importlib.import_module(module)
            for part in path.split(".") if path else ():
                found = getattr(found, part)
            _check(found)
            return found
        except (ImportError, AttributeError, TypeError) as error:
            raise ValueError(
                f"this queue uses the serializer {name!r}, which can't be imported here: {error}"
            ) from error
    raise ValueError(
        f"this queue uses the serializer {name!r}: make it known here, before attaching, by"
        f" shmqueue.register_serializer({name!r}, ...)"
    )


def name_of(number: int, name: str) -> str:
    """Return what to call the serializer that a header names.

    Raises
    ------
    ValueError
        If this version knows none of that number.
    """
    if number == CUSTOM:
        return name or "custom"
    if number == TYPED:
        return "dtype"
    for built_in, its_number in BUILT_IN.items():
        if its_number == number:
            return built_in
    raise ValueError(
        f"the queue uses serializer number {number}, which this version of shmqueue does not know"
    )


def _check(serializer: Any) -> None:
    for function in ("dumps", "loads"):
        if not callable(getattr(serializer, function, None)):
            raise TypeError(
                "serializer must be a str, or an object with functions dumps and loads, not"
                f" {serializer!r}"
            )


def _name_for(serializer: Any) -> str:
    for name, known in _registered.items():
        if known is serializer:
            return name
    if isinstance(serializer, types.ModuleType):
        return f"{serializer.__name__}:"
    module = getattr(serializer, "__module__", None)
    path = getattr(serializer, "__qualname__", None)
    if isinstance(module, str) and isinstance(path, str) and module != "__main__":
        name = f"{module}:{path}"
        try:
            if find(name) is serializer:
                return name
        except ValueError:
            pass  # a local class, say
    return ""
