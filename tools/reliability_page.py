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

# In the order of the page: the file of the report, what ran, and the command that runs it again.
TOPICS = [
    ("instructions", "Killed at every instruction", "make killpoints"),
    ("killpoints", "Killed at every change of shared memory", "make faults"),
    ("double-faults", "The same, and whoever takes over as well", "make double-faults"),
    ("lifecycle", "Killed at every system call", "make faults"),
    ("explored", "Interleavings explored", "make faults"),
    ("explore", "Explored further", "make explore"),
    ("models", "Modelled", "make faults"),
    ("storm", "Storm", "make storm"),
    ("storm-short", "Storm, short", "make faults"),
    ("stopped", "Stopped, and not robbed", "make faults"),
    ("surroundings", "Surroundings", "make faults"),
    ("hostile", "Hostile bytes", "make faults"),
    ("mutations", "Mutations", "make mutations"),
    ("fuzz", "Codec fuzzed", "make fuzz"),
    ("sanitized", "Sanitizers", "make asan, tsan, memcheck"),
]


def render_figures():
    """Return the table of what the last runs found."""
    lines = ["| what | figures | on | again |", "|---|---|---|---|"]
    for topic, title, command in TOPICS:
        path = REPORTS / f"{topic}.json"
        if not path.is_file():
            continue
        report = json.loads(path.read_text())
        figures = "; ".join(
            f"{name.replace('_', ' ')} {_shown(value)}"
            for name, value in report["figures"].items()
            if not isinstance(value, (dict, list))
        )
        machine = report["machine"]
        where = f"Python {machine['python']}, Linux {machine['kernel']}, {machine['cores']} cores"
        lines.append(f"| {title} | {figures} | {where} | `{command}` |")
    return "\n".join(lines)


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


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail when the page is out of date")
    arguments = parser.parse_args()
    current = PAGE.read_text()
    page = with_section(current, "figures", render_figures())
    page = with_section(page, "rivals", render_rivals())
    if missing := broken_links(page):
        return f"{PAGE.name} names what is not there: {', '.join(missing)}"
    if arguments.check:
        if page != current:
            return f"{PAGE.name} is not what the reports say; run `make reliability`."
    elif page != current:
        PAGE.write_text(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
