"""docs/layout.md is printed from the code."""

from shmqueue import _format
from tools import field_table


def test_the_printed_layout_is_what_the_compiler_laid_out():
    expected = field_table.render(_format.layout_fields())
    assert field_table.DOCUMENT.read_text() == expected, "run `make docs-table`"


def test_each_structure_gets_one_table():
    fields = [("a", "x", 0, 4, "one"), ("a", "y", 4, 4, "two"), ("b", "z", 0, 8, "three")]
    text = field_table.render(fields)
    assert [line for line in text.splitlines() if line.startswith("## ")] == ["## a", "## b"]
    assert "| 4 | 4 | `y` | two |" in text


def test_a_bar_in_a_meaning_does_not_end_the_cell():
    text = field_table.render([("a", "x", 0, 4, "seat | generation")])
    assert "seat \\| generation |" in text


def test_no_structure_comes_twice_in_the_field_table():
    names = [field[0] for field in _format.layout_fields()]
    runs = [name for name, before in zip(names, [None, *names], strict=False) if name != before]
    assert len(runs) == len(set(runs))


def test_no_two_fields_of_a_structure_overlap():
    ends = {}
    for structure, field, offset, size, _ in _format.layout_fields():
        assert size > 0
        assert offset >= ends.get(structure, 0), f"{structure}.{field} overlaps what is before it"
        ends[structure] = offset + size
