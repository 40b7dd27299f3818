"""What groups, subscriptions and streams are asked to be, and what they say when they can't."""

import multiprocessing
import pickle
from queue import Empty

import pytest

from shmqueue import Stream, _groups
from tests import support
from tests.groups import workers
from tests.groups.test_groups import everything
from tests.support import LIMIT

SPAWN = multiprocessing.get_context("spawn")


class TestAfter:
    def test_a_group_comes_after_one_that_is_given_by_its_handle(self, make_stream):
        stream = make_stream(groups=["a"])
        first = stream.group("a")
        stream.put("item")
        second = stream.group("b", after=first, start="oldest")
        with pytest.raises(Empty):
            second.get_nowait()
        assert first.get() == "item", "the handle was only looked at"
        first.done()
        assert second.get(timeout=LIMIT) == "item"

    def test_names_and_handles_may_be_mixed(self, make_stream, run_id):
        stream = make_stream(groups=["a", "b"])
        with Stream("stream", run_id=run_id) as same:
            stream.group("c", after=["a", same.group("b")])
        assert stream.get_metrics()["groups"][2]["after"] == ["a", "b"]
        with pytest.raises(ValueError, match="comes after a, b"):
            stream.group("c", after=stream.group("a"))

    def test_none_is_no_group(self, make_stream):
        stream = make_stream(groups={"a": {"after": None}})
        stream.group("b", after=None)
        stream.subscribe(after=None)
        assert [row["after"] for row in stream.get_metrics()["groups"]] == [[], []]

    def test_a_group_of_another_stream_is_refused(self, make_stream):
        stream, other = make_stream(groups=["a"]), make_stream("other", groups=["a"])
        with pytest.raises(ValueError, match="another stream's"):
            stream.group("b", after=other.group("a"))
        assert stream.groups() == ["a"]

    @pytest.mark.parametrize("after", [5, b"a", ["a", None], {"a": 1, 2: 3}])
    def test_what_is_no_group_is_refused_with_what_is_wanted(self, make_stream, after):
        stream = make_stream(groups=["a"])
        for call in (lambda: stream.group("b", after=after), lambda: stream.subscribe(after=after)):
            with pytest.raises(TypeError, match="name of a group, a Group, or an iterable"):
                call()
        assert stream.groups() == ["a"]

    def test_a_subscription_is_none_even_by_its_handle(self, make_stream):
        stream = make_stream()
        with stream.subscribe() as alone, pytest.raises(ValueError, match="is a subscription"):
            stream.group("b", after=alone)


class TestStart:
    def test_the_first_subscription_gets_what_was_held(self, make_stream):
        stream = make_stream()
        stream.put_batch([0, 1])
        with stream.subscribe() as first, stream.subscribe() as second:
            assert everything(first) == [0, 1]
            assert everything(second) == []

    def test_a_subscription_may_ask_for_the_next_item(self, make_stream):
        stream = make_stream()
        stream.put(0)
        with stream.subscribe(start="next") as alone:
            stream.put(1)
            assert everything(alone) == [1]

    def test_a_start_may_be_an_integer_of_numpy(self, make_stream):
        numpy = pytest.importorskip("numpy")
        stream = make_stream(groups=["a"])
        stream.put_batch(range(5))
        assert everything(stream.group("late", start=numpy.int64(3))) == [3, 4]

    @pytest.mark.parametrize("start", [True, 1.0, "1", [1]])
    def test_a_start_that_is_no_integer_is_refused(self, make_stream, start):
        stream = make_stream(groups=["a"])
        stream.put_batch(range(5))
        with pytest.raises(ValueError, match='"next", "oldest" or a sequence'):
            stream.group("late", start=start)

    @pytest.mark.parametrize(
        ("begin", "seen"),
        [("oldest", [3, 4, 5, 6, 7, 8, 9, 10]), (6, [6, 7, 8, 9, 10]), (10, [10])],
    )
    def test_a_group_that_another_process_opens_has_exactly_what_is_there_from_its_start_on(
        self, make_stream, run_id, start, signs, begin, seen
    ):
        stream = make_stream(capacity=8, groups=["a"])
        first, said = stream.group("a"), signs(SPAWN)
        with stream.writer() as out:
            out.put_batch(range(8))
            assert first.get_batch(3) == [0, 1, 2]
            out.put_batch([8, 9])
            child = start(SPAWN, workers.open_and_get_all, run_id, "late", begin, said.sender)
            said.await_word("joined")
            out.put(10, timeout=LIMIT)
        assert child.result() == seen
        assert stream.groups() == ["a", "late"]

    def test_a_group_that_exists_goes_on_where_it_is(self, make_stream):
        stream = make_stream(groups=["a"])
        stream.put_batch(range(3))
        assert stream.group("a").get() == 0
        assert stream.get_metrics()["groups"][0]["next_sequence"] == 1
        assert everything(stream.group("a", start="oldest")) == [1, 2]


@pytest.mark.parametrize("drop_after", ["1", b"1", [1]])
def test_seconds_that_are_no_number_are_refused(make_stream, drop_after):
    stream = make_stream()
    with pytest.raises(TypeError, match="drop_after must be a number of seconds"):
        stream.group("a", drop_after=drop_after)


class TestUngrouped:
    @pytest.mark.parametrize("there", ["hold", "drop"])
    def test_of_a_stream_that_exists_it_must_be_what_that_does(self, make_stream, run_id, there):
        make_stream(ungrouped=there)
        other = {"hold": "drop", "drop": "hold"}[there]
        for options in ({}, {"create": True, "exist_ok": True}):
            for same in (there, None):
                with Stream("stream", run_id=run_id, ungrouped=same, **options):
                    pass
            with pytest.raises(ValueError, match=f"ungrouped='{there}', not '{other}': leave"):
                Stream("stream", run_id=run_id, ungrouped=other, **options)
        assert len(support.segment_files(run_id)) == 1, "it is not ours to remove"

    def test_by_default_items_are_held(self, make_stream):
        stream = make_stream(capacity=1)
        stream.put(0)
        with pytest.raises(stream.Full):
            stream.put_nowait(1)

    def test_a_dropping_stream_is_pickled(self, make_stream):
        stream = make_stream(capacity=1, ungrouped="drop")
        with pickle.loads(pickle.dumps(stream)) as other:
            other.put_batch([0])
            other.put_nowait(1)


class TestDeclarations:
    @pytest.mark.parametrize("exist_ok", [False, True])
    @pytest.mark.parametrize(
        ("groups", "kind", "said"),
        [
            ({"a": {}, "b": {"policy": "sometimes"}}, ValueError, "block, lag, drop"),
            ({"a": {"drop_after": -1}}, ValueError, "0 or more"),
            ({"a": {"drop_after": "1"}}, TypeError, "number of seconds"),
            ({"a": {"start": "now"}}, ValueError, '"next"'),
            ({"a": {"start": 5}}, ValueError, "no items yet"),
            ({"a": {"polciy": "lag"}}, TypeError, "policy, start, not by 'polciy'"),
            ({"a": {"writes": True}}, TypeError, "not by 'writes'"),
            ({"a": {"after": 5}}, TypeError, "after a name or an iterable of names, not 5"),
            ({"a": {"after": ["b", 5]}, "b": {}}, TypeError, "iterable of names, not 5"),
            ({"a": None}, TypeError, "'a' is declared by a dict of arguments of `group`, not None"),
            ({"a": "lag"}, TypeError, "a dict of arguments of `group`, not 'lag'"),
            ([("a", {})], TypeError, r"name is a str that is not empty, not \('a', {}\)"),
            ("a", TypeError, "iterable of names, not one"),
            (None, TypeError, "iterable of names, or a dict"),
            ([f"g{number}" for number in range(65)], ValueError, "65 groups are too many: 64"),
        ],
    )
    def test_what_can_not_be_is_refused_before_anything_is_made(
        self, run_id, groups, kind, said, exist_ok
    ):
        with pytest.raises(kind, match=said):
            Stream("stream", create=True, exist_ok=exist_ok, run_id=run_id, groups=groups)
        assert support.segment_files(run_id) == []

    def test_a_handle_is_no_name(self, make_stream, run_id):
        handle = make_stream(groups=["a"]).group("a")
        for groups in ({"a": {}, "b": {"after": handle}}, handle):
            with pytest.raises(TypeError, match=r"names.*, not <Group 'a'"):
                Stream("new", create=True, run_id=run_id, groups=groups)
        assert len(support.segment_files(run_id)) == 1

    @pytest.mark.parametrize("names", ["abc", "cab"])
    def test_a_circle_is_told_in_the_direction_in_which_it_was_given(self, run_id, names):
        after = {"a": "b", "b": "c", "c": "a"}
        said = {
            "abc": "'a' after 'b' after 'c' after 'a'$",
            "cab": "'c' after 'a' after 'b' after 'c'$",
        }
        groups = {name: {"after": after[name]} for name in names}
        with pytest.raises(ValueError, match=f"circle: {said[names]}"):
            Stream("stream", create=True, run_id=run_id, groups=groups)

    def test_what_comes_first_may_be_given_by_an_iterator(self, make_stream):
        stream = make_stream(groups={"c": {"after": iter("ab")}, "a": {}, "b": {}})
        assert {row["group"]: row["after"] for row in stream.get_metrics()["groups"]} == {
            "a": [],
            "b": [],
            "c": ["a", "b"],
        }


class TestSkipping:
    def test_a_pipeline_delivers_nothing_older_than_the_newest(self, make_stream):
        stream = make_stream(groups={"c": {"after": "b"}, "a": {}, "b": {"after": "a"}})
        stages = [stream.group(name) for name in "abc"]
        stream.put_batch(range(10))
        stages[0].get_batch(3)
        stages[0].done()
        assert stages[1].get() == 0
        stages[1].done()
        stream.skip_to_latest()
        for stage in stages:
            assert everything(stage) == [9]
            stage.done()

    def test_who_comes_after_others_that_have_finished_keeps_the_newest(self, make_stream):
        stream = make_stream(groups={"a": {}, "b": {"after": "a"}, "c": {"after": ["a", "b"]}})
        first = stream.group("a")
        stream.put_batch(range(5))
        everything(first)
        first.done()
        assert stream.skip_to_latest() == 4
        assert everything(first) == []
        for name in "bc":
            with stream.group(name) as stage:
                assert everything(stage) == [4]

    def test_a_pipeline_that_was_opened_into_the_row_of_another_group(self, make_stream):
        stream = make_stream(groups=["goes", "a"])
        stream.remove_group("goes")
        stream.group("b", after="a", start="oldest")
        assert stream.groups() == ["b", "a"]
        stream.put_batch(range(5))
        stream.skip_to_latest()
        for name in "ab":
            with stream.group(name) as stage:
                assert everything(stage) == [4]

    def test_a_group_that_is_removed_meanwhile_keeps_no_other_from_skipping(
        self, make_stream, monkeypatch
    ):
        stream = make_stream(groups=["goes", "stays"])
        stream.put_batch(range(5))
        skip = _groups.skip

        def skip_late(*args):
            if "goes" in stream.groups():
                stream.remove_group("goes")
            return skip(*args)

        monkeypatch.setattr(_groups, "skip", skip_late)
        assert stream.skip_to_latest() == 4
        assert everything(stream.group("stays")) == [4]


def test_a_group_that_is_removed_while_it_is_joined_is_named_with_its_stream(
    make_stream, monkeypatch
):
    stream = make_stream(groups=["a"])
    join = _groups.join

    def join_late(*args):
        stream.remove_group("a")
        return join(*args)

    monkeypatch.setattr(_groups, "join", join_late)
    with pytest.raises(LookupError, match=r"stream on /dev/shm/\S+ has no group 'a'"):
        stream.group("a", create=False)
