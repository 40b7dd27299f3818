"""Segments by name: create, attach, unlink.

A segment is a file in /dev/shm. It is built without a name, completed, and then linked in one step,
so no half-built queue can be seen under a name, whoever dies when. Its memory is reserved before
the first byte is touched, so a full /dev/shm is an error and never a SIGBUS.
"""

import errno
import fcntl
import operator
import os
import resource
import stat
import threading
import time
import uuid
import weakref
from typing import Any

from shmqueue import memory
from shmqueue._core import Attachment
from shmqueue._examine import enter, entered, examine
from shmqueue._format import format_segment, plan_segment, region_limit_bytes
from shmqueue.errors import ForeignSegmentError, NoFreeSeatError, SegmentError
from shmqueue.serializers import CUSTOM, Choice, choose, find

__all__ = [
    "Descriptor",
    "attach",
    "attach_descriptors",
    "create",
    "create_unnamed",
    "look_at",
    "open_regular",
    "path_of",
    "unlink",
]

DIRECTORY = "/dev/shm"
PREFIX = "shmq."
MAX_FILE_NAME_BYTES = 255
MAX_PROCESSES = 4095
PAGE_BYTES = 4096
RESERVE_BYTES = 8 << 20
# Address range for large items: it costs nothing until it is used, and never shrinks or moves.
POOL_LIMIT_BYTES = 64 << 30
SMALLEST_POOL_LIMIT_BYTES = 1 << 20
# Of unnamed queues: what to call one, the capacity that stands for none, the largest item that lies
# in the ring itself, and the address range in which the ring may grow. A thousand of them have room
# in the address space of a process.
UNNAMED = "an unnamed queue"
UNBOUNDED = 1 << 62
INLINE_BYTES = 4096
RING_LIMIT_BYTES = 32 << 30
SMALLEST_ADDRESS_RANGE_BYTES = 1 << 30
MFD_NOEXEC_SEAL = 8  # where vm.memfd_noexec is 2, files that could be executed are refused

_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-")

# One attachment for each segment in each process, shared by all handles: by device and inode.
_attachments: "weakref.WeakValueDictionary[tuple[int, int], Attachment]" = (
    weakref.WeakValueDictionary()
)
_lock = threading.RLock()


def _after_fork_in_child() -> None:
    # Another thread of the parent may have held it; that thread is not here to let go.
    global _lock
    _lock = threading.RLock()


os.register_at_fork(after_in_child=_after_fork_in_child)


class Descriptor:
    """What a new segment shall be like; checked when it is made.

    Parameters
    ----------
    capacity : int
        Slots.
    item_size : int
        Bytes of an item that fit a slot; larger ones go through blocks.
    max_processes : int
        Seats, 1 to 4095.
    serializer : Choice
        What `serializers.choose` chose.
    mode : int
        Permission bits of the file.
    ungrouped : int, optional
        Of a stream: what becomes of items while there is no group. None: a queue.
    type_text : bytes, default b""
        What names the type of all items, if they have one in common.

    Raises
    ------
    TypeError, ValueError
        If one of them cannot be.
    """

    def __init__(
        self,
        capacity: int,
        item_size: int,
        max_processes: int,
        serializer: Choice,
        mode: int,
        ungrouped: int | None = None,
        type_text: bytes = b"",
    ) -> None:
        for label, value in (
            ("capacity", capacity),
            ("item_size", item_size),
            ("max_processes", max_processes),
            ("mode", mode),
        ):
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{label} must be an int, not {type(value).__name__}")
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1 slot, not {capacity}")
        if item_size < 1:
            raise ValueError(f"item_size must be at least 1 byte, not {item_size}")
        if item_size > 1 << 31:
            raise ValueError(
                f"item_size={item_size} is more than a slot can have (2 GiB); larger items need no"
                " larger slots, they go through blocks"
            )
        if capacity > UNBOUNDED:
            raise ValueError(f"capacity={capacity} slots are more than a segment can hold")
        if not 1 <= max_processes <= MAX_PROCESSES:
            raise ValueError(
                f"max_processes must be between 1 and {MAX_PROCESSES}, not {max_processes}"
            )
        if not 0 <= mode <= 0o777 or mode & 0o600 != 0o600:
            raise ValueError(
                f"mode={mode:#o} must be permission bits that let the owner read and write,"
                " such as 0o600 or 0o660"
            )
        self.capacity = capacity
        self.item_size = item_size
        self.max_processes = max_processes
        self.serializer = serializer
        self.mode = mode
        self.ungrouped = ungrouped
        self.type_text = type_text


def _escaped(part: str) -> str:
    return "".join(
        character if character in _PLAIN else "".join(f"%{byte:02X}" for byte in character.encode())
        for character in part
    )


def path_of(name: str, run_id: str = "") -> str:
    """Return the path of a queue's segment; two pairs of name and run_id never share one.

    Raises
    ------
    TypeError, ValueError
        If no segment can be called so.
    """
    for label, part in (("name", name), ("run_id", run_id)):
        if not isinstance(part, str):
            raise TypeError(f"{label} must be a str, not {type(part).__name__}")
        if "/" in part or "\0" in part:
            raise ValueError(f"{label} {part!r} must not contain '/' or NUL: it names a file")
        try:
            part.encode()
        except UnicodeEncodeError:
            raise ValueError(f"{label} {part!r} is no text: it has lone surrogates") from None
    if not name:
        raise ValueError("name must not be empty")
    file_name = PREFIX + _escaped(name) + (f"@{_escaped(run_id)}" if run_id else "")
    if len(file_name) > MAX_FILE_NAME_BYTES:
        raise ValueError(
            f"name and run_id are too long: they make a file name of {len(file_name)} bytes, the"
            f" limit is {MAX_FILE_NAME_BYTES} (characters outside [A-Za-z0-9_.-] count 3 or more)"
        )
    return os.path.join(DIRECTORY, file_name)


def _no_memory(error: OSError, wanted: int, is_named: bool) -> OSError:
    if error.errno == errno.EFBIG:
        return OSError(
            errno.EFBIG,
            f"the queue needs a file of {wanted} bytes, which the limit on the size of files"
            " (RLIMIT_FSIZE, ulimit -f) forbids",
        )
    if not is_named:
        return OSError(
            errno.ENOSPC,
            f"not enough memory for the queue: wanted {wanted} bytes, available"
            f" {memory.headroom_bytes()} to this machine or control group"
            f" ({os.strerror(error.errno or 0)})",
        )
    system = os.statvfs(DIRECTORY)
    return OSError(
        errno.ENOSPC,
        f"not enough shared memory for the queue: wanted {wanted} bytes, available"
        f" {system.f_bavail * system.f_frsize} in {DIRECTORY} ({os.strerror(error.errno or 0)});"
        " choose a smaller capacity or item_size (larger items still go through), or enlarge"
        f" {DIRECTORY}",
    )


def _pool_limit_bytes(memory_bytes: int) -> int:
    """How much address range to give to large items: several times what could ever be used."""
    limit = min(POOL_LIMIT_BYTES, max(memory_bytes, 1 << 30), _address_limit_bytes())
    return max(limit, SMALLEST_POOL_LIMIT_BYTES) // PAGE_BYTES * PAGE_BYTES


def _address_limit_bytes() -> int:
    """How much of the process's address space one part of a segment may take."""
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return POOL_LIMIT_BYTES if soft == resource.RLIM_INFINITY else soft // 8


def _region_count(limit_bytes: int) -> int:
    """In how many regions a ring may grow within so much address range."""
    count = 1
    while region_limit_bytes(count + 1) <= limit_bytes:
        count += 1
    return count


def _build(fd: int, wanted: Descriptor, pool_limit_bytes: int, region_count: int = 0) -> None:
    """Make a nameless file into a complete segment."""
    while True:
        geometry = (
            wanted.capacity,
            wanted.item_size,
            wanted.max_processes,
            pool_limit_bytes,
            region_count,
            wanted.ungrouped is not None,
            len(wanted.type_text),
        )
        segment_bytes, reserved = plan_segment(*geometry)
        reserved_bytes = sum(length for _, length in reserved)
        try:
            os.ftruncate(fd, segment_bytes)
            break
        except OSError as error:
            # RLIMIT_FSIZE, or a file system with smaller files: less room to grow may do.
            if error.errno not in (errno.EFBIG, errno.EINVAL):
                raise
            if pool_limit_bytes <= SMALLEST_POOL_LIMIT_BYTES and region_count <= 1:
                raise _no_memory(error, reserved_bytes, region_count == 0) from None
            pool_limit_bytes = max(pool_limit_bytes // 2, SMALLEST_POOL_LIMIT_BYTES)
            region_count = min(region_count, max(region_count - 1, 1))
    try:
        # In pieces: the kernel undoes a call that a signal interrupts.
        for offset, length in reserved:
            for start in range(offset, offset + length, RESERVE_BYTES):
                os.posix_fallocate(fd, start, min(RESERVE_BYTES, offset + length - start))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOMEM):
            raise _no_memory(error, reserved_bytes, region_count == 0) from None
        raise
    os.fchmod(fd, wanted.mode)  # not subject to the umask
    format_segment(
        fd,
        *geometry,
        wanted.ungrouped or 0,
        wanted.serializer.number,
        wanted.serializer.name.encode(),
        wanted.type_text,
        uuid.uuid4().bytes,
        time.time_ns(),
    )


def create(path: str, wanted: Descriptor) -> Attachment:
    """Create a segment and attach to it.

    Raises
    ------
    FileExistsError
        If there is something of that name.
    OSError
        With ENOSPC, wanted and available bytes, if shared memory is too small.
    """
    plan_segment(
        wanted.capacity,
        wanted.item_size,
        wanted.max_processes,
        SMALLEST_POOL_LIMIT_BYTES,
        is_stream=wanted.ungrouped is not None,
        type_bytes=len(wanted.type_text),
    )
    try:
        fd = os.open(DIRECTORY, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise
        raise OSError(
            error.errno,
            f"cannot create a segment in {DIRECTORY} ({os.strerror(error.errno or 0)}):"
            " shmqueue needs it to be a writable tmpfs",
        ) from None
    linked = False
    try:
        system = os.statvfs(DIRECTORY)
        _build(fd, wanted, _pool_limit_bytes(16 * system.f_blocks * system.f_frsize))
        enter(fd)  # until it is closed: nobody takes what has a name and no seat for an orphan
        _link(fd, path)
        linked = True
        attachment = _attachment_of(_opened_by_name(fd, path), path)
        return _with_serializer(attachment, wanted.serializer.custom)
    except BaseException:
        if linked:
            status = os.fstat(fd)
            unlink_inode(path, (status.st_dev, status.st_ino))
        raise
    finally:
        os.close(fd)


def _link(fd: int, path: str) -> None:
    """Give a nameless file a name that nothing has yet."""
    # Naming a directory descriptor makes Python use linkat(), which follows the /proc link.
    directory = os.open(DIRECTORY, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.link(
            f"/proc/self/fd/{fd}",
            os.path.basename(path),
            dst_dir_fd=directory,
            follow_symlinks=True,
        )
    finally:
        os.close(directory)


def _memory_file() -> int:
    """Return a file in memory that nobody can execute, where the system knows such (Linux 6.3)."""
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        return os.memfd_create("shmqueue", flags | MFD_NOEXEC_SEAL)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return os.memfd_create("shmqueue", flags)


def create_unnamed(maxsize: int, serializer: Any = "multiprocessing") -> Attachment:
    """Create a segment that has no name and cannot be truncated, and attach to it.

    Nothing of it is left once the last process that knows its descriptors is gone.

    Parameters
    ----------
    maxsize : int
        How many items it holds; 0 or less: as many as memory allows.
    serializer : str or object
        The name of one, or what has ``dumps`` and ``loads``.

    Raises
    ------
    TypeError, ValueError
        If an argument cannot be.
    OSError
        If the system has no memory or no descriptor for it.
    """
    maxsize = operator.index(maxsize)
    if maxsize >= UNBOUNDED:
        raise ValueError(f"maxsize={maxsize} is more than a queue can count; 0 is no bound at all")
    capacity = maxsize if maxsize > 0 else UNBOUNDED
    choice = choose(serializer, travels=True)
    wanted = Descriptor(capacity, INLINE_BYTES, MAX_PROCESSES, choice, 0o600)
    memory_bytes = 2 * memory.total_bytes()
    while True:
        try:
            return _build_unnamed(wanted, memory_bytes)
        except OSError as error:
            # Of thousands of queues the last ones find less room in the address space.
            if error.errno != errno.ENOMEM or memory_bytes < SMALLEST_ADDRESS_RANGE_BYTES:
                raise
            memory_bytes //= 8


def _build_unnamed(wanted: Descriptor, limit_bytes: int) -> Attachment:
    region_count = _region_count(min(RING_LIMIT_BYTES, limit_bytes, _address_limit_bytes()))
    fd = _memory_file()
    try:
        _build(fd, wanted, _pool_limit_bytes(limit_bytes), region_count)
        fcntl.fcntl(
            fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        )
        poll_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    except BaseException:
        os.close(fd)
        raise
    return attach_descriptors(fd, poll_fd, wanted.serializer.custom)


def attach_descriptors(fd: int, poll_fd: int, custom: Any = None) -> Attachment:
    """Attach to an unnamed segment; both descriptors belong to the attachment from here on.

    Parameters
    ----------
    fd : int
        The segment.
    poll_fd : int
        The eventfd that its processes share.
    custom : object, optional
        Its custom serializer, if that came along; otherwise it is found by its name.

    Raises
    ------
    SegmentError
        If the first is no sound segment.
    ValueError
        If its serializer is not known here.
    """
    return _with_serializer(_attachment_of(fd, UNNAMED, poll_fd), custom)


def _opened_by_name(fd: int, path: str) -> int:
    """Open what was just linked, so that /proc shows its name; as it is if the name is gone."""
    try:
        by_name = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return os.dup(fd)
    if os.path.samestat(os.fstat(by_name), os.fstat(fd)):
        return by_name
    os.close(by_name)
    return os.dup(fd)


def attach(path: str, *, allow_other_owner: bool = False) -> Attachment:
    """Attach to an existing segment, or share the attachment that this process has already.

    Raises
    ------
    FileNotFoundError, PermissionError
        If there is none, or it is not ours to open.
    SegmentError
        If what is there is not a sound segment of this layout.
    ValueError
        If its serializer is not known here.
    """
    return _with_serializer(look_at(path, allow_other_owner))


def look_at(path: str, allow_other_owner: bool) -> Attachment:
    """Attach without a look at the serializer, whose import would run what the segment names."""
    try:
        fd = open_regular(path, os.O_RDWR)
    except FileNotFoundError:
        raise _no_such_queue(path) from None
    except PermissionError as error:
        raise PermissionError(
            error.errno,
            "no permission to open this queue: it belongs to another user, or was created"
            " with a mode that excludes this one",
            path,
        ) from None
    try:
        status = os.fstat(fd)
        if status.st_uid != os.geteuid() and not allow_other_owner:
            # Loading an item runs pickle: whoever owns the segment could run code in here.
            raise PermissionError(
                errno.EPERM,
                f"this queue belongs to another user (uid {status.st_uid}), who could run code in"
                " this process by what it puts; if you trust it, pass allow_other_owner=True",
                path,
            )
        own = os.dup(fd)
    except BaseException:
        os.close(fd)
        raise
    try:
        # Whoever removes orphans finds us, or has just removed it. (A child that is forked in here
        # holds this lock, too, and then the file is no orphan either.)
        enter(own)
        try:
            attachment = _attachment_of(fd, path)
        except NoFreeSeatError:
            if os.fstat(own).st_nlink == 0:
                raise _no_such_queue(path) from None
            raise
        finally:
            entered(own)
        if os.fstat(own).st_nlink == 0:
            raise _no_such_queue(path)
        return attachment
    finally:
        os.close(own)


def _no_such_queue(path: str) -> FileNotFoundError:
    return FileNotFoundError(
        errno.ENOENT,
        "there is no such queue: it was not created yet (create=True), or unlinked already",
        path,
    )


def open_regular(path: str, flags: int) -> int:
    """Open what has this name if it is a regular file, whatever is in it.

    Raises
    ------
    ForeignSegmentError
        If it is none; then it is not opened.
    OSError
        If it cannot be opened.
    """
    try:
        # Looked at first: opening a fifo wakes who waits for that, and a device may do anything.
        if not stat.S_ISREG(os.lstat(path).st_mode):
            raise _no_regular_file(path)
        # O_NONBLOCK: what came to lie there meanwhile is not waited for.
        fd = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise _no_regular_file(path) from None
        raise
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise _no_regular_file(path)
    return fd


def _no_regular_file(path: str) -> ForeignSegmentError:
    return ForeignSegmentError(f"{path} is not a shmqueue segment: it is not a regular file")


def _attachment_of(fd: int, path: str, poll_fd: int = -1) -> Attachment:
    """Return this process's attachment to the segment behind `fd`; the descriptors are used up."""
    try:
        status = os.fstat(fd)
    except OSError:
        _close(poll_fd)  # the other is none
        raise
    key = (status.st_dev, status.st_ino)
    with _lock:
        attachment = _attachments.get(key)
        if attachment is None:
            attachment = Attachment(fd, path, poll_fd)
            _attachments[key] = attachment
        else:
            os.close(fd)
            _close(poll_fd)
        return attachment


def _close(fd: int) -> None:
    if fd >= 0:
        os.close(fd)


def _with_serializer(attachment: Attachment, custom: Any = None) -> Attachment:
    """Return the attachment, with its custom serializer if it has one: the one given, or found."""
    if attachment.serializer == CUSTOM and attachment.custom is None:
        attachment.custom = find(attachment.serializer_name) if custom is None else custom
    return attachment


def unlink(name: str, run_id: str = "") -> bool:
    """Remove a queue's name; processes that are attached go on until they close.

    Parameters
    ----------
    name, run_id : str
        As the queue was created.

    Returns
    -------
    bool
        Whether there was such a queue.

    Raises
    ------
    ForeignSegmentError
        If what has that name is not a regular file; it is left alone.
    PermissionError
        If it is another user's.
    """
    path = path_of(name, run_id)
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            raise _no_regular_file(path)
        os.unlink(path)
    except FileNotFoundError:
        return False
    return True


def unlink_inode(path: str, inode: tuple[int, int]) -> None:
    """Remove the name if it still stands for this very segment; silent where it doesn't."""
    try:
        status = os.lstat(path)
        if (status.st_dev, status.st_ino) == inode:
            os.unlink(path)
    except FileNotFoundError:
        pass


def describe(path: str) -> str:
    """Say in a few words what has this name: for the message of a name that is taken."""
    try:
        fd = open_regular(path, os.O_RDONLY)
    except SegmentError as error:
        return str(error)
    except OSError as error:
        return f"it cannot be opened: {error.strerror}"
    try:
        seen = examine(fd, path, blocks=False)
    except SegmentError as error:
        return str(error)
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    finally:
        os.close(fd)
    own = os.getpid()
    pids = sorted({row["pid"] for row in seen["seats"] if row["alive"]})
    who = [f"{own} (this process)" if pid == own else str(pid) for pid in pids]
    return (
        f"it holds {seen['items']} of {seen['capacity']} items,"
        f" attached: {', '.join(who) or 'no process'}"
    )
