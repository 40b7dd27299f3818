"""The benchmark of the wait strategies, at its smallest."""

import re

from benchmarks import waits
from benchmarks.report import BEGIN, END


def test_it_measures_every_strategy_and_writes_its_figures(tmp_path, capsys):
    target = tmp_path / "waiting.md"
    target.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    waits.main(["--rounds", "1", "--items", "20", "--markdown", str(target)])
    text = target.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    for way in waits.WAYS:
        (line,) = [line for line in text.splitlines() if line.startswith(f"| {way} | ")]
        figures = re.findall(r"([\d.,]+) \(([\d.,]+) to ([\d.,]+)\)", line)
        # Of one round each figure is its own lowest and highest.
        assert [figure == (figure[0],) * 3 for figure in figures] == [True] * len(waits.FIGURES)
    assert waits.FIGURES["median_us"] in capsys.readouterr().out
