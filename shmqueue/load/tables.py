"""The account of a run as tables, and the verdict below them."""

from __future__ import annotations

from typing import Any

from ..terminal import Screen, duration, table

__all__ = ["summary", "tell"]

# Of those who did not keep up, so many are told one by one.
TOLD = 4
# Writers reached their rate if they put this share of it.
ENOUGH = 0.95


def tell(screen: Screen, told: dict[str, Any]) -> None:
    """Print the account of a run.

    Parameters
    ----------
    screen : Screen
        Where.
    told : dict
        The account, of `account`.
    """
    _table(
        screen,
        ["writer", "items", "MB", "items/s", "MB/s", "waited", "CPU", ""],
        [
            [
                *_carried(row),
                duration(row["blocked_seconds"]),
                f"{row['cpu_percent']:.0f} %",
                _state(row),
            ]
            for row in told["writers"]
        ],
    )
    screen.say()
    head = ["reader", "items", "MB", "items/s", "MB/s", "behind now/most", "waited for"]
    head += ["lapped", "left", "torn", "p50", "p99", "CPU", ""]
    _table(
        screen,
        head,
        [
            [
                *_carried(row),
                f"{row['lag']:,}/{row['lag_max']:,}",
                duration(row["held_up_seconds"]),
                f"{row['lapped']:,}",
                f"{row['left']:,}",
                f"{row['torn']:,}" if told["verify"] else "?",
                _time(row["latency_p50_seconds"]),
                _time(row["latency_p99_seconds"]),
                f"{row['cpu_percent']:.0f} %",
                _state(row),
            ]
            for row in told["readers"]
        ],
    )
    screen.say()
    screen.say(
        f"  CPU of all programs: {duration(told['cpu_seconds'])} in {duration(told['seconds'])},"
        f" {told['cpu_percent']:.0f} % of one processor; writers waited"
        f" {duration(told['blocked_seconds'])} for room."
    )
    wanted = told["wanted"]
    if wanted and told["put"] < ENOUGH * wanted and not told["interrupted"]:
        screen.say(
            f"  Writers put {told['put']:,} of the {wanted:,} items that their rate asks for."
        )
    _verdict(screen, told)


def _table(screen: Screen, head: list[str], rows: list[list[str]]) -> None:
    """Print a table, without its last column if there is nothing in it."""
    if not any(row[-1] for row in rows):
        head, rows = head[:-1], [row[:-1] for row in rows]
    table(screen, head, rows)


def _verdict(screen: Screen, told: dict[str, Any]) -> None:
    behind = told["behind"]
    if behind:
        more = len(behind) - TOLD
        listed = "; ".join(behind[:TOLD]) + (f"; and {more} more" if more > 0 else "")
        screen.say(f"  Every reader kept up: {screen.paint('no', 'yellow')}: {listed}.")
    else:
        screen.say(f"  Every reader kept up: {screen.paint('yes', 'green')}.")
    if told["problems"]:
        screen.say(f"  Check: {screen.paint('WRONG', 'red')}:")
        for problem in told["problems"]:
            screen.say(f"    {problem}")
        return
    lapped = sum(row["lapped"] for row in told["readers"])
    left = sum(row["left"] for row in told["readers"])
    apart = [
        f"{number:,} {what}"
        for number, what in ((lapped, "that lag lost, counted exactly"), (left, "left in the ring"))
        if number
    ]
    whole = "" if told["verify"] else " (not verified whole)"
    verdict = screen.paint("once and in order" if whole else "once, whole and in order", "green")
    screen.say(
        f"  Check: each of {told['put']:,} items came to every reader {verdict}{whole}"
        + (f", but for {' and '.join(apart)}" if apart else "")
        + "."
    )


def summary(screen: Screen, accounts: list[dict[str, Any]]) -> None:
    """Print a table with a row for each run.

    Parameters
    ----------
    screen : Screen
        Where.
    accounts : list of dict
        The accounts of the runs.
    """
    head = ["scenario", "written MB/s", "read MB/s", "p50", "p99", "lapped", "waited", "CPU"]
    head += ["kept up", "check"]
    rows = []
    for told in accounts:
        written, read = (
            sum(row["megabytes_per_second"] for row in told[key]) for key in ("writers", "readers")
        )
        rows.append(
            [
                told["scenario"],
                f"{written:,.0f}",
                f"{read:,.0f}",
                _time(told["latency_p50_seconds"]),
                _time(told["latency_p99_seconds"]),
                f"{sum(row['lapped'] for row in told['readers']):,}",
                duration(told["blocked_seconds"]),
                f"{told['cpu_percent']:.0f} %",
                "yes" if told["kept_up"] else "no",
                "WRONG" if told["problems"] else "right",
            ]
        )
    table(screen, head, rows)


def _carried(row: dict[str, Any]) -> list[str]:
    return [
        row["name"],
        f"{row['items']:,}",
        f"{row['bytes'] / 1e6:,.1f}",
        f"{row['items_per_second']:,.1f}",
        f"{row['megabytes_per_second']:,.1f}",
    ]


def _state(row: dict[str, Any]) -> str:
    return "" if row["state"] == "ended" else str(row["state"])


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds * 1e6:.0f} us" if seconds < 0.0005 else duration(seconds)
