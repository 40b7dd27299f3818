"""What is searched: each model in several sizes, and its broken twins.

Sizes are small on purpose: a search looks at every order of steps, and whatever goes wrong with
many does so with few. The long ones are searched by `make faults` only.
"""

from tests.models.search import Case


def _queue(name, producers, consumers, capacity, puts, gets, is_long=False, **others):
    sizes = {
        "PRODUCERS": producers,
        "CONSUMERS": consumers,
        "CAPACITY": capacity,
        "PUTS": puts,
        "GETS": gets,
        "KILLS": 0,
        "TIMEOUTS": 0,
        "EXPIRIES": 0,
        "MOST_WANTED": 1,
        **others,
    }
    return Case(name, "queue", sizes, is_long)


# Nobody is killed, and no sleep ends but by being woken: a wake-up that is lost would stay lost.
FOR_EVER = {"NO_BOUNDED_SLEEP": None}
BATCHES = {"BATCH": None, "MOST_WANTED": 2}

TWO_SLEEP_FOR_ITEMS = _queue("two wait for items", 1, 2, 2, 2, 1, **FOR_EVER)
IN_EACH_OTHERS_HANDS = _queue("two wait for the head", 1, 2, 1, 2, 1, **FOR_EVER)
KILLED_AT_ONE_END = _queue("two kills at one end", 2, 0, 4, 2, 0, KILLS=2)
THREE_AT_ONE_END = _queue("three at one end, one kill", 3, 0, 3, 1, 0, KILLS=1)
KILLED = _queue("two producers, one kill", 2, 1, 1, 1, 2, KILLS=1)

QUEUE = [
    TWO_SLEEP_FOR_ITEMS,
    IN_EACH_OTHERS_HANDS,
    KILLED_AT_ONE_END,
    THREE_AT_ONE_END,
    KILLED,
    _queue("two wait for room", 2, 1, 1, 1, 2, **FOR_EVER),
    _queue("one gives up", 1, 2, 2, 2, 1, **FOR_EVER, TIMEOUTS=1),
    _queue("a look in two loads", 1, 2, 2, 2, 1, **FOR_EVER, TWO_LOADS=None),
    _queue("batches", 2, 1, 2, 1, 3, **FOR_EVER, **BATCHES),
    _queue("batches, one kill", 2, 1, 2, 1, 3, **BATCHES, KILLS=1),
    _queue("two kills, one gives up", 1, 1, 1, 2, 2, KILLS=2, TIMEOUTS=1, EXPIRIES=1),
    _queue("two consumers, one kill, room for two", 1, 2, 2, 2, 1, KILLS=1),
    _queue("two consumers, one kill", 1, 2, 1, 2, 1, is_long=True, KILLS=1),
    _queue("two of each", 2, 2, 2, 1, 1, is_long=True, **FOR_EVER),
    _queue("two producers, one kill, idle wakes", 2, 1, 1, 1, 2, is_long=True, KILLS=1, EXPIRIES=1),
    _queue("two producers, two kills", 2, 1, 1, 1, 2, is_long=True, KILLS=2),
]

QUEUE_TWINS = [
    TWO_SLEEP_FOR_ITEMS.twin("NO_PASS_ON", "sequence[1]==sequence[0]"),
    TWO_SLEEP_FOR_ITEMS.twin("PASS_ON_AFTER_LOOK", "sequence[1]==sequence[0]"),
    TWO_SLEEP_FOR_ITEMS.twin("FLAG_AFTER_LOOK", "sequence[1]==sequence[0]"),
    IN_EACH_OTHERS_HANDS.twin("FLAG_THEN_LOAD", "at[each]!="),
    KILLED.twin("NO_BOUNDED_SLEEP", "at[each]!="),
    KILLED_AT_ONE_END.twin("NO_TAKEOVER", "at[each]!="),
    KILLED_AT_ONE_END.twin("NO_GENERATION", ""),
    KILLED_AT_ONE_END.twin("DEAD_BY_TIME", "owners[own]==1"),
    THREE_AT_ONE_END.twin("TAKEOVER_BY_STORE", "owners[own]==1"),
    KILLED.twin("TWO_STORES", "sequence[1]<=sequence[0]"),
]

SOUND = [*QUEUE]
TWINS = [*QUEUE_TWINS]
