"""The page about the load names what there is."""

import argparse
import re

from shmqueue.load.options import ALL, add_options
from shmqueue.load.plan import SCENARIOS
from tests.groups.test_documents import ROOT

PAGE = (ROOT / "docs" / "load.md").read_text()


def test_the_page_names_the_options_that_there_are():
    parser = argparse.ArgumentParser(add_help=False)
    add_options(parser)
    options = {option for action in parser._actions for option in action.option_strings}
    assert set(re.findall(r"--[a-z][a-z-]*", PAGE)) == options


def test_the_page_has_a_row_for_each_scenario_with_its_numbers():
    rows = {
        row[0]: row[1:]
        for row in re.findall(r"^\| `([\w-]+)`.*?\| (.*?) \| (.*?) \| (\d+) \| (\d+)", PAGE, re.M)
    }
    assert set(rows) == set(SCENARIOS)
    for name, (writers, size, slots, readers) in rows.items():
        plan = SCENARIOS[name]
        rate = f"{plan.writes_per_second:g}/s" if plan.is_paced else "as fast as they can"
        assert writers == f"{plan.writers}, {rate}"
        assert size.startswith(f"{plan.slot_bytes / 1e6:.3g} MB")
        assert (int(slots), int(readers)) == (plan.slots, plan.readers)
    assert f"--scenario {ALL}" in PAGE
