"""What a group of a stream is asked to be: checked before anything is made."""

import graphlib
import math
import operator
from collections.abc import Iterable, Mapping
from typing import Any, SupportsFloat

from shmqueue import _groups
from shmqueue.groups import Group
from shmqueue.stats import POLICIES, SUBSCRIBER

__all__ = ["check_name", "declared", "listed", "policy_of", "policy_text", "start_of"]

# Of the arguments of `Stream.group`, those that say what the group is like, not its consumer.
OPTIONS = ("after", "drop_after", "policy", "start")


def check_name(name: Any) -> None:
    """Raise TypeError or ValueError unless a group may be called so."""
    if not isinstance(name, str) or not name:
        raise TypeError(f"a group's name is a str that is not empty, not {name!r}")
    if len(name.encode()) > _groups.MAX_NAME_BYTES:
        raise ValueError(
            f"a group's name has at most {_groups.MAX_NAME_BYTES} bytes of UTF-8: {name!r}"
        )
    if name.startswith(SUBSCRIBER):
        raise ValueError(f"{name!r} is what a subscription may be called: choose another name")


def listed(after: Any) -> list[Any]:
    """Return what was given as `after`, alone or together; iterating over a Group would take."""
    if after is None:
        return []
    is_alone = isinstance(after, str | Group) or not isinstance(after, Iterable)
    return [after] if is_alone else list(after)


def start_of(start: Any, has_groups: bool) -> tuple[int, int]:
    """Return how a new group's beginning was given, and where it is."""
    if start is None:
        start = "next" if has_groups else "oldest"
    if isinstance(start, str):
        if start == "next":
            return _groups.START_NEXT, 0
        if start == "oldest":
            return _groups.START_OLDEST, 0
    elif not isinstance(start, bool) and hasattr(start, "__index__"):
        sequence = operator.index(start)
        if 0 <= sequence < 1 << 64:
            return _groups.START_AT, sequence
    raise ValueError(f'start must be "next", "oldest" or a sequence, not {start!r}')


def policy_of(policy: str | None, drop_after: float | None) -> tuple[int, int] | None:
    """Return the number of a policy and its nanoseconds; None where nothing was asked for."""
    if policy is None and drop_after is None:
        return None
    if policy is None:
        policy = "drop"
    if policy not in POLICIES:
        raise ValueError(f"policy must be one of {', '.join(POLICIES)}, not {policy!r}")
    if (policy == "drop") != (drop_after is not None):
        raise ValueError('drop_after goes with the policy "drop", and that needs it')
    if drop_after is None:
        return POLICIES.index(policy), 0
    if not isinstance(drop_after, SupportsFloat):
        raise TypeError(f"drop_after must be a number of seconds, not {drop_after!r}")
    seconds = float(drop_after)
    if not 0 <= seconds < math.inf:
        raise ValueError(f"drop_after must be seconds, 0 or more, not {drop_after}")
    return POLICIES.index(policy), min(int(seconds * 1e9), 1 << 62)


def policy_text(policy: int, keep_ns: int) -> str:
    """Return what to call a policy in messages."""
    text = POLICIES[policy]
    return f"{text!r} after {keep_ns / 1e9:g} s" if text == "drop" else repr(text)


def declared(groups: Any) -> dict[str, dict[str, Any]]:
    """Return the arguments of each declared group, behind the groups that it comes after.

    Raises
    ------
    TypeError, ValueError
        If there can't be such groups on a new stream.
    """
    given = _by_name(groups)
    if len(given) > _groups.MAX_GROUPS:
        raise ValueError(f"{len(given)} groups are too many: {_groups.MAX_GROUPS} at most")
    options = {name: _options(name, arguments) for name, arguments in given.items()}
    for name, wanted in options.items():
        for other in wanted["after"]:
            if other not in options:
                raise ValueError(
                    f"group {name!r} should come after {other!r}, which is not declared"
                )
    before = {name: wanted["after"] for name, wanted in options.items()}
    try:
        order = list(graphlib.TopologicalSorter(before).static_order())
    except graphlib.CycleError as error:
        circle = " after ".join(map(repr, _circle(error.args[1], list(options))))
        raise ValueError(f"groups come after each other in a circle: {circle}") from None
    return {name: options[name] for name in order}


def _by_name(groups: Any) -> Mapping[str, Any]:
    if isinstance(groups, str):
        raise TypeError(f"groups is an iterable of names, not one: [{groups!r}]")
    if isinstance(groups, Group) or not isinstance(groups, Iterable):
        raise TypeError(f"groups is an iterable of names, or a dict by name, not {groups!r}")
    names = list(groups)
    for name in names:
        check_name(name)
    return groups if isinstance(groups, Mapping) else {name: {} for name in names}


def _options(name: str, given: Any) -> dict[str, Any]:
    """Return the arguments of one group, which it begins by if it is new."""
    if not isinstance(given, Mapping):
        raise TypeError(
            f"group {name!r} is declared by a dict of arguments of `group`, not {given!r}"
        )
    for option in given:
        if option not in OPTIONS:
            raise TypeError(
                f"group {name!r} is declared by {', '.join(OPTIONS)}, not by {option!r}"
            )
    wanted = {"start": "oldest", **given}
    policy_of(wanted.get("policy"), wanted.get("drop_after"))
    kind, sequence = start_of(wanted["start"], False)
    if kind == _groups.START_AT and sequence:
        raise ValueError(
            f"group {name!r} can't begin at start={wanted['start']}: a new stream has no items yet"
        )
    wanted["after"] = _names(name, wanted.get("after"))
    return wanted


def _names(name: str, after: Any) -> list[str]:
    """Return the names that were given as `after`, where only names are known."""
    names = listed(after)
    for other in names:
        if not isinstance(other, str):
            raise TypeError(
                f"group {name!r} is declared to come after a name or an iterable of names, not"
                f" {other!r}"
            )
    return names


def _circle(successors: list[str], names: list[str]) -> list[str]:
    """Return a circle of groups so that each comes after the next, from who was named first."""
    circle = successors[:0:-1]
    first = circle.index(min(circle, key=names.index))
    circle = circle[first:] + circle[:first]
    return [*circle, circle[0]]
