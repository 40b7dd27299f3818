"""For pytest under watch: leave out what can't be run so, saying why, and count."""

import json
import os
import pathlib

from tests.sanitized.tools import TOOLS

# Fixtures that start processes.
OF_PROCESSES = {"ctx", "start", "programs", "forks", "signs"}

TOOL = TOOLS[os.environ["SHMQUEUE_SANITIZED"]]


def pytest_configure(config):
    if TOOL.address_bytes:
        from shmqueue import segment

        segment.POOL_LIMIT_BYTES = segment.RING_LIMIT_BYTES = TOOL.address_bytes


def _reason(item):
    for part, reason in TOOL.left_out.items():
        if part in item.nodeid:
            return reason
    if TOOL.is_for_one_process and OF_PROCESSES & set(getattr(item, "fixturenames", ())):
        return "it starts processes"
    return None


def pytest_collection_modifyitems(config, items):
    left_out = {}
    for item in items:
        reason = _reason(item)
        if reason:
            left_out.setdefault(reason, []).append(item)
    gone = [item for group in left_out.values() for item in group]
    items[:] = [item for item in items if item not in set(gone)]
    config.hook.pytest_deselected(items=gone)
    config.left_out = {reason: len(group) for reason, group in left_out.items()}


def pytest_terminal_summary(terminalreporter, config):
    for reason, count in config.left_out.items():
        terminalreporter.write_line(f"left out {count}: {reason}")
    counts = {
        kind: len(terminalreporter.stats.get(kind, ()))
        for kind in ("passed", "failed", "error", "skipped", "deselected")
    }
    path = pathlib.Path(os.environ["SHMQUEUE_COUNTS"])
    path.write_text(json.dumps(counts))
