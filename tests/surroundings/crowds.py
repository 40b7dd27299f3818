"""What test_forking.py has done by a program of its own: small, so that forks are quick.

Each function prints {"wrong": texts, ...}; it is right when there are none.
"""

import contextlib
import errno
import gc
import json
import os
import random
import subprocess
import sys
import threading
import time

from shmqueue import Queue, SharedMemoryQueue
from shmqueue._inspect import seat_rows
from tests.faults.processes import Forks, Turns
from tests.support import LIMIT, Thread, inherit_orphans, wait_until

PUTTERS = 8
LARGE = bytes(range(256)) * 64
END = "end"
LONGEST_LIFE_SECONDS = 0.02


def _ready():
    # Threads take turns often: what is forked is then in the middle of more things.
    sys.setswitchinterval(0.0005)
    # Children of those that are killed come to this process.
    inherit_orphans()
    gc.collect()
    gc.freeze()
    return Forks()


def _tell(**found):
    print(json.dumps(found))


def _row(queue, pid):
    rows = [row for row in seat_rows(queue._attachment) if row["pid"] == pid]
    return rows[0] if rows else {"alive": False}


def _put_numbers(queue, name, stop):
    """Put items of all kinds until told to stop, or killed; return how many."""
    number = 0
    while not stop.is_set():
        if name % 4 == 0:
            queue.put((name, number, LARGE))
            number += 1
        elif name % 4 == 1:
            queue.put_batch([(name, number + at, b"") for at in range(3)])
            number += 3
        else:
            queue.put((name, number, b""))
            number += 1
    return number


class Gathered:
    """What came out of a queue, looked at as it came."""

    def __init__(self):
        self.numbers = {}
        self.wrong = []

    def take(self, item):
        name, number, content = item
        expected = self.numbers.get(name, 0)
        if number != expected or content not in (b"", LARGE):
            self.wrong.append(f"of {name}: {number}, not {expected}")
        self.numbers[name] = number + 1


def fork_while_threads_put(run_id, count):
    forks = _ready()
    busy = SharedMemoryQueue("busy", create=True, run_id=run_id, capacity=32, item_size=64)
    down = SharedMemoryQueue("down", create=True, run_id=run_id, capacity=count)
    stop = threading.Event()
    seen = Gathered()
    of_children = []

    def gather():
        while (item := busy.get()) != END:
            (of_children.append if item[0] == "child" else seen.take)(item)

    def child():
        token = down.get(timeout=LIMIT)
        busy.put(("child", token, LARGE), timeout=LIMIT)
        busy.put_batch([("child", token, b"")] * 2, timeout=LIMIT)

    gatherer = Thread(gather)
    putters = [Thread(_put_numbers, busy, name, stop) for name in range(PUTTERS)]
    wrong = []
    running = []
    for token in range(count):
        down.put(token)
        running.append(forks.start(child))
        if len(running) == 4 or token == count - 1:
            codes = [forks.wait(pid) for pid in running]
            running.clear()
            if any(codes):
                wrong.append(f"children ended with {codes}")
                break
    stop.set()
    put = {name: thread.result() for name, thread in enumerate(putters)}
    busy.put(END)
    gatherer.result()
    if put != seen.numbers:
        wrong.append(f"put {put}, and got {seen.numbers}")
    tokens = sorted(token for _, token, _ in of_children)
    if tokens != sorted([*range(count)] * 3):
        wrong.append(f"of the children came {tokens}")
    metrics = busy.get_metrics()
    if metrics["takeovers"] or metrics["pool_bytes"] != metrics["pool_free_bytes"]:
        wrong.append(f"takeovers of nobody, or blocks in use: {metrics}")
    for queue in (busy, down):
        queue.close()
        queue.unlink()
    _tell(wrong=wrong + seen.wrong, of_children=len(of_children), of_threads=sum(put.values()))


def kill_parents(run_id, count):
    """Parents that put with eight threads are killed; their children live, and the queue does."""
    forks, turns = _ready(), Turns()
    choose = random.Random()
    wrong = []
    items = 0
    queue = SharedMemoryQueue(
        "q", create=True, run_id=run_id, capacity=32, item_size=64, max_processes=3
    )

    def parent():
        threads = [Thread(_put_numbers, queue, name, threading.Event()) for name in range(PUTTERS)]
        child = forks.start(live_on)
        os.write(numbers[1], child.to_bytes(4, sys.byteorder))
        threads[0].result(10 * LIMIT)

    def live_on():
        queue.put(("child", 0, b""))
        os.read(hold[0], 1)
        queue.put(("child", 1, b""))

    for _ in range(count):
        numbers, hold = os.pipe(), os.pipe()
        seen = Gathered()
        pid = forks.start(parent)
        # Somebody gets all the while, or all would soon wait for room.
        stop = threading.Event()

        def gather(seen=seen, stop=stop):
            while not stop.is_set():
                with contextlib.suppress(queue.Empty):
                    seen.take(queue.get(timeout=0.01))

        gatherer = Thread(gather)
        child = int.from_bytes(os.read(numbers[0], 4), sys.byteorder)
        wait_until(lambda seen=seen: seen.numbers.get("child"), "the child's item")
        time.sleep(choose.random() * LONGEST_LIFE_SECONDS)
        forks.kill(pid)
        forks.adopt(child)
        alive = {key: _row(queue, key)["alive"] for key in (pid, child, os.getpid())}
        if alive != {pid: False, child: True, os.getpid(): True}:
            wrong.append(f"parent {pid}, child {child}, alive: {alive}")
        os.write(hold[1], b".")
        if code := forks.wait(child):
            wrong.append(f"the child ended with {code}")
        wait_until(lambda seen=seen: seen.numbers.get("child") == 2, "the child's last item")
        stop.set()
        gatherer.result()
        while queue.qsize():
            seen.take(queue.get_nowait())
        wrong += seen.wrong
        items += sum(seen.numbers.values())
        for fd in (*numbers, *hold):
            os.close(fd)
    turns.close()
    queue.close()
    queue.unlink()
    _tell(wrong=wrong, items=items)


def _ours_among_descriptors(pid):
    """Return what a process has open of any queue."""
    found = []
    for entry in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            target = os.readlink(f"/proc/{pid}/fd/{entry}")
            if "shmq" in target or "eventfd" in target:
                found.append(target)
    return found


def spawn_while_threads_put(run_id, count):
    """By vfork (subprocess, posix_spawn) and by fork and exec."""
    forks, turns = _ready(), Turns()
    named = SharedMemoryQueue("q", create=True, run_id=run_id, capacity=32, item_size=64)
    unnamed = Queue(32)
    unnamed.fileno()
    wrong = []
    programs = os.pipe()

    def spawn():
        stop = threading.Event()
        threads = [
            Thread(_put_numbers, queue, name, stop)
            for queue in (named, unnamed)
            for name in range(4)
        ]
        for _ in range(count):
            assert subprocess.run(["true"], close_fds=False).returncode == 0
            spawned = os.posix_spawn("/bin/true", ["true"], os.environ)
            assert os.waitstatus_to_exitcode(os.waitpid(spawned, 0)[1]) == 0
            spawned = os.fork()
            if spawned == 0:
                os.execv("/bin/true", ["true"])
            assert os.waitstatus_to_exitcode(os.waitpid(spawned, 0)[1]) == 0
        # These outlive their parent: they wait for the end of a pipe.
        cat = subprocess.Popen(["cat"], stdin=hold[0], stdout=subprocess.DEVNULL, close_fds=False)
        spawned = os.posix_spawn(
            "/bin/cat", ["cat"], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, hold[0], 0)]
        )
        for pid in (cat.pid, spawned):
            os.write(programs[1], pid.to_bytes(4, sys.byteorder))
        turns.say()
        threads[0].result(10 * LIMIT)

    hold = os.pipe()
    pid = forks.start(spawn)
    stop = threading.Event()

    def gather(queue):
        while not stop.is_set():
            with contextlib.suppress(queue.Empty if queue is named else named.Empty):
                queue.get(timeout=0.01)

    gatherers = [Thread(gather, queue) for queue in (named, unnamed)]
    turns.hear_from(forks, pid)
    living = [int.from_bytes(os.read(programs[0], 4), sys.byteorder) for _ in range(2)]
    inherited = [target for program in living for target in _ours_among_descriptors(program)]
    if inherited:
        wrong.append(f"programs inherited {inherited}")
    if not _row(named, pid)["alive"]:
        wrong.append("the parent counts as dead")
    forks.kill(pid)
    for program in living:
        forks.adopt(program)
        if forks.poll(program) is not None:
            wrong.append("a program did not outlive its parent")
    for queue in (named, unnamed):
        if _row(queue, pid)["alive"]:
            wrong.append("the parent's seat is held by a program that it started")
        queue.put((0, 0, b""), timeout=LIMIT)
    stop.set()
    for thread in gatherers:
        thread.result()
    for fd in (*hold, *programs):
        os.close(fd)
    for program in living:
        forks.wait(program)
    named.close()
    named.unlink()
    unnamed.close()
    turns.close()
    _tell(wrong=wrong, programs=3 * count + 2)


def exec_while_a_thread_puts(run_id, count):
    """The process lives on as another program; what its thread held is free."""
    forks, turns = _ready(), Turns()
    choose = random.Random()
    wrong = []
    queue = SharedMemoryQueue(
        "q", create=True, run_id=run_id, capacity=8192, item_size=2048, max_processes=2
    )
    # Large enough that somebody is putting most of the time, rather than encoding.
    batch, content = 500, bytes(2000)

    def put_batches(name):
        number = 0
        while True:
            queue.put_batch([(name, number, at, content) for at in range(batch)])
            number += 1

    def live_and_exec():
        for name in range(3):
            threading.Thread(target=put_batches, args=(name,), daemon=True).start()
        turns.say()
        time.sleep(choose.random() * LONGEST_LIFE_SECONDS)
        os.dup2(hold[0], 0)
        os.execv("/bin/cat", ["cat"])

    for _ in range(count):
        hold = os.pipe()
        choose.seed()
        pid = forks.start(live_and_exec)
        turns.hear_from(forks, pid)
        items = []
        while not os.readlink(f"/proc/{pid}/exe").endswith("/cat"):
            # The exec may come where the thread waits for room, too: but mostly not.
            with contextlib.suppress(queue.Empty):
                items += queue.get_batch(1000, timeout=0.002)
        # The kernel lets go of the old memory before the new program's first instruction.
        wait_until(lambda pid=pid: not _row(queue, pid)["alive"], "the seat to be free after exec")
        queue.put("on", timeout=LIMIT)
        while (last := queue.get_batch(1000))[-1] != "on":
            items += last
        items += last[:-1]
        counts = [0] * 3
        for start in range(0, len(items), batch):
            name = items[start][0]
            whole = [(name, counts[name], at, content) for at in range(batch)]
            if items[start : start + batch] != whole:
                wrong.append(f"no whole batch, or not in order: {items[start][:3]}")
                break
            counts[name] += 1
        if forks.poll(pid) is not None:
            wrong.append("the program ended")
        for fd in hold:
            os.close(fd)
        if code := forks.wait(pid):
            wrong.append(f"the program ended with {code}")
    takeovers = queue.get_metrics()["takeovers"]
    queue.close()
    queue.unlink()
    turns.close()
    _tell(wrong=wrong, takeovers=takeovers)


def _become_a_daemon(outcome):
    """What daemonisers do; `outcome` is the only descriptor that stays, as number 3."""
    if os.fork():
        os._exit(0)
    os.setsid()
    if os.fork():
        os._exit(0)
    os.chdir("/")
    os.umask(0)
    os.dup2(outcome, 3)
    os.closerange(4, 4096)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)


def _in_daemons(count, use_before, use, check):
    """Return what was wrong: of daemons that use a queue, and of the parent that looks then."""
    forks = _ready()
    wrong = []

    def child(outcome):
        if use_before is not None:
            use_before()
        _become_a_daemon(outcome)
        try:
            said = use()
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(3, said.encode())
        # The daemon that it becomes is waited for by whoever reads the pipe to its end.
        os._exit(0)

    for _ in range(count):
        reader, writer = os.pipe()
        if code := forks.wait(forks.start(child, writer)):
            wrong.append(f"the first of the daemon's processes ended with {code}")
        os.close(writer)
        with open(reader) as pipe:
            said = pipe.read()
        if complaint := check(said):
            wrong.append(complaint)
    return wrong


def named_in_daemons(run_id, count, used_before):
    queue = SharedMemoryQueue("q", create=True, run_id=run_id, capacity=32, item_size=64)
    seats = []

    def use_before():
        queue.put("before")
        assert queue.get() == "before"

    def use():
        for item in ("small", LARGE, ["batch"]):
            queue.put(item, timeout=LIMIT)
        assert _row(queue, os.getpid())["alive"]
        mine = SharedMemoryQueue("q", run_id=run_id)
        mine.put("attached anew", timeout=LIMIT)
        return "done"

    def check(said):
        got = [queue.get(timeout=LIMIT) for _ in range(4)] if said == "done" else []
        seats.append(len([row for row in seat_rows(queue._attachment) if row["alive"]]))
        whole = ["small", LARGE, ["batch"], "attached anew"]
        return "" if got == whole else f"the daemon said {said}, and put {got}"

    wrong = _in_daemons(count, use_before if used_before else None, use, check)
    queue.close()
    queue.unlink()
    _tell(wrong=wrong)


def unnamed_in_daemons(count, used_before):
    queue = Queue(32)

    def use_before():
        queue.put("before")
        assert queue.get() == "before"

    def use():
        try:
            queue.put("from the daemon", timeout=LIMIT)
        except OSError as error:
            return f"{errno.errorcode[error.errno]} {error}"
        return "done"

    def check(said):
        if queue.qsize():
            got = queue.get(timeout=LIMIT)
            return "" if (said, got) == ("done", "from the daemon") else f"said {said}, put {got}"
        told = said.startswith("EBADF") and "cannot reach" in said
        return "" if told else f"the daemon put nothing, and said {said}"

    wrong = _in_daemons(count, use_before if used_before else None, use, check)
    queue.put("on")
    if queue.get(timeout=LIMIT) != "on":
        wrong.append("the queue does not go on")
    queue.close()
    _tell(wrong=wrong)
