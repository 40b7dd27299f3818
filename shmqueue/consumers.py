"""Consumers as objects: what has `consume(items)`, run in threads or processes over a group."""

import contextlib
import multiprocessing
import multiprocessing.connection
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from queue import Empty
from types import TracebackType
from typing import Any, NamedTuple

from shmqueue.errors import ConsumerDiedError, GroupRemovedError, ShutDown
from shmqueue.groups import Group, seconds_of
from shmqueue.stream import Stream

__all__ = ["Consumers"]

# A consumer that waits looks so often whether it should stop.
LOOK_SECONDS = 0.1
DRAIN_SECONDS = 0.002
POLICIES = ("raise", "shutdown", "skip", "stop")
FIGURES = (
    *("items", "batches", "errors", "consuming_seconds", "blocked_seconds"),
    *("lag_max", "lag_sum", "started", "ended"),
)
# In the flags of /proc/PID/stat: the process is on its way out (linux/sched.h).
PF_EXITING = 4


class _Figures:
    """What one consumer counts, in memory that its maker sees as well; written by it alone."""

    def __init__(self, words: Any, worker: int) -> None:
        self._words = words
        self._first = worker * len(FIGURES)

    def __getitem__(self, name: str) -> float:
        return float(self._words[self._first + FIGURES.index(name)])

    def __setitem__(self, name: str, value: float) -> None:
        self._words[self._first + FIGURES.index(name)] = value


class _Heard:
    """What went wrong in all consumers."""

    def __init__(self) -> None:
        self.errors: list[BaseException] = []
        self.fatal: list[BaseException] = []

    def __call__(self, error: BaseException, is_fatal: bool) -> None:
        """Hear of an error, and whether it ended a consumer."""
        self.errors.append(error)
        if is_fatal:
            self.fatal.append(error)


class _Saying:
    """Tells another process what went wrong, whether that can be pickled or not."""

    def __init__(self, sender: Any) -> None:
        self._sender = sender

    def __call__(self, error: BaseException, is_fatal: bool) -> None:
        try:
            pickled = pickle.dumps(error)
        except Exception:
            pickled = b""
        # Whoever made the consumers may be gone: they go on without.
        with contextlib.suppress(OSError):
            self._sender.send((pickled, f"{type(error).__name__}: {error}", is_fatal))


def _loaded(pickled: bytes, text: str) -> BaseException:
    """Return an error that was told, or what it was, where it can't be loaded here."""
    try:
        error = pickle.loads(pickled)
    except Exception:
        error = None
    return error if isinstance(error, BaseException) else RuntimeError(text)


class _Task(NamedTuple):
    """What each worker does, in a thread or process of its own."""

    stream: Stream
    group: str
    make: Callable[[], Any]
    max_items: int
    linger: float
    on_error: str | Callable[[Any, Exception], object]
    options: dict[str, Any]
    words: Any

    def work(self, worker: int, note: Callable[[BaseException, bool], None]) -> None:
        """Consume as worker of this number; `note` is told of each error."""
        _Worker(self, worker, note).work()

    def work_in_process(self, worker: int, sender: Any, inherited: list[Any]) -> None:
        """Do so, and tell of errors by a pipe."""
        # The other ends of pipes: with them open, none would break when who listens is gone.
        for receiver in inherited:
            receiver.close()
        self.work(worker, _Saying(sender))


class _Worker:
    """One of those who work at a task."""

    def __init__(
        self, task: _Task, number: int, note: Callable[[BaseException, bool], None]
    ) -> None:
        self._task = task
        self._number = number
        self._note = note
        self._seen = _Figures(task.words, number)
        self._tracebacks: list[TracebackType] = []
        self._lag = 0

    def work(self) -> None:
        """Consume until there is nothing more to do, or something ends that."""
        self._seen["started"] = time.monotonic()
        self._serve()
        # Who keeps the errors shall not keep the handles and items of those calls.
        _forget(self._tracebacks)
        self._seen["ended"] = time.monotonic()

    def _serve(self) -> None:
        task = self._task
        with (
            self._told(),
            task.stream.group(task.group, create=False, **task.options) as taken,
            # Told before the handle is closed, which finishes what it had: whoever sees that it
            # is finished can know that it failed, and nobody takes it of a stream that is shut.
            self._told(),
        ):
            consumer = task.make()
            try:
                with self._told():
                    self._consume_all(consumer, taken)
                if lost := taken._kept():
                    what = "%d more items that consumer %d of group %r had taken are lost"
                    _log(None, what, lost, self._number, task.group)
            finally:
                close = getattr(consumer, "close", None)
                if close is not None:
                    close()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Tell of what ends this worker."""
        try:
            yield
        except BaseException as error:
            self._tell(error)

    def _tell(self, error: BaseException) -> None:
        """Tell of what ends this worker; it ends all."""
        task = self._task
        self._tracebacks += _tracebacks_of(error)
        self._seen["errors"] += 1
        task.words[-1] = 1.0
        if task.on_error == "shutdown":
            # Before the error is told: who waits in `put` does not listen, and a pipe may be
            # full. At once, since those behind this group would wait for what it never
            # finishes. ValueError: a handle that was closed here shuts nothing.
            with contextlib.suppress(ValueError):
                task.stream.shutdown(immediate=True)
        self._note(_raisable(error, self._number), True)
        # Last: whoever handles what is logged may take long, or raise.
        _log(error, "consumer %d of group %r stops", self._number, task.group)

    def _consume_all(self, consumer: Any, taken: Group) -> None:
        """Consume until all shall stop; what was taken by then is consumed as well."""
        # Items are kept behind one that fails to load. They are got without a look at the ring.
        while (kept := taken._kept()) or not self._task.words[-1]:
            # What was taken is in it whatever a signal's handler interrupts.
            batches: list[Any] = []
            try:
                self._take_batch(taken, batches)
                items = taken._joined(batches)
                self._count(taken, items)
            except Empty:
                continue
            except ShutDown:
                return
            except BaseException as error:
                taken._keep_batches(batches)
                # What was taken, or there is no memory for, would be kept again, for ever.
                if (
                    batches
                    or not isinstance(error, Exception)
                    or (isinstance(error, MemoryError) and kept)
                ):
                    raise
                self._tell(error)
                continue
            del batches
            passed_over = self._consume(consumer, items)
            del items
            _forget(passed_over)
            del passed_over
            # Not while anything is kept: nor, then, before what failed to load was told.
            taken.done()

    def _take_batch(self, taken: Group, batches: list[Any]) -> None:
        begun = time.monotonic()
        try:
            taken._take_batch(batches, self._task.max_items, LOOK_SECONDS, self._linger)
        finally:
            self._seen["blocked_seconds"] += time.monotonic() - begun

    def _count(self, taken: Group, items: Any) -> None:
        """Count a batch that was taken."""
        seen = self._seen
        with contextlib.suppress(GroupRemovedError):  # the items are there all the same
            self._lag = taken.lag()
        # In this order, and read in the opposite one: the mean is never above the maximum.
        seen["lag_max"] = max(seen["lag_max"], self._lag)
        seen["batches"] += 1
        seen["lag_sum"] += self._lag
        seen["items"] += len(items)

    def _linger(self) -> float:
        """Return how many seconds to wait for more items: none, once all shall stop."""
        return 0.0 if self._task.words[-1] else self._task.linger

    def _consume(self, consumer: Any, items: Any) -> list[TracebackType]:
        """Have a batch consumed; return what to forget of an error that was passed over."""
        task, seen = self._task, self._seen
        passed_over = []
        begun = time.monotonic()
        try:
            consumer.consume(items)
        except Exception as error:
            if task.on_error != "skip" and not callable(task.on_error):
                raise
            if callable(task.on_error):
                task.on_error(items, error)
            else:
                passed_over = _tracebacks_of(error)
                self._note(error, False)
            # Not before: what `on_error` raises is counted where it ends the worker.
            seen["errors"] += 1
            _log(error, "%d items of group %r were not consumed", len(items), task.group)
        finally:
            seen["consuming_seconds"] += time.monotonic() - begun
        return passed_over


def _tracebacks_of(error: BaseException) -> list[TracebackType]:
    """Return the tracebacks of an error, and of all those that it refers to."""
    found: list[TracebackType] = []
    seen: set[int] = set()
    others: list[object] = [error]
    while others:
        other = others.pop()
        if not isinstance(other, BaseException) or id(other) in seen:
            continue
        seen.add(id(other))
        if other.__traceback__ is not None:
            found.append(other.__traceback__)
        members = getattr(other, "exceptions", ())  # of an ExceptionGroup
        others += [other.__cause__, other.__context__, *(members if type(members) is tuple else ())]
    return found


# Both import what takes a while to import, for those whose consumers fail.


def _log(error: BaseException | None, message: str, *args: object) -> None:
    """Log an error; what handles that may fail, and nothing else with it."""
    with contextlib.suppress(Exception):
        import logging

        logging.getLogger(__name__).error(message, *args, exc_info=error, stacklevel=2)


def _forget(tracebacks: list[TracebackType]) -> None:
    """Let go of what the calls of errors had in their variables."""
    import traceback

    for frames in tracebacks:
        traceback.clear_frames(frames)


def _raisable(error: BaseException, worker: int) -> Exception:
    """Return an error as it is for `join`, which shall not end the program that calls it."""
    if isinstance(error, Exception):
        return error
    code = (error.code or 0) if isinstance(error, SystemExit) else 1
    died = ConsumerDiedError(worker, code if isinstance(code, int) else 1, repr(error))
    died.__cause__ = error
    return died


def _deadline_of(timeout: float | None) -> float | None:
    """Return when a wait is over; None: never."""
    return None if timeout is None else time.monotonic() + timeout


def _seconds_until(deadline: float | None) -> float | None:
    """Return the seconds left until a deadline, 0 once it is past."""
    return None if deadline is None else max(0.0, deadline - time.monotonic())


def _is_exiting(pid: int) -> bool:
    """Whether a child of ours that nobody has waited for is on its way out."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            flags = int(file.read().rpartition(")")[2].split()[6])
    except OSError:
        return False
    return bool(flags & PF_EXITING)


class Consumers:
    """Run consumers over a group of a stream, until it is at its end or they are stopped.

    Parameters
    ----------
    stream : Stream
        Stays open while they run.
    group : str
        Of the stream; its consumers share the items.
    make : callable
        Makes a consumer: something with ``consume(items)``, which gets a batch, and perhaps
        ``close()``. Called without arguments, in the thread or process of each.
    workers : int, default 1
    processes : bool or multiprocessing context, default False
        Whether each has a process of its own, and of which context, rather than a thread.
    max_items : int, default 100
        Most items of a list.
    linger : float, default 0.0
        Seconds to wait for more of them, once there is one.
    on_error : {"raise", "shutdown", "stop", "skip"} or callable, default "raise"
        What becomes of an error of ``consume``. ``"raise"``: all consumers stop, and `join` raises
        it. ``"shutdown"``: the same, and the stream is shut down at once for everybody, so that
        producers and other stages get ShutDown. ``"stop"``: they stop, and `errors` has it.
        ``"skip"``: the items are passed over, and `errors` has it. A callable gets the items and
        the error, and the consumer goes on; what it raises counts as with ``"raise"``, as does with
        ``"skip"`` and a callable whatever else ends a consumer, SystemExit for one, or an item that
        fails to load: what was taken behind it is consumed before the consumer ends. Each error is
        logged. With ``"raise"`` and ``"stop"`` the group stays, and producers wait for it once the
        ring is full, until others consume it or it is removed.
    writes, copy
        As of `Stream.group`.

    Attributes
    ----------
    errors : list of BaseException
        What went wrong so far. They keep no variables of the calls that they came from.

    Raises
    ------
    ValueError, TypeError, LookupError
        If an argument cannot be.

    Examples
    --------
    >>> from shmqueue import Consumers, Stream
    >>> class Sum:
    ...     def consume(self, items):
    ...         print(sum(items))
    >>> with Stream("numbers", create=True, run_id="docs", groups=["sum"]) as stream:
    ...     with stream.writer() as out:
    ...         out.put_batch(range(10))
    ...     Consumers(stream, "sum", Sum).start().join()
    ...     stream.unlink()
    45
    """

    def __init__(
        self,
        stream: Stream,
        group: str,
        make: Callable[[], Any],
        *,
        workers: int = 1,
        processes: Any = False,
        max_items: int = 100,
        linger: float = 0.0,
        on_error: str | Callable[[list[Any], Exception], object] = "raise",
        writes: bool = False,
        copy: bool | None = None,
    ) -> None:
        if workers < 1 or max_items < 1:
            raise ValueError("workers and max_items must be at least 1")
        linger = seconds_of(linger)
        if not callable(make):
            raise TypeError(f"make must be callable, and make a consumer: {make!r} is not")
        if not callable(on_error) and on_error not in POLICIES:
            raise ValueError(
                f"on_error must be one of {', '.join(POLICIES)} or callable, not {on_error!r}"
            )
        self._heard = _Heard()
        self._hearing = threading.Lock()
        self._stream = stream
        options: dict[str, Any] = {"writes": writes, "copy": copy}
        self._handle = stream.group(group, create=False, **options)
        self._handle._track()
        self._finished = 0
        self._lag = self._handle.lag()
        self._context = multiprocessing if processes is True else processes
        self._count = workers
        # Words without a lock: whoever is killed leaves none locked. The last one: all shall stop.
        self._words = multiprocessing.RawArray("d", workers * len(FIGURES) + 1)
        self._receivers: list[Any] = []
        # So that no process waits for room in its pipe until somebody asks for errors.
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._workers: list[Any] = []
        self._task = _Task(stream, group, make, max_items, linger, on_error, options, self._words)

    @property
    def errors(self) -> list[BaseException]:
        """What went wrong so far."""
        self._hear_all()
        return self._heard.errors

    def start(self) -> "Consumers":
        """Start them; returns itself.

        Raises
        ------
        RuntimeError
            If they were started before.
        """
        if self._workers:
            raise RuntimeError("these consumers were started already: make new ones")
        try:
            for number in range(self._count):
                self._start_one(number)
        except BaseException:
            self.stop()
            raise
        finally:
            if self._receivers:
                self._listener.start()
        return self

    def _start_one(self, number: int) -> None:
        if not self._context:
            thread = threading.Thread(
                target=self._task.work, args=(number, self._heard), daemon=True
            )
            thread.start()
            self._workers.append(thread)
            return
        receiver, sender = self._context.Pipe(duplex=False)
        # Closed here before the next one is forked, so that the end of a process is the end of
        # what it says.
        with sender:
            is_forked = self._context.get_start_method() == "fork"
            inherited = [*self._receivers, receiver] if is_forked else []
            process = self._context.Process(
                target=self._task.work_in_process, args=(number, sender, inherited)
            )
            try:
                process.start()
            except BaseException:
                receiver.close()
                raise
        self._receivers.append(receiver)
        self._workers.append(process)

    def stop(self) -> None:
        """Have them stop, each after the items that it has; `join` waits for that.

        Those that it took behind an item that fails to load included; `join` raises that error.
        """
        self._words[-1] = 1.0

    def drain(self, timeout: float | None = None) -> None:
        """Wait until everything that was put before is consumed.

        What was passed over, with ``on_error="skip"`` or a callable, counts as consumed.

        Parameters
        ----------
        timeout : float, optional
            Seconds; None waits for ever.

        Raises
        ------
        TimeoutError
            If that took longer.
        ConsumerDiedError
            If one died since they were started: what it had is lost. The others have consumed the
            rest, unless all had ended.
        RuntimeError
            If they were not started, or have ended before all was consumed: they were stopped, the
            stream was shut down at once, or by an error with ``on_error="stop"``.
        Exception
            As `join`, if an error ended one.
        """
        self._check_started()
        wanted = self._stream._next_sequence()
        deadline = _deadline_of(timeout)
        while not self._is_finished(wanted):
            self._hear_all()
            if not any(worker.is_alive() for worker in self._workers):
                self.join()
                if self._is_finished(wanted):
                    break
                raise RuntimeError(self._ended_early())
            if _seconds_until(deadline) == 0:
                raise TimeoutError(f"not all was consumed within {timeout:g} s")
            time.sleep(DRAIN_SECONDS)
        # Whoever died holding items was seen to before they counted as finished: it is at least on
        # its way out.
        self._hear_all()
        for number, worker in enumerate(self._workers):
            if self._context and worker.is_alive() and _is_exiting(worker.pid):
                worker.join(_seconds_until(deadline))
            if not worker.is_alive():
                self._bury(number)
        self._raise_fatal()
        if self._heard.fatal:
            raise RuntimeError(self._ended_early()) from self._heard.fatal[0]

    def join(self, timeout: float | None = None) -> None:
        """Wait until they have ended: at the end of the stream, or because they were stopped.

        Parameters
        ----------
        timeout : float, optional
            Seconds; None waits for ever.

        Raises
        ------
        TimeoutError
            If that took longer.
        ConsumerDiedError
            If one was left by SystemExit or the like, or its process ended or was killed. Being
            killed stops nobody: the others went on. Where none is left nobody consumes the group,
            whatever `on_error` says.
        RuntimeError
            If they were not started.
        Exception
            The first error that ended a consumer, unless with ``on_error="stop"``.
        """
        self._check_started()
        deadline = _deadline_of(timeout)
        for number, worker in enumerate(self._workers):
            worker.join(_seconds_until(deadline))
            if worker.is_alive():
                raise TimeoutError(f"a consumer was still at work after {timeout:g} s")
            self._bury(number)
        self._look_at_lag()
        self._is_finished(0)  # the last look before it is closed
        self._handle.close()
        if self._receivers:
            # Longer, for whatever else has an end of a pipe, it may go on by itself.
            self._listener.join(LOOK_SECONDS)
        self._raise_fatal()

    def statistics(self) -> list[dict[str, float]]:
        """Return a dict for each consumer.

        Returns
        -------
        list of dict
            ``items`` and ``batches`` that ``consume`` was given, those that it failed on included;
            ``errors``; ``consuming_seconds`` and ``blocked_seconds`` (waiting for items); ``rate``
            (items a second, since it began); ``lag`` (items that are put and not taken, by the
            whole group: now, or when `join` returned), ``lag_max`` and ``lag_mean`` (the same, each
            time this one took a batch).
        """
        self._look_at_lag()
        rows = []
        for worker in range(self._count):
            seen = _Figures(self._words, worker)
            ended = seen["ended"] or time.monotonic()
            seconds = ended - seen["started"] if seen["started"] else 0.0
            lag_sum, batches = seen["lag_sum"], seen["batches"]
            rows.append(
                {
                    "items": int(seen["items"]),
                    "batches": int(batches),
                    "errors": int(seen["errors"]),
                    "consuming_seconds": seen["consuming_seconds"],
                    "blocked_seconds": seen["blocked_seconds"],
                    "rate": seen["items"] / seconds if seconds > 0 else 0.0,
                    "lag": self._lag,
                    "lag_max": int(seen["lag_max"]),
                    "lag_mean": lag_sum / batches if batches else 0.0,
                }
            )
        return rows

    def _is_finished(self, sequence: int) -> bool:
        """Whether the group has finished all items before a sequence; of one closed, as it was."""
        with contextlib.suppress(ValueError):
            self._finished = self._handle._finished()
        return self._finished >= sequence

    def _check_started(self) -> None:
        if not self._workers:
            raise RuntimeError("these consumers were not started: start() them first")

    def _ended_early(self) -> str:
        why = "an error ended them, see `errors`" if self._heard.fatal else "they were stopped"
        return (
            f"the consumers ended before all was consumed ({why}): let others consume group"
            f" {self._task.group!r}, or remove it"
        )

    def _look_at_lag(self) -> None:
        """Look how far behind the group is; of one that is closed or gone the last look counts."""
        with contextlib.suppress(ValueError, RuntimeError):
            self._lag = self._handle.lag()

    def _listen(self) -> None:
        """Take what the processes say went wrong, until all have ended."""
        while there := [receiver for receiver in self._receivers if not receiver.closed]:
            receiver: Any
            for receiver in multiprocessing.connection.wait(there):
                if not self._hear(receiver):
                    # Here alone, so that none is closed while it is waited for.
                    with self._hearing:
                        receiver.close()

    def _hear(self, receiver: Any) -> bool:
        """Take what a process has said went wrong; return whether it may say more."""
        with self._hearing:
            try:
                while not receiver.closed and receiver.poll(0):
                    pickled, text, is_fatal = receiver.recv()
                    self._heard(_loaded(pickled, text), is_fatal)
            except (EOFError, OSError):  # it ended, or was killed while it said something
                return False
        return True

    def _hear_all(self) -> None:
        for receiver in self._receivers:
            self._hear(receiver)

    def _bury(self, number: int) -> None:
        """Note that one has died, if it has not ended as consumers do, nor said why."""
        self._hear_all()
        has_ended = bool(_Figures(self._words, number)["ended"])
        code = self._workers[number].exitcode if self._context else int(not has_ended)
        if (code or not has_ended) and not any(
            isinstance(error, ConsumerDiedError) and error.worker == number
            for error in self._heard.fatal
        ):
            self._heard(ConsumerDiedError(number, code), True)

    def _raise_fatal(self) -> None:
        for error in self._heard.fatal:
            if self._task.on_error != "stop" or isinstance(error, ConsumerDiedError):
                raise error

    def __enter__(self) -> "Consumers":
        """Start them."""
        return self.start()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        """Stop them, and wait until they have.

        An error of theirs comes out, unless the block was left by KeyboardInterrupt or the like.
        """
        self.stop()
        try:
            self.join()
        except Exception as error:
            if error is not exc and (exc is None or isinstance(exc, Exception)):
                raise
