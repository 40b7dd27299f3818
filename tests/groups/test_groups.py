"""Every group sees every item once, in order; the consumers of a group share its items."""

import weakref
from queue import Empty, Full

import pytest

from shmqueue import GroupRemovedError, SharedMemoryQueue, ShutDown, Stream
from tests import support
from tests.support import LIMIT, Thread


def everything(group):
    """Take what a group can take now."""
    items = []
    while group.qsize():
        items += group.get_batch(1000, timeout=LIMIT)
    return items


class Unloadable:
    def __reduce__(self):
        return int, ("not a number",)


class TestSeeing:
    def test_each_group_sees_each_item_once_and_in_order(self, make_stream):
        stream = make_stream(capacity=8, groups=["a", "b", "c"])
        groups = [stream.group(name) for name in "abc"]
        for start in range(0, 80, 8):
            stream.put_batch(range(start, start + 8), timeout=LIMIT)
            for group in groups:
                assert everything(group) == list(range(start, start + 8))
                with pytest.raises(Empty):
                    group.get_nowait()

    def test_consumers_of_one_group_share_its_items(self, make_stream):
        stream = make_stream(groups=["a"])
        first, second = stream.group("a"), stream.group("a")
        stream.put_batch(range(4))
        assert [first.get(), second.get(), first.get(), second.get()] == [0, 1, 2, 3]

    def test_items_of_every_kind_and_size_reach_all_groups(self, make_stream):
        stream = make_stream(item_size=64, groups=["a", "b"])
        items = [None, 5, "text", b"x" * 50, b"y" * 5000, b"z" * 300_000, {"k": [1.5, (2,)]}]
        for item in items:
            stream.put(item)
        assert everything(stream.group("a")) == items
        assert everything(stream.group("b")) == items

    def test_a_group_that_joins_later_sees_what_comes_after(self, make_stream):
        stream = make_stream(groups=["a"])
        stream.put("before")
        late = stream.group("late")
        stream.put("after")
        assert everything(late) == ["after"]

    @pytest.mark.parametrize(
        ("start", "seen"), [("oldest", [0, 1, 2, 3]), ("next", []), (2, [2, 3])]
    )
    def test_a_group_begins_where_it_was_told_to(self, make_stream, start, seen):
        stream = make_stream(groups=["a"])
        stream.put_batch(range(4))
        assert everything(stream.group("late", start=start)) == seen

    @pytest.mark.parametrize("start", [0, 2, 7, 1 << 63])
    def test_a_start_that_is_not_in_the_ring_is_an_error_with_the_range(self, make_stream, start):
        stream = make_stream(capacity=4, groups=["a"])
        group = stream.group("a")
        stream.put_batch(range(4))
        assert group.get_batch(3) == [0, 1, 2]
        stream.put_batch([4, 5])
        said = f"start={start} is not in the ring: it holds the sequences 3 to 5, and 6 is the next"
        with pytest.raises(ValueError, match=said):
            stream.group("late", start=start)
        assert stream.groups() == ["a"]
        assert everything(stream.group("at the lower bound", start=3)) == [3, 4, 5]
        assert everything(stream.group("at the upper bound", start=6)) == []

    def test_a_start_in_an_empty_ring_is_an_error_with_the_next_sequence(self, make_stream):
        stream = make_stream(capacity=4, groups=["goes"])
        stream.put_batch(range(3))
        with stream.group("goes") as group:
            group.get_batch(3)
            group.remove()
        for start in (2, 4):
            said = f"start={start} is not in the ring: it is empty, and 3 is the next"
            with pytest.raises(ValueError, match=said):
                stream.group("late", start=start)
        assert everything(stream.group("late", start=3)) == []

    def test_a_stream_is_opened_and_pickled_by_name(self, make_stream, run_id):
        import pickle

        stream = make_stream(groups=["a"])
        stream.put("item")
        with Stream("stream", run_id=run_id) as other, pickle.loads(pickle.dumps(stream)) as third:
            assert other.groups() == third.groups() == ["a"]
            assert third.group("a").get(timeout=LIMIT) == "item"


class TestRoom:
    def test_a_group_that_blocks_holds_the_producers_back(self, make_stream):
        stream = make_stream(capacity=2, groups=["fast", "slow"])
        fast, slow = stream.group("fast"), stream.group("slow")
        stream.put_batch([0, 1])
        assert everything(fast) == [0, 1]
        with pytest.raises(Full):
            stream.put_nowait(2)
        putting = Thread(stream.put, 2)
        support.await_thread_asleep(putting)
        assert slow.get() == 0
        putting.result()
        assert everything(fast) == [2]
        assert everything(slow) == [1, 2]

    def test_without_a_group_a_stream_holds_what_it_has_room_for(self, make_stream):
        stream = make_stream(capacity=3)
        stream.put_batch([0, 1, 2])
        with pytest.raises(Full):
            stream.put(3, timeout=0.01)
        putting = Thread(stream.put, 3)
        support.await_thread_asleep(putting)
        group = stream.group("first")
        assert group.get(timeout=LIMIT) == 0
        putting.result()
        assert everything(group) == [1, 2, 3]

    def test_without_a_group_a_stream_may_keep_the_last_of_what_was_put(self, make_stream):
        stream = make_stream(capacity=3, ungrouped="drop")
        for number in range(10):
            stream.put_nowait(number)
        assert everything(stream.group("first")) == [7, 8, 9]

    def test_a_group_that_lags_loses_the_oldest_and_knows_how_many(self, make_stream):
        stream = make_stream(capacity=4)
        lagging = stream.group("lagging", policy="lag")
        for number in range(4):
            stream.put_nowait(number)
        assert lagging.lapped == 0
        for number in range(4, 11):
            stream.put_nowait(number)
        assert lagging.lapped == 7
        assert lagging.get() == 7
        assert lagging.lapped == 7
        stream.put_batch([11, 12, 13, 14])
        assert lagging.lapped == 10
        assert everything(lagging) == [11, 12, 13, 14]
        assert lagging.lapped == 10

    def test_a_group_that_lags_holds_nobody_back_and_loses_nothing_needlessly(self, make_stream):
        stream = make_stream(capacity=4, groups={"fast": {}, "lagging": {"policy": "lag"}})
        fast, lagging = stream.group("fast"), stream.group("lagging")
        for number in range(4):
            stream.put_nowait(number)
            fast.get()
        assert everything(lagging) == [0, 1, 2, 3]

    def test_items_that_are_too_old_are_lost_to_a_group_that_drops(self, make_stream):
        stream = make_stream(capacity=2)
        dropping = stream.group("dropping", drop_after=0.02)
        stream.put_batch([0, 1])
        stream.put(2, timeout=LIMIT)
        stream.put(3, timeout=LIMIT)
        assert everything(dropping) == [2, 3]
        assert dropping.lapped == 2

    def test_items_that_are_not_too_old_are_kept_for_a_group_that_drops(self, make_stream):
        stream = make_stream(capacity=2)
        dropping = stream.group("dropping", drop_after=3600)
        stream.put_batch([0, 1])
        with pytest.raises(Full):
            stream.put(2, timeout=0.01)
        assert everything(dropping) == [0, 1]
        assert dropping.lapped == 0

    def test_skipping_leaves_the_newest(self, make_stream):
        stream = make_stream(groups=["a", "b"])
        a, b = stream.group("a"), stream.group("b")
        stream.put_batch(range(5))
        assert a.skip_to_latest() == 4
        assert (a.get(), b.get()) == (4, 0)
        stream.put(5)
        assert stream.skip_to_latest() == 4
        assert (everything(a), everything(b)) == ([5], [5])
        assert a.lapped == b.lapped == 0


class TestComingAndGoing:
    def test_a_removed_group_holds_nobody_back_and_its_consumers_are_told(self, make_stream):
        stream = make_stream(capacity=2, groups=["stays", "goes"])
        stays, goes = stream.group("stays"), stream.group("goes")
        waiting = Thread(goes.get)
        support.await_thread_asleep(waiting)
        stream.remove_group("goes")
        with pytest.raises(GroupRemovedError):
            waiting.result()
        stream.put_batch([0, 1])
        everything(stays)
        stream.put_nowait(2)
        for call in (goes.get_nowait, goes.qsize, goes.remove):
            with pytest.raises(GroupRemovedError):
                call()
        assert stream.groups() == ["stays"]

    def test_a_producer_that_waits_for_a_group_goes_on_when_it_is_removed(self, make_stream):
        stream = make_stream(capacity=1, groups=["stays", "goes"])
        stays = stream.group("stays")
        stream.put(0)
        assert stays.get() == 0
        putting = Thread(stream.put, 1)
        support.await_thread_asleep(putting)
        stream.group("goes").remove()
        putting.result()

    def test_another_group_of_the_same_name_is_not_the_same_group(self, make_stream):
        stream = make_stream(groups=["a"])
        old = stream.group("a")
        old.remove()
        new = stream.group("a")
        stream.put("item")
        with pytest.raises(GroupRemovedError):
            old.get_nowait()
        assert new.get() == "item"

    def test_a_group_that_was_removed_is_not_there_to_be_joined(self, make_stream):
        stream = make_stream(groups=["stays", "goes", "goes too"])
        stream.remove_group("goes")
        support.run_in_fork(stream.remove_group, "goes too")
        for name in ("goes", "goes too"):
            with pytest.raises(LookupError, match=f"no group '{name}'; there is 'stays'$"):
                stream.group(name, create=False)
        assert stream.groups() == ["stays"]
        stream.group("stays").remove()
        with pytest.raises(LookupError, match="no group 'stays'; there is none at all"):
            stream.group("stays", create=False)

    def test_a_closed_group_lets_go_of_the_stream(self, make_stream):
        stream = make_stream(groups=["a"])
        group = stream.group("a")
        stream.put("item")
        assert group.get() == "item"
        before = weakref.ref(stream._attachment)
        stream.close()
        assert before() is not None
        group.close()
        assert before() is None
        for call in (group.get, group.done, group.skip_to_latest, group.qsize, group.get_nowait):
            with pytest.raises(ValueError, match="closed"):
                call()

    def test_closing_a_group_ends_the_get_of_another_thread(self, make_stream):
        group = make_stream(groups=["a"]).group("a")
        waiting = Thread(group.get)
        support.await_thread_asleep(waiting)
        group.close()
        with pytest.raises(ValueError, match="closed"):
            waiting.result()

    def test_a_subscription_ends_with_its_handle(self, make_stream):
        stream = make_stream(capacity=1)
        with stream.subscribe() as first, stream.subscribe() as second:
            stream.put("item")
            assert first.get() == second.get() == "item"
            assert len(stream.groups()) == 2
        assert stream.groups() == []

    def test_a_subscription_that_nobody_closes_ends_when_it_is_dropped(self, make_stream):
        stream = make_stream(capacity=1)
        subscription = stream.subscribe()
        stream.put("item")
        with pytest.raises(Full):
            stream.put_nowait("no room")
        del subscription
        assert stream.groups() == []

    def test_no_group_comes_after_a_subscription(self, make_stream):
        stream = make_stream()
        with stream.subscribe() as subscription:
            with pytest.raises(ValueError, match="is a subscription"):
                stream.group("late", after=subscription.name)
            assert stream.groups() == [subscription.name]

    def test_there_may_be_sixty_four_groups_and_no_more(self, make_stream):
        stream = make_stream(groups=[f"g{number}" for number in range(64)])
        stream.put("item")
        groups = [stream.group(f"g{number}") for number in range(64)]
        assert [group.get(timeout=LIMIT) for group in groups] == ["item"] * 64
        with pytest.raises(ValueError, match="64 groups"):
            stream.group("one more")
        groups[5].remove()
        stream.group("one more")

    def test_sixty_four_sleeping_groups_are_woken_by_one_item(self, make_stream):
        stream = make_stream()
        groups = [stream.subscribe() for _ in range(64)]
        waiting = [Thread(group.get) for group in groups]
        for thread in waiting:
            support.await_thread_asleep(thread)
        stream.put("item")
        assert [thread.result() for thread in waiting] == ["item"] * 64
        for group in groups:
            group.close()


class TestPipelines:
    def test_a_group_gets_what_those_before_it_have_finished(self, make_stream):
        stream = make_stream(groups={"parse": {}, "index": {"after": "parse"}})
        parse, index = stream.group("parse"), stream.group("index")
        stream.put_batch(["a", "b"])
        assert index.qsize() == 0
        assert parse.get() == "a"
        assert index.qsize() == 0, "taken is not finished"
        assert parse.get() == "b"
        assert index.get(timeout=LIMIT) == "a"
        with pytest.raises(Empty):
            index.get_nowait()
        parse.done()
        assert index.get(timeout=LIMIT) == "b"

    def test_a_group_waits_for_all_that_it_comes_after(self, make_stream):
        stream = make_stream(groups={"join": {"after": ["a", "b"]}, "a": {}, "b": {}})
        a, b, join = (stream.group(name) for name in ("a", "b", "join"))
        stream.put("item")
        waiting = Thread(join.get)
        a.get(), a.done()
        support.await_thread_asleep(waiting)
        b.get()
        assert waiting.is_alive()
        b.done()
        assert waiting.result() == "item"

    def test_of_several_consumers_the_slowest_counts(self, make_stream):
        stream = make_stream(groups={"work": {}, "then": {"after": "work"}})
        slow, fast, then = stream.group("work"), stream.group("work"), stream.group("then")
        stream.put_batch(range(4))
        assert slow.get() == 0
        assert [fast.get(), fast.get(), fast.get()] == [1, 2, 3]
        fast.done()
        assert then.qsize() == 0
        slow.done()
        assert everything(then) == [0, 1, 2, 3]

    def test_a_batch_is_finished_as_a_whole(self, make_stream):
        stream = make_stream(item_size=64, groups={"work": {}, "then": {"after": "work"}})
        work, then = stream.group("work"), stream.group("then")
        items = [0, b"x" * 100_000, 1, b"y" * 100_000, 2]
        stream.put_batch(items)
        assert work.get_batch(10) == items
        assert then.qsize() == 0
        work.close()
        assert everything(then) == items

    def test_what_was_taken_before_the_first_follower_came_counts_as_finished(self, make_stream):
        stream = make_stream(groups=["work"])
        work = stream.group("work")
        stream.put_batch(range(3))
        assert work.get() == 0
        then = stream.group("then", after="work", start="oldest")
        assert then.get(timeout=LIMIT) == 0, "it was in hand"
        assert work.get() == 1
        assert then.qsize() == 0, "from here on taken is not finished"
        work.done()
        assert everything(then) == [1]

    def test_what_was_taken_after_a_follower_has_gone_waits_for_the_next_follower(
        self, make_stream
    ):
        stream = make_stream(groups={"work": {}, "goes": {"after": "work"}})
        work = stream.group("work")
        stream.remove_group("goes")
        stream.put("item")
        assert work.get() == "item"
        then = stream.group("then", after="work", start="oldest")
        assert then.qsize() == 0
        work.done()
        assert everything(then) == ["item"]

    def test_a_group_that_others_come_after_is_not_removed_before_them(self, make_stream):
        stream = make_stream(groups={"a": {}, "b": {"after": "a"}})
        with pytest.raises(ValueError, match="come after"):
            stream.remove_group("a")
        stream.remove_group("b")
        stream.remove_group("a")
        assert stream.groups() == []


class TestTheEnd:
    def test_when_all_writers_have_finished_consumers_get_the_rest_and_then_the_end(
        self, make_stream
    ):
        stream = make_stream(groups=["a", "b"])
        a, b = stream.group("a"), stream.group("b")
        with stream.writer() as first:
            with stream.writer() as second:
                second.put(0)
            first.put(1)
            assert a.get() == 0
            assert b.get_batch(10) == [0, 1]
            with pytest.raises(Empty):
                b.get_nowait()
        assert list(a) == [1]
        with pytest.raises(ShutDown):
            b.get_nowait()
        for call in (stream.writer, lambda: stream.put(2)):
            with pytest.raises(ShutDown):
                call()

    def test_before_any_writer_registers_consumers_wait(self, make_stream):
        stream = make_stream(groups=["a"])
        waiting = Thread(list, stream.group("a"))
        support.await_thread_asleep(waiting)
        with stream.writer() as out:
            out.put("item")
        assert waiting.result() == ["item"]

    def test_a_writer_that_is_dropped_has_finished(self, make_stream):
        stream = make_stream(groups=["a"])
        writer = stream.writer()
        writer.put("item")
        stream.close()
        del writer

    def test_finishing_twice_is_an_error(self, make_stream):
        writer = make_stream().writer()
        writer.finish()
        with pytest.raises(ValueError, match="finished already"):
            writer.finish()

    def test_a_pipeline_drains_to_its_end(self, make_stream):
        stream = make_stream(capacity=4, groups={"a": {}, "b": {"after": "a"}, "c": {"after": "b"}})
        stages = [Thread(list, stream.group(name)) for name in "abc"]
        with stream.writer() as out:
            for number in range(50):
                out.put(number, timeout=LIMIT)
        assert [stage.result() for stage in stages] == [list(range(50))] * 3

    def test_a_shutdown_at_once_leaves_nothing_to_get(self, make_stream):
        stream = make_stream(groups=["a"])
        group = stream.group("a")
        stream.put("item")
        stream.shutdown(immediate=True)
        with pytest.raises(ShutDown):
            group.get()

    def test_who_joins_a_group_after_a_shutdown_at_once_gets_nothing_either(self, make_stream):
        stream = make_stream(groups={"a": {}, "b": {"after": "a"}, "c": {}})
        stream.put_batch(["one", "two"])
        stream.shutdown(immediate=True)
        for name in ("a", "b", "c", "opened later"):
            late = stream.group(name, start=None if name in "abc" else "oldest")
            for call in (late.get_nowait, late.skip_to_latest):
                with pytest.raises(ShutDown):
                    call()

    def test_batches_come_until_the_end(self, make_stream):
        stream = make_stream(groups=["a"])
        with stream.writer() as out:
            out.put_batch(range(7))
        assert list(stream.group("a").batches(3)) == [[0, 1, 2], [3, 4, 5], [6]]

    def test_a_failure_behind_a_lingering_batch_comes_after_it(self, make_stream):
        stream = make_stream(groups=["a"])
        batches = stream.group("a").batches(3, linger=LIMIT)
        stream.put(0)
        waiting = Thread(next, batches)
        support.await_thread_asleep(waiting)
        stream.put(Unloadable())
        assert waiting.result() == [0]
        with pytest.raises(ValueError, match="not a number"):
            next(batches)

    def test_a_lingering_batch_waits_for_more(self, make_stream):
        stream = make_stream(groups=["a"])
        batches = stream.group("a").batches(3, linger=LIMIT)
        stream.put(0)
        waiting = Thread(next, batches)
        support.await_thread_asleep(waiting)
        stream.put_batch([1, 2])
        assert waiting.result() == [0, 1, 2]


class TestBadInput:
    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"policy": "sometimes"}, "block, lag, drop"),
            ({"policy": "drop"}, "drop_after"),
            ({"policy": "lag", "drop_after": 1}, "drop_after"),
            ({"drop_after": -1}, "0 or more"),
            ({"drop_after": float("nan")}, "0 or more"),
            ({"start": "now"}, "next"),
            ({"start": -1}, "next"),
        ],
    )
    def test_arguments_that_cannot_be(self, make_stream, options, said):
        stream = make_stream()
        with pytest.raises(ValueError, match=said):
            stream.group("a", **options)
        assert stream.groups() == []

    def test_a_group_is_as_it_was_opened(self, make_stream):
        stream = make_stream(groups={"a": {"policy": "lag"}, "b": {}})
        with pytest.raises(ValueError, match="exists with policy 'lag', not 'block'"):
            stream.group("a", policy="block")
        with pytest.raises(ValueError, match="comes after no other"):
            stream.group("a", after="b")
        assert stream.group("a").policy == "lag"

    def test_unknown_groups_are_named_with_those_there_are(self, make_stream):
        stream = make_stream(groups=["a"])
        with pytest.raises(LookupError, match="no group 'x'; there is 'a'"):
            stream.group("x", create=False)
        with pytest.raises(LookupError, match="no group 'x'"):
            stream.group("b", after="x")
        with pytest.raises(LookupError, match="no group 'x'"):
            stream.remove_group("x")

    @pytest.mark.parametrize(
        ("groups", "said"),
        [
            ({"a": {"after": "b"}, "b": {"after": "a"}}, "circle"),
            ({"a": {"after": "a"}}, "circle"),
            ({"a": {"after": "x"}}, "not declared"),
        ],
    )
    def test_a_graph_that_is_none_is_refused_before_anything_is_made(self, run_id, groups, said):
        with pytest.raises(ValueError, match=said):
            Stream("stream", create=True, run_id=run_id, groups=groups)
        assert support.segment_files(run_id) == []

    @pytest.mark.parametrize("name", ["ä" * 33, "subscriber-1", "", 5])
    def test_names_that_cannot_be(self, make_stream, run_id, name):
        stream = make_stream()
        with pytest.raises((ValueError, TypeError), match=r"name|choose"):
            stream.group(name)
        with pytest.raises((ValueError, TypeError), match=r"name|choose"):
            Stream("other", create=True, run_id=run_id, groups=[name])
        assert stream.groups() == []

    def test_items_are_got_from_groups(self, make_stream):
        with pytest.raises(TypeError, match=r"stream.group\(name\).get\(\)"):
            make_stream().get()

    def test_a_queue_is_no_stream_and_a_stream_no_queue(self, make_stream, create, run_id):
        make_stream()
        create("queue")
        with pytest.raises(ValueError, match="is a stream, not a queue"):
            SharedMemoryQueue("stream", run_id=run_id)
        with pytest.raises(ValueError, match="is a queue, not a stream"):
            Stream("queue", run_id=run_id)
