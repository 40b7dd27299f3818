# cython: binding=False
"""Looking at a segment without attaching to it: no seat, no write, no memory of its own.

The words of the segment are read into private memory, piece by piece, and the protocol's own
questions are asked of that copy. So a look changes nothing, whatever state the segment is in, and
a file that somebody cuts off meanwhile is a short read, not a SIGBUS. Whether a process lives is
asked of the kernel, by way of the descriptor.
"""

import errno
import os

from cpython.bytes cimport PyBytes_AS_STRING
from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport errno as c_errno
from libc.stdint cimport UINT64_MAX, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from shmqueue._inspect cimport group_row, rows_of
from shmqueue._protocol cimport (
    SHMQ_END_DONE,
    SHMQ_END_HEAD0,
    SHMQ_END_OPEN,
    SHMQ_END_POOL,
    SHMQ_END_SHUT,
    SHMQ_END_TAIL,
    SHMQ_END_WRITTEN,
    SHMQ_MAX_GROUPS,
    SHMQ_MAX_WRITERS,
    SHMQ_POLICY_BLOCK,
    SHMQ_POLICY_DROP,
    SHMQ_TAG,
    shmq_begin_after_lapse,
    shmq_block,
    shmq_block_backed_bytes,
    shmq_block_count,
    shmq_block_is_pinned,
    shmq_block_is_referred,
    shmq_end,
    shmq_file_enter,
    shmq_file_entered,
    shmq_file_is_held,
    shmq_file_lock_out,
    shmq_first_kept,
    shmq_group_head,
    shmq_group_identity,
    shmq_groups_open,
    shmq_header,
    shmq_hold,
    shmq_holds_granted,
    shmq_seat,
    shmq_seats_granted,
    shmq_slot,
    shmq_slot_at,
    shmq_slot_reference_bytes,
    shmq_snapshot_ends,
    shmq_tag,
    shmq_tag_is_dead,
    shmq_tag_seat,
    shmq_view,
    shmq_view_set,
    shmq_views,
)

from shmqueue import _format

cdef extern from "<sys/mman.h>" nogil:
    void *mmap(void *, size_t, int, int, int, int64_t)
    int munmap(void *, size_t)
    enum: PROT_READ
    enum: PROT_WRITE
    enum: MAP_PRIVATE
    enum: MAP_ANONYMOUS
    enum: MAP_NORESERVE

cdef extern from "<unistd.h>" nogil:
    Py_ssize_t pread(int, void *, size_t, int64_t)

_ENDS = [(SHMQ_END_TAIL, "tail"), (SHMQ_END_POOL, "pool"), (SHMQ_END_DONE, "done"),
         (SHMQ_END_HEAD0, "head")]

# As long as no two in a row are alike, somebody lives who changes them.
LOOKS_AT_WRITERS = 10


def examine(int fd, str path not None, bint blocks=True):
    """Say what a segment holds, and who holds what of it.

    Parameters
    ----------
    fd : int
        The segment, open for reading, by an open file description that holds no seat.
    path : str
        What to call it in messages.
    blocks : bool, default True
        Whether to look at each block, which takes about a microsecond.

    Returns
    -------
    dict
        Geometry; ``items``; ``seats`` as `_inspect.seat_rows`, each with the ``blocks`` that its
        process holds and their ``block_bytes``; ``owners``: the ends whose owner word somebody
        holds; ``blocks`` and bytes of the pool; ``lost_blocks`` and ``lost_bytes``: what the dead
        held and no slot refers to. Of a stream also ``groups``: as `_inspect.group_row`, each with
        ``subscriber``, whom it ends with, and ``dead_holds``, how many consumers died with items
        of it unfinished; and ``writers``, who is registered.

    Raises
    ------
    SegmentError
        If it is no sound segment of this layout.
    OSError
        If it can't be read, or there is no address range for a copy.

    Notes
    -----
    ``items`` of a stream are those that the group furthest behind has not got, or all that are held
    while there is no group; ``items_got`` is the sum over the groups.
    """
    cdef shmq_view view
    cdef shmq_header header
    cdef void *base
    status = os.fstat(fd)
    text = os.pread(fd, _format.HEADER_BYTES, 0)
    _format.check_header(text, status.st_size, path)
    memcpy(&header, PyBytes_AS_STRING(text), sizeof(header))
    # The blocks' own bytes are not looked at.
    base = mmap(NULL, header.pool_offset, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
    if base == <void *>-1:
        raise OSError(c_errno, f"no address range for a copy of {path}: {os.strerror(c_errno)}")
    try:
        memset(&view, 0, sizeof(view))
        shmq_view_set(&view, <uint8_t *>base, &header)
        view.fd = fd
        view.device = status.st_dev
        view.inode = status.st_ino
        _read(&view, 0, header.seats_offset)
        return _told(&view, &header, status.st_blocks * 512, blocks)
    finally:
        munmap(base, header.pool_offset)


def was_abandoned(int fd, str path not None):
    """Whether nobody is attached to the segment, though somebody was and died; as `examine`."""
    cdef shmq_header header
    cdef const shmq_seat *row
    cdef bytes text, rows
    cdef size_t at
    if shmq_file_is_held(fd):
        return False
    text = os.pread(fd, _format.HEADER_BYTES, 0)
    _format.check_header(text, os.fstat(fd).st_size, path)
    memcpy(&header, PyBytes_AS_STRING(text), sizeof(header))
    rows = os.pread(fd, min(header.seats_granted, header.max_seats) * sizeof(shmq_seat),
                    header.seats_offset)
    for at in range(0, len(rows) // sizeof(shmq_seat)):
        row = <const shmq_seat *>PyBytes_AS_STRING(rows) + at
        if row.pid != 0:
            return True
    return False


def is_held(int fd):
    """Whether any process has a seat in the file, or is about to; whatever is in it."""
    return bool(shmq_file_is_held(fd))


def enter(int fd):
    """Let nobody remove the file until `entered`, or until it is closed; False if one does now."""
    return bool(shmq_file_enter(fd))


def entered(int fd):
    """Take back what `enter` did: there is a seat now, or there will be none."""
    shmq_file_entered(fd)


def lock_out(int fd):
    """Keep everybody from attaching until `fd` is closed; False if somebody is there already."""
    return bool(shmq_file_lock_out(fd))


cdef int _read(shmq_view *view, uint64_t offset, uint64_t length) except -1:
    """Copy a piece of the segment to its place; what lies behind the file's end stays as it is."""
    cdef Py_ssize_t got
    while length > 0:
        got = pread(view.fd, view.base + offset, length, offset)
        if got < 0 and c_errno != errno.EINTR:
            raise OSError(c_errno, f"cannot read a segment: {os.strerror(c_errno)}")
        if got == 0:
            break
        if got > 0:
            offset += got
            length -= got
    return 0


cdef dict _told(shmq_view *view, const shmq_header *header, uint64_t memory_bytes,
                bint blocks):
    cdef uint64_t head, tail, items, word, had, free_bytes = 0, pool_bytes = 0, lost_bytes = 0
    cdef uint32_t index, count, lost = 0
    _read(view, header.seats_offset, shmq_seats_granted(view) * sizeof(shmq_seat))
    _read(view, header.views_offset, shmq_seats_granted(view) * sizeof(shmq_views))
    view.known_views = header.max_seats  # the copy has memory for all
    count = shmq_block_count(view) if blocks else 0
    _read(view, header.blocks_offset, count * sizeof(shmq_block))
    shmq_snapshot_ends(view, &head, &tail)
    items = tail - head
    groups, got = [], head
    if view.stream != NULL:
        groups = _groups_of(view, header)
        got = sum(row["sequence"] - row["joined_sequence"] - row["lapped"] for row in groups)
        # The floor follows the heads when somebody needs room.
        if items <= header.capacity:
            items = max((row["lag"] for row in groups), default=items)
    heads = [(SHMQ_END_HEAD0 + 1 + group["index"], "head of a group") for group in groups]
    owners = []
    for index, name in _ENDS + heads:
        if index == SHMQ_END_HEAD0 and view.stream != NULL:
            name = "floor"
        word = view.ends[index].owner
        if word & SHMQ_TAG:
            held = _holder(view, header, word)
            if not held["alive"]:
                _read_ends(view, header)
                if view.ends[index].owner != word:
                    continue  # it is somebody else's already, or nobody's
            owners.append(held | {"end": name})
    seats = [row for row in rows_of(view) if row["alive"] or _is_left(view, header, row)]
    by_seat = {row["seat"]: row for row in seats}
    for row in seats:
        row["blocks"] = row["block_bytes"] = 0
    holders = {}
    for index in range(count):
        if index % 4096 == 0:
            PyErr_CheckSignals()
            holders.clear()  # tags of a damaged table are as many as its blocks
        had = shmq_block_backed_bytes(view, index)
        pool_bytes += had
        word = view.blocks[index].state & SHMQ_TAG
        if word == 0:
            free_bytes += had
            continue
        if word not in holders:
            holders[word] = _holder(view, header, word)
        holder = holders[word]
        if (
            not holder["alive"]
            and not shmq_block_is_pinned(view, index)
            and not _is_referred(view, header, index)
        ):
            lost += 1
            lost_bytes += had
        row = by_seat.get(holder["seat"])
        if (
            row is not None
            and (row["pid"], row["alive"]) == (holder["pid"], holder["alive"])
            and view.blocks[index].state & 1
        ):
            row["blocks"] += 1
            row["block_bytes"] += had
    return {
        "capacity": header.capacity,
        "item_size": header.item_size,
        "max_processes": header.max_seats,
        "created_realtime_ns": header.created_realtime_ns,
        "memory_bytes": memory_bytes,
        "items": items if items <= header.capacity else None,
        "items_put": tail,
        "items_got": got,
        "is_shut": bool(view.ends[SHMQ_END_TAIL].state & SHMQ_END_SHUT),
        "owners": owners,
        "seats": seats,
        "blocks": count,
        "pool_bytes": pool_bytes,
        "pool_free_bytes": free_bytes,
        "lost_blocks": lost,
        "lost_bytes": lost_bytes,
        "groups": groups,
        "writers": [] if view.stream == NULL else _writers_of(view, header),
    }


cdef list _groups_of(shmq_view *view, const shmq_header *header):
    """The groups of a stream, and what the dead have of them."""
    cdef uint32_t group, i
    cdef uint64_t identity
    cdef shmq_hold *hold
    for group in range(SHMQ_MAX_GROUPS):
        if shmq_groups_open(view) >> group & 1:
            _read_slots(view, header, group)
    groups = []
    for group in range(SHMQ_MAX_GROUPS):
        row = group_row(view, group)
        if row is None:
            continue
        word = view.stream.groups[group].subscriber
        identity = shmq_group_identity(view, group)
        row["subscriber"] = _holder(view, header, word) if word else None
        row["dead_holds"] = 0
        for i in range(shmq_holds_granted(view)):
            hold = &view.stream.holds[i]
            word = hold.tag
            if (
                word != 0
                and hold.sequence != UINT64_MAX
                and hold.group == identity
                and not _holder(view, header, word)["alive"]
            ):
                # Who ends in order empties its row before. The dead don't, nor are they ever back.
                _read_again(view, hold, sizeof(shmq_hold))
                if hold.tag == word and hold.sequence != UINT64_MAX and hold.group == identity:
                    row["dead_holds"] += 1
        if row["dead_holds"] or (row["subscriber"] and not row["subscriber"]["alive"]):
            # Only of this one: what the copy has of the others belongs together.
            _read_again(view, shmq_group_head(view, group), sizeof(shmq_end))
            if (
                not shmq_group_head(view, group).state & SHMQ_END_OPEN
                or shmq_group_identity(view, group) != identity
            ):
                continue  # it was removed meanwhile, so nobody left it behind
        groups.append(row)
    return groups


cdef int _read_slots(shmq_view *view, const shmq_header *header, uint32_t group) except -1:
    """Copy what tells how old the items of a group are.

    That is the first slot that it has not taken; and, if it is told to keep what is young, the
    first that is young enough: what is older was put earlier, so that one is looked for by halves.
    """
    cdef uint64_t tail = view.ends[SHMQ_END_TAIL].sequence
    cdef uint64_t low = shmq_group_head(view, group).sequence
    cdef uint64_t high = tail
    cdef uint64_t middle
    if view.stream.groups[group].policy != SHMQ_POLICY_BLOCK:
        low = shmq_begin_after_lapse(view, low)
    if tail - low > header.capacity or tail == low:
        return 0  # nothing, or what nobody wrote
    _read_again(view, shmq_slot_at(view, low), sizeof(shmq_slot))
    if view.stream.groups[group].policy != SHMQ_POLICY_DROP:
        return 0
    while low != high:
        middle = low + (high - low) // 2
        _read_again(view, shmq_slot_at(view, middle), sizeof(shmq_slot))
        if shmq_first_kept(view, group, middle, middle + 1) == middle:
            high = middle
        else:
            low = middle + 1
    return 0


cdef list _writers_of(shmq_view *view, const shmq_header *header):
    """Whose rows the writers of a stream are; none once it is at its end."""
    cdef uint32_t i
    before = None
    for _ in range(LOOKS_AT_WRITERS):
        if not _has_writers(view):
            break
        rows = [view.stream.writers[i] for i in range(SHMQ_MAX_WRITERS)]
        found = [_holder(view, header, word) for word in rows if word]
        if rows == before or any(holder["alive"] for holder in found):
            return found
        # All are dead: now. Who finished before has emptied its row, and the last one has shut the
        # tail; and others may have come.
        before = rows
        _read_again(view, view.stream.writers, SHMQ_MAX_WRITERS * sizeof(uint64_t))
        _read_ends(view, header)
    return []


cdef bint _has_writers(const shmq_view *view):
    cdef uint32_t state = view.ends[SHMQ_END_TAIL].state
    return state & SHMQ_END_WRITTEN and not state & SHMQ_END_SHUT


cdef int _read_again(shmq_view *view, const void *place, uint64_t length) except -1:
    """Copy a piece of the segment once more, as it is now."""
    return _read(view, <const uint8_t *>place - view.base, length)


cdef int _read_ends(shmq_view *view, const shmq_header *header) except -1:
    return _read(view, header.ends_offset, header.classes_offset - header.ends_offset)


cdef int _read_seat(shmq_view *view, const shmq_header *header, uint32_t seat) except -1:
    return _read(view, header.seats_offset + seat * sizeof(shmq_seat), sizeof(shmq_seat))


cdef dict _holder(shmq_view *view, const shmq_header *header, uint64_t word):
    """Whose tag a word bears; of a seat as it is now, not as it was when the copy was made.

    ``pid`` is 0 where another has the seat by now: who is named by the tag is not known any more.
    """
    cdef uint32_t seat = shmq_tag_seat(word)
    cdef bint is_dead
    pid = 0
    if seat < header.max_seats:
        _read_seat(view, header, seat)
        # Whoever attaches after a death has the seat of the dead, and nothing of theirs.
        if shmq_tag(seat, view.seats[seat].generation) == word & SHMQ_TAG:
            pid = view.seats[seat].pid
    is_dead = shmq_tag_is_dead(view, word)
    return {"seat": seat, "pid": pid, "alive": not is_dead}


cdef bint _is_left(shmq_view *view, const shmq_header *header, row) except -1:
    """Whether a seat that was found free is still that of the process that it was read for."""
    cdef uint32_t seat = row["seat"]
    cdef uint64_t generation = view.seats[seat].generation
    _read_seat(view, header, seat)
    # Who leaves in order says so before the seat is free; who comes counts up before it tells.
    return view.seats[seat].pid == row["pid"] and view.seats[seat].generation == generation


cdef bint _is_referred(shmq_view *view, const shmq_header *header, uint32_t index) except -1:
    """Whether a slot of the ring refers to a block that the dead held: as of one moment.

    What seems lost is read anew, between two equal looks at the block's state. The dead don't come
    back, so in between nobody changed it; if somebody did, it was found already.
    """
    cdef uint64_t seen = view.blocks[index].state
    cdef uint64_t at = header.blocks_offset + index * sizeof(shmq_block)
    if _slot_refers(view, header, index):
        return True
    _read(view, at, sizeof(shmq_block))
    if view.blocks[index].state != seen:
        return True
    _read_ends(view, header)
    if _slot_refers(view, header, index):
        return True
    _read(view, at, sizeof(shmq_block))
    return view.blocks[index].state != seen


cdef bint _slot_refers(shmq_view *view, const shmq_header *header, uint32_t index) except -1:
    cdef uint64_t position = view.blocks[index].slot_position
    if position < view.slots_bytes:
        _read(view, header.slots_offset + position,
              min(shmq_slot_reference_bytes(), view.slots_bytes - position))
    return shmq_block_is_referred(view, index)
