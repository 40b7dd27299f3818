"""The figures of a storm: its rounds together, for people and for docs/reliability.md."""

from collections import Counter
from statistics import median

from tests.storm import crew, deaths

SUMS = (
    "deaths_of_spawned",
    "deaths_of_holders",
    "stops",
    "items_put",
    "items_received",
    "lost",
    "may_be_lost",
    "duplicates",
    "strangers",
    "disordered",
    "takeovers",
    "leaked_bytes",
    "leaked_files",
    "leaked_processes",
)


def figures(rounds, seed):
    """Return the figures of some rounds."""
    told = {"seed": str(seed), "rounds": len(rounds)}
    told["kills"] = sum(each.deaths.total() for each in rounds)
    by_kind = sum((each.deaths for each in rounds), Counter())
    told["kills_by_kind"] = {kind: by_kind[kind] for kind in deaths.CODES}
    told["kills_by_role"] = dict(sum((each.deaths_by_role for each in rounds), Counter()))
    for name in SUMS:
        told[name] = sum(getattr(each, name) for each in rounds)
    # An item that is torn ends who receives it, which is a finding.
    told["torn"] = sum("TornError" in finding for each in rounds for finding in each.findings)
    stalls = [1e3 * stall for each in rounds for stall in each.stalls] or [0.0]
    told["stall_median_ms"] = round(median(stalls), 2)
    told["stall_longest_ms"] = round(max(stalls), 1)
    told["seconds"] = round(sum(each.seconds for each in rounds), 1)
    calls = {role: sum((each.calls[role] for each in rounds), Counter()) for role in crew.ROLES}
    told["calls"] = {role: dict(calls[role]) for role in crew.ROLES}
    told["queues"] = dict(Counter(each.queue for each in rounds))
    told["findings"] = [f"{each.queue}, {each.seed}: {w}" for each in rounds for w in each.findings]
    return told


def as_text(told):
    """Return the account, as lines."""

    def listed(counts):
        return ", ".join(f"{name} {count:,}" for name, count in counts.items())

    leaks = f"{told['leaked_bytes']:,} bytes, {told['leaked_files']} files"
    rows = {
        "kills": f"{told['kills']:,} in {told['seconds']:,} s",
        "rounds": listed(told["queues"]),
        "of these": listed(told["kills_by_kind"]),
        "of them": f"{listed(told['kills_by_role'])}; spawned {told['deaths_of_spawned']:,},"
        f" with an owner word in their hands {told['deaths_of_holders']:,}",
        "stops": f"{told['stops']:,} (SIGSTOP, then SIGCONT)",
        "items put": f"{told['items_put']:,}",
        "items received": f"{told['items_received']:,}",
        "lost": f"{told['lost']:,} of {told['may_be_lost']:,} in the hands of the killed",
        "duplicates": f"{told['duplicates']}; torn {told['torn']}, nobody's {told['strangers']},"
        f" out of order {told['disordered']}",
        "takeovers": f"{told['takeovers']:,}",
        "stall after a kill": f"median {told['stall_median_ms']} ms,"
        f" longest {told['stall_longest_ms']} ms",
        "leaked": f"{leaks}, {told['leaked_processes']} processes",
        "puts": listed(told["calls"]["producer"]),
        "gets": listed(told["calls"]["consumer"]),
    }
    return "\n".join(f"{name:<20}{text}" for name, text in rows.items())
