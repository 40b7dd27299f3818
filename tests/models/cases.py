"""What is searched: each model in several sizes, and its broken twins.

Sizes are small on purpose: a search looks at every order of steps, and whatever goes wrong with
many does so with few. The long ones are searched by `make faults` only.
"""

import dataclasses

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
    _queue("batches, one kill", 2, 1, 2, 1, 3, is_long=True, **BATCHES, KILLS=1),
    _queue("two kills, one gives up", 1, 1, 1, 2, 2, KILLS=2, TIMEOUTS=1, EXPIRIES=1),
    _queue("two consumers, one kill, room for two", 1, 2, 2, 2, 1, is_long=True, KILLS=1),
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


def _blocks(name, putters, takers, puts, takes, kills, is_long=False, **others):
    sizes = {
        "PUTTERS": putters,
        "TAKERS": takers,
        "PUTS": puts,
        "TAKES": takes,
        "KILLS": kills,
        "CAPACITY": 1,
        "RANGE": 2,
        "LAST_WANTS": 2,
        **others,
    }
    return Case(name, "blocks", sizes, is_long)


TWO_SIZES = _blocks("two sizes, one kill", 2, 1, 2, 4, 1)

BLOCKS = [
    TWO_SIZES,
    _blocks("two sizes, nobody killed", 2, 1, 2, 4, 0),
    _blocks("two takers, one kill", 1, 2, 3, 2, 1, CAPACITY=2),
    _blocks("two sizes, two kills", 2, 1, 2, 4, 2, is_long=True),
]

BLOCK_TWINS = [
    TWO_SIZES.twin(breaks, "mine<count")
    for breaks in (
        "NOT_REFERRED",
        "FREE_BY_STORE",
        "HOLD_AFTER_RELEASE",
        "QUEUE_AFTER_COMMIT",
        "CLAIM_WITHOUT_LOOK",
        "DEAD_BY_TIME",
    )
]


def _poll(name, kills, is_long=False, **others):
    return Case(name, "poll", {"PUTTERS": 2, "PUTS": 2, "KILLS": kills, **others}, is_long)


POLLED = _poll("polled, nobody killed", 0)
POLLED_KILLED = _poll("polled, one kill", 1)
POLLED_EAGERLY = _poll("polled and taken from, one kill", 1, EAGER=None)

POLL = [POLLED, POLLED_KILLED, POLLED_EAGERLY, _poll("polled, two kills", 2, EAGER=None)]

POLL_TWINS = [
    POLLED.twin("WRITE_BEFORE_COMMIT", "for_nothing<="),
    POLLED_EAGERLY.twin("NOT_SETTLED_FIRST", "for_nothing<="),
    POLLED_KILLED.twin("NO_UNSETTLED", "for_nothing<="),
    POLLED.twin("SETTLE_WITHOUT_WORD", "sequence[1]==sequence[0]"),
    POLLED_KILLED.twin("NO_SETTLE_ON_ATTACHING", "sequence[1]==sequence[0]"),
]


def _stream(name, producers, firsts, seconds, puts, gets, is_long=False, **others):
    """Two groups: `gets` is of a consumer of each."""
    sizes = {
        "PRODUCERS": producers,
        "FIRSTS": firsts,
        "SECONDS": seconds,
        "PUTS": puts,
        "GETS_FIRST": gets,
        "GETS_SECOND": gets,
        "CAPACITY": 1,
        "PREFILLED": 0,
        "KILLS": 0,
        **others,
    }
    return Case(name, "stream", sizes, is_long)


# The ring holds what is there to be taken, or to be made room for.
ONE_IN = {"PREFILLED": 1}
TWO_IN = {"CAPACITY": 2, "PREFILLED": 2}
THREE_IN = {"CAPACITY": 3, "PREFILLED": 3}

GROUPS_WAIT = _stream("two groups wait for an item", 1, 1, 1, 1, 1, **FOR_EVER)
WAITS_FOR_GROUPS = _stream("one waits for two groups", 1, 1, 1, 1, 1, **ONE_IN, **FOR_EVER)
WAITS_KILLED = _stream("one waits for two groups, one kill", 1, 1, 1, 1, 1, **ONE_IN, KILLS=1)
STAGES = _stream("two stages", 0, 1, 1, 0, 2, **TWO_IN, FOLLOW=None, **FOR_EVER)
STAGES_KILLED = _stream("two stages, one kill", 0, 1, 1, 0, 2, **TWO_IN, FOLLOW=None, KILLS=1)
THREE_SHARE = _stream("three share a group, one kill", 0, 3, 0, 0, 1, **THREE_IN, KILLS=1)
TWO_SHARE = _stream("two share a group", 1, 2, 0, 2, 1, CAPACITY=2, **FOR_EVER)

STREAM = [
    GROUPS_WAIT,
    WAITS_FOR_GROUPS,
    WAITS_KILLED,
    STAGES,
    STAGES_KILLED,
    THREE_SHARE,
    _stream("two groups wait for an item, one kill", 1, 1, 1, 1, 1, KILLS=1),
    _stream("a producer and two stages, one kill", 1, 1, 1, 1, 1, FOLLOW=None, KILLS=1),
    dataclasses.replace(TWO_SHARE, is_long=True),  # its twin is caught at once
    _stream("one waits for two groups, twice", 1, 1, 1, 2, 2, is_long=True, **ONE_IN, **FOR_EVER),
    _stream("two kills among two groups", 1, 1, 1, 1, 1, is_long=True, **ONE_IN, KILLS=2),
    _stream(
        "a full ring and two stages", 1, 1, 1, 1, 2, is_long=True, **ONE_IN, FOLLOW=None, **FOR_EVER
    ),
]

STREAM_TWINS = [
    GROUPS_WAIT.twin("ONE_CLASS", "==sequence[0]"),
    GROUPS_WAIT.twin("FLAG_AFTER_LOOK", "==sequence[0]"),
    WAITS_FOR_GROUPS.twin("NO_LOOK_ELSEWHERE", "producers==0"),
    WAITS_FOR_GROUPS.twin("FLOOR_PASSES", "gate<=sequence[3]"),
    WAITS_KILLED.twin("NO_BOUNDED_SLEEP", "producers==0"),
    STAGES.twin("ROW_AFTER_HEAD", "sequence[3]<works_on"),
    STAGES.twin("HEAD_AFTER_ROW", "sequence[3]<works_on"),
    STAGES.twin("FINISH_IN_SILENCE", "seconds==0"),
    STAGES_KILLED.twin("NO_BURY", "seconds==0"),
    THREE_SHARE.twin("NO_TAKEOVER", "at[each]<"),
    TWO_SHARE.twin("NO_PASS_ON", "firsts==0"),
]

SOUND = [*QUEUE, *BLOCKS, *POLL, *STREAM]
TWINS = [*QUEUE_TWINS, *BLOCK_TWINS, *POLL_TWINS, *STREAM_TWINS]
