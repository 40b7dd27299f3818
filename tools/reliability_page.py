"""Write the figures of docs/reliability.md from docs/reports; --check only compares."""

import argparse
import json
import re
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE = DOCS / "reliability.md"
REPORTS = DOCS / "reports"
RIVALS = DOCS / "benchmarks-kills.md"

# In the order of the page: the file of the report, what ran, the command that runs it again, and
# which of its figures are told; the report has all of them.
SANITIZED = "tests_passed tests_failed tests_left_out findings"
COST = ["older", "8-byte bytes", "int", "dict", "int, batches of 100", "rounds"]
TOPICS = [
    (
        *("instructions", "Killed at every instruction", "make killpoints"),
        "operations_from_states at_most_so_many_kills_in_each_operation kills in_calls findings",
    ),
    (
        *("killpoints", "Killed at every change of shared memory", "make faults"),
        "starting_states operations kills double_fault_kills_by_test findings broken_twins_noticed",
    ),
    (
        *("double-faults", "The same, and whoever takes over as well", "make double-faults"),
        "double_fault_combinations double_fault_images at_most_so_many_kills_over_each_image"
        " double_fault_kills double_fault_pairs double_fault_findings",
    ),
    (
        *("lifecycle", "Killed at every system call", "make faults"),
        "operations kills_at_system_calls rounds_in_which_everybody_was_killed items_accounted_for",
    ),
    (
        *("explored", "Interleavings explored", "make faults"),
        "scenarios runs exhaustive bounded cut_short states kills violations broken_twins",
    ),
    (
        *("explore", "Explored further", "make explore"),
        "scenarios runs exhaustive bounded cut_short states kills violations",
    ),
    ("models", "Modelled", "make faults", "searches states errors twins twins_caught"),
    (
        *("storm", "Storm", "make storm"),
        "kills deaths_of_holders stops takeovers items_put lost may_be_lost duplicates torn"
        " leaked_bytes leaked_files stall_longest_ms",
    ),
    (
        *("groups", "Storm over a stream", "make storm"),
        "kills deaths_of_holders items lost may_be_lost lapped takeovers findings",
    ),
    (
        *("stopped", "Stopped, and not robbed", "make faults"),
        "named_stops bounded_stops unbounded_stops named_takeovers bounded_takeovers"
        " unbounded_takeovers",
    ),
    (
        *("surroundings", "Surroundings", "make faults"),
        "sizes_of_dev_shm limits_RLIMIT_AS limits_RLIMIT_FSIZE limits_RLIMIT_NOFILE"
        " items_through_containers process_numbers_reused forks_while_eight_threads_put"
        " programs_started_while_threads_put execs_while_a_thread_puts attach_and_detach_cycles"
        " programs_that_ended_in_the_middle",
    ),
    (
        *("hostile", "Hostile bytes", "make faults"),
        "header_attaches truncations test_trials live_writes decoding_trials names"
        " pickle_like_payloads test_findings live_findings decoding_findings",
    ),
    (
        "mutations",
        "Mutations",
        "make mutations",
        "mutation_trials mutation_refused mutation_noticed mutation_findings",
    ),
    ("fuzz", "Codec fuzzed", "make fuzz", "fuzz_inputs fuzz_seconds fuzz_findings"),
    ("asan", "AddressSanitizer and UndefinedBehaviorSanitizer", "make asan", SANITIZED),
    ("tsan", "ThreadSanitizer", "make tsan", SANITIZED),
    ("memcheck", "valgrind's memcheck", "make memcheck", SANITIZED),
    ("cost", "CPU time of a put and a get, against that before", "make cost", COST),
]


def render_figures():
    """Return the table of what the last runs found."""
    lines = ["| what | figures | at | again |", "|---|---|---|---|"]
    machines = set()
    for topic, title, command, told in TOPICS:
        path = REPORTS / f"{topic}.json"
        if not path.is_file():
            continue
        report = json.loads(path.read_text())
        figures = "; ".join(
            f"{name.replace('_', ' ')} {_shown(report['figures'][name])}"
            for name in (told.split() if isinstance(told, str) else told)
            if name in report["figures"]
        )
        machine = report["machine"]
        machines.add(
            f"Python {machine['python']}, Linux {machine['kernel']}, {machine['cores']} cores"
        )
        lines.append(f"| {title} | {figures} | {report.get('commit', '?')} | `{command}` |")
    return "\n".join([*lines, "", f"On {', and on '.join(sorted(machines))}."])


def _shown(value):
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return str(value)
    return f"{value:,.3g}" if isinstance(value, float) else f"{value:,}"


def render_rivals():
    """Return the table of the comparison, from the page that `make rivals` wrote."""
    if not RIVALS.is_file():
        return ""
    table = [line for line in RIVALS.read_text().splitlines() if line.startswith("|")]
    return "\n".join([*table, "", f"[What was done]({RIVALS.name}); again: `make rivals`."])


def with_section(page, name, text):
    """Return the page with what stands between the marks of a section replaced."""
    pattern = rf"(<!-- {name}:begin -->\n).*?(<!-- {name}:end -->)"
    return re.sub(
        pattern, lambda m: f"{m[1]}{text}\n{m[2]}" if text else m[1] + m[2], page, flags=re.S
    )


def broken_links(page):
    """Return the targets of links within the project that aren't there."""
    targets = [target for target in re.findall(r"\]\(([^)#]+)", page) if "://" not in target]
    return [target for target in targets if not (DOCS / target).exists()]


def missing_tests(page):
    """Return the tests that the page links to by their names, and that their files don't have."""
    missing = []
    for item in re.findall(r"^- (\[.*)", page, flags=re.M):
        link = re.fullmatch(r"\[([^\]]+)\]\((\.\./tests/[^)]+\.py)\)", item)
        name = link and f"test_{link[1].replace(' ', '_')}"
        if not link or f"def {name}(" not in (DOCS / link[2]).read_text():
            missing.append(name or item)
    return missing


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail when the page is out of date")
    arguments = parser.parse_args()
    current = PAGE.read_text()
    page = with_section(current, "figures", render_figures())
    page = with_section(page, "rivals", render_rivals())
    if missing := broken_links(page) or missing_tests(page):
        return f"{PAGE.name} names what is not there: {', '.join(missing)}"
    if arguments.check:
        if page != current:
            return f"{PAGE.name} is not what the reports say; run `make reliability`."
    elif page != current:
        PAGE.write_text(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
