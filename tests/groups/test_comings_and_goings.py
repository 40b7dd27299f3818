"""Groups and consumers that come, go and die while items pass, and who opens what first."""

import multiprocessing
import signal

from tests.groups import workers
from tests.groups.test_processes import WRITERS, of_each_writer
from tests.support import Thread, drain

FORK = multiprocessing.get_context("fork")
CAPACITY = 16
ITEMS = 400  # of each writer
EARLY = 50  # before anybody comes or goes
LATE = 100  # which the late group takes before it goes
ROUNDS = 60


def test_every_group_sees_every_item_once_whoever_joins_leaves_and_dies_meanwhile(
    make_stream, run_id, ctx, start, signs, tmp_path
):
    stream = make_stream(capacity=CAPACITY, groups=["alone", "shared"])
    alone = stream.group("alone")
    notes = tmp_path / "notes"
    said, told = signs(ctx), signs(ctx)
    noting = start(ctx, workers.note_each, run_id, "shared", notes, said.sender)
    other = start(ctx, workers.get_all, run_id, "shared", said.sender)
    subscriber = start(ctx, workers.subscribe_and_hold, run_id, EARLY, told.sender)
    told.await_word("subscribed")
    for _ in (noting, other):
        said.await_word("joined")
    with stream.writer():
        writers = [start(ctx, workers.put_each, run_id, number, ITEMS) for number in range(WRITERS)]
        seen = drain(alone, EARLY)
        told.await_word(seen)  # from here on the subscriber holds all writers back
        late = start(ctx, workers.open_and_remove, run_id, "late", LATE, said.sender)
        said.await_word("joined")
        subscriber.kill()
        seen += drain(alone, ITEMS)
        noting.kill()
        rest = Thread(list, alone)
        seen_late = late.result()
        for writer in writers:
            writer.result()
    seen += rest.result()
    assert subscriber.exitcode == noting.exitcode == -signal.SIGKILL
    assert stream.groups() == ["alone", "shared"]
    assert of_each_writer(seen) == {writer: list(range(ITEMS)) for writer in range(WRITERS)}

    first = seen.index(seen_late[0])
    assert EARLY - CAPACITY <= first <= EARLY, "the oldest when it joined"
    assert seen_late == seen[first : first + LATE], "a gap"

    noted = [tuple(map(int, line.split())) for line in notes.read_text().splitlines()]
    places = {item: place for place, item in enumerate(seen)}
    shared = [[places[item] for item in items] for items in (noted, other.result())]
    assert shared == [sorted(of_one) for of_one in shared]
    both = {*shared[0], *shared[1]}
    assert len(both) == len(shared[0]) + len(shared[1]), "twice"
    # Who was killed took item by item, so it had one in hand at most that it has not noted.
    assert len(seen) - len(both) <= 1


def test_of_two_that_open_a_name_at_once_one_has_its_wish_and_the_other_an_error(
    make_stream, run_id, start, heap
):
    stream = make_stream()
    arrived = FORK.RawArray("q", 2)
    policies = ["lag", "block"]
    children = [
        start(FORK, workers.open_one_in_each_round, run_id, policy, ROUNDS, arrived, place)
        for place, policy in enumerate(policies)
    ]
    errors = [child.result() for child in children]
    for number, of_round in enumerate(zip(*errors, strict=True)):
        told = dict(zip(policies, of_round, strict=True))
        with stream.group(f"round {number}", create=False) as group:
            assert told.pop(group.policy) is None
            ((other, error),) = told.items()
            said = f"group 'round {number}' exists with policy {group.policy!r}, not {other!r}: "
            assert said in str(error)
