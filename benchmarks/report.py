"""Tables and a plot: ``python -m benchmarks.report build/benchmarks.json --markdown ...``.

Everything that is written comes from the JSON; no number is typed by hand.
"""

import argparse
import os
import sys
from pathlib import Path

from benchmarks.stats import load, number, percentile, value_text
from benchmarks.targets import OURS, Ceiling

BEGIN = "<!-- benchmark:begin -->"
END = "<!-- benchmark:end -->"
ROOT = Path(__file__).resolve().parent.parent

# Columns of the wide table: a library whose classes carry different items takes one column.
_COLUMNS = (
    ("shmqueue", ("shmqueue",)),
    ("hyperq", ("hyperq-bytes", "hyperq")),
    ("zeroq", ("zeroq",)),
    ("pyzmq", ("pyzmq",)),
    ("faster-fifo", ("faster-fifo",)),
    ("mp.SimpleQueue", ("mp-simplequeue",)),
    ("mp.Queue", ("mp-queue",)),
)

_WORK = {
    "local": "put + get in one process",
    "spsc": "1 producer → 1 consumer",
    "batch": "the same, batches of 100",
    "mpmc": "{producers} → {consumers} processes",
    "pingpong": "ping-pong over two queues, round trip",
    "wake": "waking a consumer that slept 10 ms",
    "idle": "CPU of a consumer blocked {idle_s:g} s",
}
_PAYLOADS = {
    "bytes8": "8-byte bytes",
    "int": "int",
    "str": "str",
    "dict": "small dict",
    "object": "instance of a small class",
}


def table_text(header, rows, align=None):
    align = align or ["---"] + ["---:"] * (len(header) - 1)
    lines = [header, align, *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _work(results, case):
    text = _WORK[case["scenario"]].format(**case, idle_s=results.data["plan"]["idle_s"])
    if case["scenario"] in ("local", "spsc", "batch", "mpmc"):
        payload = _PAYLOADS[case["payload"]]
        text += f", {payload}s" if case["scenario"] in ("batch", "mpmc") else f", {payload}"
    return text


def times_text(ratio):
    return f"{number(ratio.median)}x ({number(ratio.low)} to {number(ratio.high)})"


def _state(results, key, peer):
    """What stands in the place of a number that is not there."""
    failures = results.failures(key, peer)
    if failures:
        return "hang" if all(f == "hang" for f in failures) else "error"
    return "-"


def values_table(results):
    """Median values, one line for each case; the best of a line in bold."""
    columns = [(name, keys) for name, keys in _COLUMNS if any(k in results.peers for k in keys)]
    rows = []
    for case in results.cases:
        spreads = {peer: results.spread(case["key"], peer) for peer in results.peers}
        medians = [s.median for s in spreads.values() if s]
        best = (max if case["higher_is_better"] else min)(medians) if medians else None
        row = [_work(results, case)]
        for _, keys in columns:
            peer = _peer_of_column(results, case, keys)
            spread = spreads.get(peer)
            if spread is None:
                row.append(_state(results, case["key"], peer))
                continue
            text = value_text(case, spread.median)
            text = f"**{text}**" if spread.median == best else text
            row.append(text + ("\\*" if results.failures(case["key"], peer) else ""))
        rows.append(row)
    return table_text(["median"] + [name for name, _ in columns], rows)


def _peer_of_column(results, case, keys):
    for key in keys:
        if key in case["peers"] and not results.unsupported(case["key"], key):
            return key
    return keys[0]


def ratios_table(results):
    """How many times faster ours is, with the range over the rounds."""
    columns = [(name, keys) for name, keys in _COLUMNS[1:] if any(k in results.peers for k in keys)]
    rows = []
    for case in results.cases:
        row = [_work(results, case)]
        for _, keys in columns:
            peer = _peer_of_column(results, case, keys)
            ratio = results.ratio(case["key"], peer)
            if ratio is None:
                row.append(_state(results, case["key"], peer))
            else:
                row.append(f"**{times_text(ratio)}**" if ratio.median < 1 else times_text(ratio))
        rows.append(row)
    return table_text(["shmqueue is faster by"] + [name for name, _ in columns], rows)


def targets_table(results):
    """Every floor, what was measured, and whether it is reached."""
    rows = []
    for verdict in results.verdicts():
        target = verdict.target
        case = results.case(target.case)
        work = _work(results, case) if case else target.case
        if isinstance(target, Ceiling):
            limit, measured = f"under {target.limit:g} {target.unit}", "-"
            if verdict.measured:
                m = verdict.measured
                measured = f"{number(m.median)} {target.unit} ({number(m.low)} to {number(m.high)})"
            against = "-"
        else:
            limit = f"{target.ratio:g}x"
            measured = times_text(verdict.measured) if verdict.measured else "-"
            against = _against(results, target)
        outcome = {True: "reached", False: "**lost**", None: "not measured"}[verdict.is_reached]
        rows.append([work, against, limit, measured, outcome])
    header = ["work", "against", "at least", "median (lowest to highest)", ""]
    return table_text(header, rows, ["---", "---", "---:", "---:", "---"])


def _against(results, target):
    if target.peer != OURS:
        return results.labels.get(target.peer, target.peer)
    other = results.case(target.other_case)
    return f"shmqueue, {_work(results, other)}" if other else f"shmqueue, {target.other_case}"


def targets_sentence(results):
    """How many floors are reached."""
    verdicts = results.verdicts()
    missing = sum(v.measured is None for v in verdicts)
    text = f"{sum(v.is_reached is True for v in verdicts)} of {len(verdicts)} floors are reached"
    lost = sum(v.is_reached is False for v in verdicts)
    text += f", {lost} lost" if lost else ""
    return text + (f", {missing} not measured." if missing else ".")


def lost_floors_text(results):
    """One line for each floor that is not reached; empty if there is none."""
    lines = []
    for v in results.verdicts():
        if v.is_reached is not False:
            continue
        work = _work(results, results.case(v.target.case))
        if isinstance(v.target, Ceiling):
            unit = v.target.unit
            got = f"{number(v.measured.median)} {unit} instead of under {v.target.limit:g} {unit}"
        else:
            against = _against(results, v.target)
            got = f"against {against}: {times_text(v.measured)} instead of {v.target.ratio:g}x"
        lines.append(f"- **lost**: {work}, {got}")
    return "\n".join(lines)


def losses_text(results):
    """Every case in which another queue is faster."""
    if not any(results.rounds(case["key"], OURS) for case in results.cases):
        return "shmqueue itself was not measured in this run."
    losses = results.losses()
    if not losses:
        return "In this run none of the others was faster in any case."
    lines = []
    for case, peer, ratio in losses:
        mine = value_text(case, results.spread(case["key"], OURS).median)
        theirs = value_text(case, results.spread(case["key"], peer).median)
        lines.append(
            f"- {_work(results, case)}: **{results.labels[peer]}** {theirs}, shmqueue {mine}"
            f" (ratio {times_text(ratio)})"
        )
    return "\n".join(lines)


def wake_table(results):
    rows = []
    for peer in results.peers:
        samples = results.wake_samples_us(peer)
        if samples:
            shown = (percentile(samples, f) for f in (0.5, 0.9, 0.99))
            rows.append([results.labels[peer], *(number(s) for s in shown), str(len(samples))])
    return table_text(["µs", "median", "90 %", "99 %", "samples"], rows) if rows else ""


def failures_text(results):
    lines = []
    for case in results.cases:
        for peer in results.peers:
            failures = results.failures(case["key"], peer)
            if failures:
                runs = len(case["peers"][peer]["rounds"]) + ("calibration" in case["peers"][peer])
                reasons = ", ".join(sorted(set(failures)))
                label = results.labels[peer]
                lines.append(f"- {case['key']}, {label}: {len(failures)} of {runs} runs: {reasons}")
    return "\n".join(lines) or "No run hung, failed, or delivered a wrong item."


def unsupported_text(results):
    lines = []
    for peer in results.peers:
        reasons = {results.unsupported(case["key"], peer): None for case in results.cases}
        found = [reason for reason in reasons if reason]
        if found:
            lines.append(f"- {results.labels[peer]}: {'; '.join(found)}")
    return "\n".join(lines) or "Every queue ran every case."


def machine_sentence(results):
    machine = results.data["machine"]
    virtual = " (virtual)" if machine["virtual"] else ""
    cores = f"{machine['cores']} core{'s' if machine['cores'] != 1 else ''}"
    return (
        f"{machine['cpu']}{virtual}, {cores}, {machine['memory_gib']:g} GiB, "
        f"{machine['kernel']}, {machine['python']}"
    )


def commit_text(results):
    git = results.data["git"]
    if not git:
        return "commit unknown"
    return f"commit {git['commit'][:12]}" + (" with changes" if git["dirty"] else "")


def caveats_text(results):
    notes = []
    if results.data["plan"]["quick"]:
        notes.append("a quick run: a first impression, nothing to quote")
    notes += results.data["warnings"]
    return "".join(f"> Note: {note}.\n" for note in notes)


def setup_text(results):
    data = results.data
    versions = [
        f"{name} {version or 'from the source tree'}" for name, version in data["versions"].items()
    ]
    load = ", ".join(f"{data[when][0]:.1f}" for when in ("load_before", "load_after"))
    plan = data["plan"]
    return "\n".join(
        [
            f"- {machine_sentence(results)}",
            f"- {commit_text(results)}, {data['started']}",
            f"- {', '.join(versions)}; multiprocessing from the standard library",
            f"- {plan['rounds']} rounds of about {plan['run_s']:g} s a run,"
            f" {data['seconds'] / 60:.1f} minutes in all, load before and after: {load}",
        ]
    )


def document(results, markdown, png):
    """The page for docs/."""
    definitions = link(ROOT / "benchmarks" / "README.md", markdown)
    picture = f"\n![throughput and latency of the queues]({link(png, markdown)})\n" if png else ""
    return f"""# Benchmarks

Generated by `python -m benchmarks.report`; do not edit. [What each scenario measures, how the
ratios are computed and what the numbers do not say]({definitions}) stands beside the code. "-"
means that a queue cannot run the case.

{caveats_text(results)}
Measured on {machine_sentence(results)}.
{picture}
## Floors

{targets_sentence(results)}

{targets_table(results)}

## Where another queue is faster

{losses_text(results)}

## Values

Medians over the rounds, the best of each line in bold; \\* marks a queue that failed in some
rounds.

{values_table(results)}

## Ratios

How many times faster shmqueue is: the median of the rounds' ratios (lowest to highest). Below 1
the other queue is faster, in bold.

{ratios_table(results)}

## Latency of a wake-up

All rounds together.

{wake_table(results) or "Not measured."}

## Failures

{failures_text(results)}

## Not supported

{unsupported_text(results)}

## Setup

{setup_text(results)}
"""


def readme_block(results, readme, markdown, png):
    """What stands between the markers of the README."""
    parts = []
    if png:
        parts.append(f"![throughput and latency of the queues]({link(png, readme)})")
    parts.append(values_table(results))
    lost = lost_floors_text(results)
    parts.append(
        f"{targets_sentence(results)} A floor is the least ratio to another queue that shmqueue is"
        f" held to." + (f"\n\n{lost}" if lost else "")
    )
    losses = losses_text(results)
    if losses.startswith("- "):
        losses = "Where another queue is faster:\n\n" + losses
    parts.append(losses)
    details = f" [All ratios, ranges and versions]({link(markdown, readme)})." if markdown else ""
    rounds = results.data["plan"]["rounds"]
    parts.append(
        f"Medians of {rounds} interleaved rounds on {machine_sentence(results)}; "
        f"{commit_text(results)}. "
        f'"-": cannot run the case. Generated by `make bench`.{details}'
    )
    caveats = caveats_text(results).strip()
    if caveats:
        parts.insert(0, caveats)
    return "\n\n".join(parts)


def replace_block(text, block, name="the file"):
    """Put `block` between the markers.

    Raises
    ------
    ValueError
        If the markers are not there once each, in order.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"{name} needs the lines {BEGIN} and {END}, once each, in this order")
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n\n{block}\n\n{END}{tail}"


def link(target, source):
    path = os.path.relpath(Path(target).resolve(), Path(source).resolve().parent)
    return path.replace(os.sep, "/")


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    print(path)


def main(arguments=None):
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.report", description=__doc__.split("\n")[0]
    )
    parser.add_argument("results", help="the JSON that benchmarks.run wrote")
    parser.add_argument("--markdown", type=Path, help="page to write")
    parser.add_argument("--png", type=Path, help="plot to write")
    parser.add_argument("--readme", type=Path, help="file whose marked block is replaced")
    options = parser.parse_args(arguments)
    try:
        results = load(options.results)
        if options.png:
            from benchmarks.plot import draw

            options.png.parent.mkdir(parents=True, exist_ok=True)
            draw(results, options.png)
            print(options.png)
        if options.markdown:
            write(options.markdown, document(results, options.markdown, options.png))
        if options.readme:
            block = readme_block(results, options.readme, options.markdown, options.png)
            text = replace_block(options.readme.read_text(), block, options.readme)
            write(options.readme, text)
    except (OSError, ValueError) as error:
        sys.exit(f"benchmarks.report: {error}")
    if not (options.png or options.markdown or options.readme):
        print(values_table(results), targets_sentence(results), losses_text(results), sep="\n\n")


if __name__ == "__main__":
    main()
