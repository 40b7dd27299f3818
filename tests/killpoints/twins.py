"""Broken twins: the package's own headers with one thing wrong, which the trials have to notice.

Each is a text of a header and what stands there instead; a header that no longer has that text
exactly once is an error, not a twin. So a twin breaks the protocol as it is today.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.killpoints import program


@dataclass(frozen=True)
class Twin:
    name: str
    header: str
    changes: tuple  # of (text, what stands there instead)
    trial: tuple  # geometry, state and operation in which it is to be noticed


NOT_DEAD = "    if (!asked[slot].dead && !shmq_block_is_passed(view, index, seen)) continue;\n"

TWINS = [
    Twin(
        "the tail is stored before the items are written",
        "ring.h",
        (
            (
                "  uint64_t now = coarse_now_ns();\n",
                "  store_release(&tail->sequence, sequence + count);\n"
                "  uint64_t now = coarse_now_ns();\n",
            ),
        ),
        ("cells", "one", "put"),
    ),
    Twin(
        "the head is stored before the block is marked as held",
        "ring.h",
        (
            (
                "        shmq_block_hold(view, ref.block);\n",
                "        { store_release(&head->sequence, sequence + 1);"
                " shmq_block_hold(view, ref.block); }\n",
            ),
        ),
        ("cells", "block", "get"),
    ),
    Twin(
        "the dead keep what they own",
        "ends.h",
        (("  if (!shmq_tag_is_dead(view, seen)) return 0;\n", "  return 0;\n"),),
        ("cells", "stale", "put"),
    ),
    Twin(
        "who takes a seat is taken for who sat there before",
        "seats.h",
        (
            (
                "uint64_t generation = load_relaxed(&row->generation) + 1;",
                "uint64_t generation = load_relaxed(&row->generation);",
            ),
        ),
        ("cells", "outlived", "put"),
    ),
    Twin(
        "a block is free before the head has passed its slot",
        "ring.h",
        (
            (
                "        shmq_block_hold(view, ref.block);\n",
                "        shmq_block_free(view, ref.block);\n",
            ),
            (
                "static inline void shmq_block_hold(const shmq_view *view, uint32_t index);\n",
                "static inline void shmq_block_hold(const shmq_view *view, uint32_t index);\n"
                "static inline void shmq_block_free(const shmq_view *view, uint32_t index);\n",
            ),
        ),
        ("cells", "block", "get"),
    ),
    Twin(
        "a sweep frees what a slot refers to",
        "blocks.h",
        ((" && !shmq_block_is_referred(view, index) &&\n", " &&\n"),),
        ("cells", "bequest", "sweep"),
    ),
    Twin(
        "the dead's blocks are not looked for",
        "blocks.h",
        ((NOT_DEAD, "    continue;\n"),),
        ("cells", "empty", "put_block"),
    ),
    Twin(
        "a hole is made before the block says that it has no memory",
        "blocks.h",
        (
            (
                "    store_relaxed(&block->backed, 0);\n    if (shmq_fd_is_ours(view))\n",
                "    if (shmq_fd_is_ours(view))\n",
            ),
            (
                "    /* release: pairs with the claim. */\n",
                "    store_relaxed(&block->backed, 0);\n",
            ),
        ),
        ("cells", "spent", "trim_pool"),
    ),
    Twin(
        "a region says that it has memory before it has it",
        "growth.h",
        (
            (
                "    status = shmq_reserve(view, offset, wanted - backed);\n",
                "    store_release(&region->backed, wanted);\n"
                "    status = shmq_reserve(view, offset, wanted - backed);\n",
            ),
        ),
        ("regions", "grow", "put"),
    ),
    Twin(
        "a region forgets its memory before that is given back",
        "growth.h",
        (
            (
                "    uint64_t left = bytes > piece ? bytes - piece : 0;\n",
                "    uint64_t left = bytes > piece ? bytes - piece : 0;\n"
                "    store_relaxed(&region->dirty, left);\n",
            ),
        ),
        ("regions", "far", "trim_ring"),
    ),
    Twin(
        "the place of the sequence that counts is written over",
        "regions.h",
        (
            (
                "&end->place[load_relaxed(&end->place[0].sequence) == sequence];",
                "&end->place[load_relaxed(&end->place[0].sequence) != sequence];",
            ),
        ),
        ("regions", "one", "put"),
    ),
    Twin(
        "a put is two stores: the sequence, then the place",
        "ring.h",
        (
            (
                "  if (in_regions) shmq_set_place(tail, sequence, sequence + count,"
                " (uint64_t)(at - view->slots));\n",
                "",
            ),
            (
                "  store_release(&tail->sequence, sequence + count);\n",
                "  store_release(&tail->sequence, sequence + count);\n"
                "  if (in_regions)\n"
                "    shmq_set_place(tail, sequence, sequence + count,"
                " (uint64_t)(at - view->slots));\n",
            ),
        ),
        ("regions", "one", "put"),
    ),
    Twin(
        "a sleep has no bound",
        "wait.h",
        (("  uint64_t until = now + waiter->sleep_ns;\n", "  uint64_t until = deadline;\n"),),
        ("cells", "getter_asleep", "put"),
    ),
    Twin(
        "who comes does not set the poll descriptor right",
        "blocks.h",
        (("    shmq_poll_settle(view);\n", ""),),
        ("regions", "polled_one", "get"),
    ),
]

# What is broken in the protocol of streams.
STREAM_TWINS = [
    Twin(
        "what a consumer holds is noted after the head has moved",
        "ring.h",
        (
            (
                "  if (of_group && reader->hold != NULL &&\n",
                "  store_release(&head->sequence, sequence + done);\n"
                "  if (of_group && reader->hold != NULL &&\n",
            ),
        ),
        ("stream", "pipeline", "get"),
    ),
    Twin(
        "nobody completes the removal of a group",
        "floor.h",
        (
            (
                "  if (state & SHMQ_END_OPEN && (subscriber == 0 ||"
                " !shmq_tag_is_dead(view, subscriber))) return 0;\n",
                "  if (subscriber == 0 || !shmq_tag_is_dead(view, subscriber)) return 0;\n",
            ),
        ),
        ("stream", "half_removed", "put"),
    ),
    Twin(
        "who takes the floor over does not complete what was begun",
        "floor.h",
        (
            (
                "  fence_seq_cst(); /* seq_cst: as in shmq_floor_move */\n",
                "  return;\n  fence_seq_cst();\n",
            ),
        ),
        ("stream", "half_raised_lagging", "open"),
    ),
    Twin(
        "a group's bit is set before its state",
        "groups.h",
        (
            (
                "  uint32_t state = load_relaxed(&head->state) & ~SHMQ_END_BITS;\n",
                "  store_release(&stream->open, open | bit);\n"
                "  uint32_t state = load_relaxed(&head->state) & ~SHMQ_END_BITS;\n",
            ),
        ),
        ("stream", "held", "open_next"),
    ),
    Twin(
        "a group is there before it is said where it begins",
        "groups.h",
        (
            ("  store_relaxed(&head->sequence, wish->start);\n", ""),
            (
                "  store_release(&stream->open, open | bit);\n",
                "  store_release(&stream->open, open | bit);\n"
                "  store_relaxed(&head->sequence, wish->start);\n",
            ),
        ),
        ("stream", "lagging", "open"),
    ),
    Twin(
        "the bit of a group that goes is cleared before its state",
        "groups.h",
        (
            (
                "  store_release(&head->state, state & ~SHMQ_END_BITS);\n",
                "  store_release(&stream->open,"
                " load_relaxed(&stream->open) & ~shmq_group_bit(group));\n"
                "  store_release(&head->state, state & ~SHMQ_END_BITS);\n",
            ),
        ),
        ("stream", "waiting", "remove"),
    ),
    Twin(
        "who goes on with a batch has finished what it began with",
        "ring.h",
        (
            (
                "      (!reader->takes_more ||"
                " load_relaxed(&reader->hold->sequence) == UINT64_MAX))\n",
                "      1)\n",
            ),
        ),
        ("stream", "pipeline", "get_several"),
    ),
    Twin(
        "a sweep frees what is pinned",
        "blocks.h",
        (("        !shmq_block_is_pinned(view, index) &&\n", ""),),
        ("stream", "viewed", "sweep"),
    ),
    Twin(
        "the dead keep their pins",
        "blocks.h",
        (("  if (view->stream != NULL) shmq_pinners_bury(view);\n", ""),),
        ("stream", "pinned", "sweep"),
    ),
    Twin(
        "a dead writer has not finished",
        "writers.h",
        (
            (
                "    if (seen != 0 && !shmq_tag_is_dead(view, seen)) return 0;\n",
                "    if (seen != 0) return 0;\n",
            ),
        ),
        ("stream", "all_written", "get"),
    ),
    Twin(
        "what the dead hold is waited for",
        "groups.h",
        (
            (
                "        !shmq_tag_is_dead(view, seen))\n      continue;\n",
                "        !shmq_tag_is_dead(view, seen))\n      continue;\n    continue;\n",
            ),
        ),
        ("stream", "dead_holder", "follow"),
    ),
    Twin(
        "a dead subscriber is waited for",
        "floor.h",
        (
            (
                "  if (state & SHMQ_END_OPEN && (subscriber == 0 ||"
                " !shmq_tag_is_dead(view, subscriber))) return 0;\n",
                "  if (state & SHMQ_END_OPEN) return 0;\n",
            ),
        ),
        ("stream", "dead_subscriber", "put"),
    ),
    Twin(
        "a dead subscriber keeps the memory of large items",
        "floor.h",
        (
            (
                "         for_want_of_memory && shmq_group_bury(view, slowest)) {\n",
                "         for_want_of_memory && 0) {\n",
            ),
        ),
        ("stream", "dead_subscriber_no_memory", "put_large"),
    ),
    Twin(
        "the head of a group moves before it says how many items were lost to it",
        "ring.h",
        (
            (
                "  if (may_lapse)\n    shmq_set_place(",
                "  store_release(&head->sequence, sequence + done);\n"
                "  if (may_lapse)\n    shmq_set_place(",
            ),
        ),
        ("stream", "lagging", "get"),
    ),
]


def headers_of(twin, folder):
    """Copy the headers, broken as the twin wants them; return where they are."""
    copied = Path(folder) / "_native"
    shutil.copytree(program.NATIVE, copied)
    path = copied / twin.header
    text = path.read_text()
    for old, new in twin.changes:
        assert text.count(old) == 1, f"{twin.header} has {text.count(old)} times: {old!r}"
        text = text.replace(old, new)
    path.write_text(text)
    return copied
