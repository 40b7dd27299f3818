"""The check that every atomic tells its order and its reason can fail."""

from pathlib import Path
from textwrap import dedent

import pytest

from tools import check_atomics


def complaints(source, **options):
    return [sentence for _, sentence in check_atomics.complaints(dedent(source), **options)]


def test_no_atomic_of_the_package_stands_without_order_and_reason(capsys):
    failed = check_atomics.main()
    assert not failed, capsys.readouterr().out


@pytest.mark.parametrize(
    "operation",
    [
        "load_acquire(&end->sequence)",
        "store_release(&end->sequence, 1)",
        "cas_acq_rel(&end->owner, &seen, mine)",
        "fetch_add_relaxed(&end->count, 1)",
        "fence_release()",
        "__atomic_load_n(&end->sequence, __ATOMIC_ACQUIRE)",
        "__sync_synchronize()",
    ],
)
def test_a_bare_atomic_is_found(operation):
    assert len(complaints(f"void f(void) {{\n  {operation};\n}}\n")) == 1


def test_the_line_of_the_bare_atomic_is_told():
    assert [
        line for line, _ in check_atomics.complaints("int a;\nint b = load_relaxed(&a);\n")
    ] == [2]


@pytest.mark.parametrize(
    "source",
    [
        "x = load_acquire(&a); /* acquire: pairs with the publish in put */",
        "/* acquire: pairs with the publish in put */\nx = load_acquire(&a);",
        "/* acquire: pairs with\n * the publish in put */\nx = load_acquire(&a);",
        "// relaxed: both are hints, checked later\nx = load_relaxed(&a);\ny = load_relaxed(&b);",
        "/* both: it takes over what the dead had published */\ncas_acq_rel(&a, &b, c);",
        "cas_acquire(&a, /* acquire: pairs with the unlock */\n  &b, c);",
        "cas_acquire(&a,\n  &b, c); /* acquire: pairs with the unlock */",
    ],
)
def test_a_comment_with_order_and_reason_passes(source):
    assert complaints(source) == []


def test_a_comment_does_not_reach_over_a_blank_line():
    source = """
        /* relaxed: a hint only, a stale value costs a retry */
        x = load_relaxed(&a);

        y = load_relaxed(&b);
    """
    assert len(complaints(source)) == 1


def test_a_function_is_not_covered_by_the_comment_above_it():
    source = """\
        /* How far the tail is; relaxed or acquire is all the same to people. */
        static inline int f(void) {
          return load_relaxed(&a);
        }
    """
    assert len(complaints(source)) == 1


def test_a_comment_about_something_else_is_not_enough():
    assert complaints("/* the next slot to fill */\nx = load_relaxed(&a);") == [
        "an atomic without a comment that names its order"
    ]


def test_a_comment_that_names_another_order_is_not_enough():
    assert complaints("/* relaxed: only a hint */\nstore_release(&a, 1);") == [
        "the comments here do not name this atomic's order, release"
    ]


def test_an_order_without_a_reason_is_not_enough():
    assert complaints("x = load_relaxed(&a); /* relaxed */") == [
        "the comment names the order, but no reason"
    ]


def test_an_atomic_that_is_only_spoken_of_is_none():
    assert complaints('/* load_acquire(&a) would do as well */\nputs("load_acquire(");') == []


def test_cython_is_held_to_the_same():
    bare = "cdef f():\n    x = load_relaxed(&a)\n"
    told = "cdef f():\n    x = load_relaxed(&a)  # relaxed: only a hint, checked again\n"
    assert len(complaints(bare, python=True)) == 1
    assert complaints(told, python=True) == []


def test_a_cython_declaration_is_no_operation():
    source = """\
        cdef extern from "_native/atomics.h" nogil:
            uint64_t load_relaxed(uint64_t *word)
    """
    assert complaints(source, python=True) == []


def test_the_macros_that_are_the_operations_pass_where_they_are_defined():
    source = "#define load_relaxed(p) __atomic_load_n((p), __ATOMIC_RELAXED)\n"
    assert complaints(source, defines=True) == []
    assert Path(check_atomics.PACKAGE, "_native", "atomics.h").is_file()
