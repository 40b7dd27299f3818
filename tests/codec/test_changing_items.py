"""An item that changes while it is serialised gives an error or a copy of some moment, no more."""

import contextlib
import gc
import threading

import pytest

from shmqueue._codec import dumps, loads
from tests import support

POLICIES = ["cloudpickle", "multiprocessing"]


class Trigger:
    """Garbage in a cycle: the collector runs `action` when it finds it."""

    def __init__(self, action):
        self.cycle = self
        self.action = action

    def __del__(self):
        self.action()


@pytest.fixture
def eager_collector():
    """Let the collector run at every chance, so at each point of an encoding that offers one."""
    thresholds = gc.get_threshold()
    gc.collect()
    gc.set_threshold(1)
    yield
    gc.set_threshold(*thresholds)


def changes(item):
    def shrink():
        del item[len(item) // 2 :]

    def grow():
        item.extend([{"new"}] * 1000)

    def replace():
        item[:] = [[]] * len(item)

    return [item.clear, shrink, grow, replace]


@pytest.mark.parametrize("which", range(4))
@pytest.mark.parametrize("policy", POLICIES)
def test_a_list_that_a_finaliser_changes_does_no_harm(which, policy, eager_collector):
    for wrap in (lambda item: item, lambda item: (0, item), lambda item: {"k": item}):
        item = [{i, str(i)} for i in range(50)]
        Trigger(changes(item)[which])
        with contextlib.suppress(RuntimeError):
            loads(*dumps(wrap(item), policy))


@pytest.mark.parametrize("policy", POLICIES)
def test_a_dict_that_a_finaliser_changes_does_no_harm(policy, eager_collector):
    for change in ("clear", "grow", "replace"):
        item = {i: {i, "x"} for i in range(50)}
        actions = {
            "clear": item.clear,
            "grow": lambda item=item: item.update(dict.fromkeys(range(1000))),
            "replace": lambda item=item: item.update(dict.fromkeys(item)),
        }
        Trigger(actions[change])
        with contextlib.suppress(RuntimeError):
            loads(*dumps([item, item], policy))


@pytest.mark.parametrize("policy", POLICIES)
def test_containers_that_other_threads_change_give_a_copy_or_an_error(policy):
    numbers, table, text, elements = list(range(50)), {}, bytearray(b"x" * 100), set()
    done = threading.Event()

    def change():
        number = 0
        while not done.is_set():
            number += 1
            numbers.append(number)
            del numbers[: number % 3]
            table[number % 97] = [number]
            table.pop((number * 7) % 97, None)
            text.extend(b"x" * (number % 5))
            del text[: number % 7]
            elements.add((number % 89,))
            elements.discard(((number * 5) % 89,))

    threads = [support.Thread(change) for _ in range(2)]
    try:
        for odd in (None, range(3)):  # the second makes pickles of the items
            for _ in range(1500):
                with contextlib.suppress(RuntimeError):
                    back = loads(*dumps([numbers, table, text, elements, odd], policy))
                    assert [type(part) for part in back[:4]] == [list, dict, bytearray, set]
                    assert all(type(value) is list for value in back[1].values())
                    assert set(back[2]) <= {ord("x")}
    finally:
        done.set()
    for thread in threads:
        thread.result()
