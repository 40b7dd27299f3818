"""Consumers as objects: what has `consume(items)`, run in threads or processes over a group."""

import logging
import multiprocessing
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty
from types import TracebackType
from typing import Any

from shmqueue.errors import ConsumerDiedError, ShutDown
from shmqueue.groups import Group
from shmqueue.stream import Stream

__all__ = ["Consumers"]

# A consumer that waits looks so often whether it should stop.
LOOK_SECONDS = 0.1
DRAIN_SECONDS = 0.002
POLICIES = ("raise", "skip", "stop")
FIGURES = (
    *("items", "batches", "errors", "consuming_seconds", "blocked_seconds"),
    *("lag", "lag_max", "lag_sum", "started", "ended"),
)

_log = logging.getLogger(__name__)


class _Figures:
    """What one consumer counts, in memory that its maker sees as well; written by it alone."""

    def __init__(self, words: Any, worker: int) -> None:
        self._words = words
        self._first = worker * len(FIGURES)

    def __getitem__(self, name: str) -> float:
        return float(self._words[self._first + FIGURES.index(name)])

    def __setitem__(self, name: str, value: float) -> None:
        self._words[self._first + FIGURES.index(name)] = value


class _Saying:
    """Tells another process what went wrong, whether that can be pickled or not."""

    def __init__(self, sender: Any) -> None:
        self._sender = sender

    def __call__(self, error: BaseException) -> None:
        try:
            self._sender.send(error)
        except Exception:
            self._sender.send(RuntimeError(f"{type(error).__name__}: {error}"))


@dataclass(frozen=True)
class _Task:
    """What each worker does, in a thread or process of its own."""

    stream: Stream
    group: str
    make: Callable[[], Any]
    max_items: int
    linger: float
    on_error: str | Callable[[Any, Exception], object]
    words: Any

    def work(self, worker: int, note: Callable[[BaseException], None]) -> None:
        """Consume as worker of this number; `note` is told of each error that comes out."""
        seen = _Figures(self.words, worker)
        seen["started"] = time.monotonic()
        errors: list[BaseException] = []

        def keep(error: BaseException) -> None:
            errors.append(error)
            note(error)

        try:
            self._serve(seen, keep)
        except Exception as error:
            _log.exception("consumer %d of group %r stops", worker, self.group)
            seen["errors"] += 1
            self.words[-1] = 1.0
            keep(error)
        finally:
            seen["ended"] = time.monotonic()
            # Who keeps the errors shall not keep the handles and items of those calls.
            for kept in errors:
                traceback.clear_frames(kept.__traceback__)

    def _serve(self, seen: _Figures, keep: Callable[[BaseException], None]) -> None:
        with self.stream.group(self.group, create=False) as taken:
            consumer = self.make()
            try:
                self._consume_all(consumer, taken, seen, keep)
            finally:
                close = getattr(consumer, "close", None)
                if close is not None:
                    close()

    def _consume_all(
        self,
        consumer: Any,
        taken: Group,
        seen: _Figures,
        keep: Callable[[BaseException], None],
    ) -> None:
        while not self.words[-1]:
            begun = time.monotonic()
            failure = None
            try:
                items = taken.get_batch(self.max_items, timeout=LOOK_SECONDS)
            except Empty:
                continue
            except ShutDown:
                return
            finally:
                seen["blocked_seconds"] += time.monotonic() - begun
            if self.linger and len(items) < self.max_items:
                until = time.monotonic() + self.linger
                items, failure = taken._linger(items, self.max_items, until)
            seen["lag"] = taken.lag()
            seen["lag_max"] = max(seen["lag_max"], seen["lag"])
            seen["lag_sum"] += seen["lag"]
            begun = time.monotonic()
            try:
                consumer.consume(items)
            except Exception as error:
                if self.on_error == "raise" or self.on_error == "stop":
                    raise
                _log.exception("%d items of group %r were not consumed", len(items), taken.name)
                seen["errors"] += 1
                if callable(self.on_error):
                    self.on_error(items, error)
                else:
                    keep(error)
            seen["consuming_seconds"] += time.monotonic() - begun
            seen["items"] += len(items)
            seen["batches"] += 1
            del items
            taken.done()
            if failure is not None:
                raise failure


class Consumers:
    """Run consumers over a group of a stream, until it is at its end or they are stopped.

    Parameters
    ----------
    stream : Stream
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
    on_error : {"raise", "stop", "skip"} or callable, default "raise"
        What becomes of an error of ``consume``. ``"raise"``: all consumers stop, and `join` raises
        it. ``"stop"``: they stop, and `errors` has it. ``"skip"``: the items are passed over, and
        `errors` has it. A callable gets the items and the error, and the consumer goes on; what it
        raises counts as with ``"raise"``. Each error is logged.

    Attributes
    ----------
    errors : list of BaseException
        What went wrong so far.

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
    ) -> None:
        if workers < 1 or max_items < 1:
            raise ValueError("workers and max_items must be at least 1")
        if not linger >= 0:
            raise ValueError(f"linger must be seconds, 0 or more, not {linger}")
        if not callable(make):
            raise TypeError(f"make must be callable, and make a consumer: {make!r} is not")
        if not callable(on_error) and on_error not in POLICIES:
            raise ValueError(
                f"on_error must be one of {', '.join(POLICIES)} or callable, not {on_error!r}"
            )
        self.errors: list[BaseException] = []
        self._stream = stream
        self._policy = on_error
        self._handle = stream.group(group, create=False)
        self._handle._track()
        context = multiprocessing if processes is True else processes
        self._is_of_processes = bool(processes)
        # Words without a lock: whoever is killed leaves none locked. The last one: all shall stop.
        self._words = multiprocessing.RawArray("d", workers * len(FIGURES) + 1)
        self._receivers: list[Any] = []
        self._senders: list[Any] = []
        self._workers: list[Any] = []
        task = _Task(stream, group, make, max_items, linger, on_error, self._words)
        for worker in range(workers):
            if self._is_of_processes:
                receiver, sender = context.Pipe(duplex=False)
                self._receivers.append(receiver)
                self._senders.append(sender)
                self._workers.append(
                    context.Process(target=task.work, args=(worker, _Saying(sender)))
                )
            else:
                self._workers.append(
                    threading.Thread(
                        target=task.work, args=(worker, self.errors.append), daemon=True
                    )
                )

    def start(self) -> "Consumers":
        """Start them; returns itself."""
        for worker in self._workers:
            worker.start()
        for sender in self._senders:
            sender.close()  # so that the end of the process is the end of what it says
        return self

    def stop(self) -> None:
        """Have them stop, each after the items that it has; `join` waits for that."""
        self._words[-1] = 1.0

    def drain(self, timeout: float | None = None) -> None:
        """Wait until everything that was put before is consumed.

        Parameters
        ----------
        timeout : float, optional
            Seconds; None waits for ever.

        Raises
        ------
        TimeoutError
            If that took longer.
        Exception
            As `join`, if they stopped before.
        """
        wanted = self._stream._next_sequence()
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._handle._is_finished(wanted):
            if not any(worker.is_alive() for worker in self._workers):
                self.join()
                raise ShutDown("the consumers had stopped before all was consumed")
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"not all was consumed within {timeout:g} s")
            time.sleep(DRAIN_SECONDS)

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
            If the process of one was killed; the others went on.
        Exception
            The first error of a consumer, with ``on_error="raise"``.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        for number, worker in enumerate(self._workers):
            if self._is_of_processes:
                self._hear(number, deadline)
            worker.join(None if deadline is None else max(0.0, deadline - time.monotonic()))
            if worker.is_alive():
                raise TimeoutError(f"a consumer was still at work after {timeout:g} s")
            code = getattr(worker, "exitcode", 0)
            if code and not any(
                isinstance(error, ConsumerDiedError) and error.worker == number
                for error in self.errors
            ):
                self.errors.append(ConsumerDiedError(number, code))
        self._handle.close()
        if self._policy == "raise" or callable(self._policy):
            for error in self.errors:
                raise error
        for error in self.errors:
            if isinstance(error, ConsumerDiedError):
                raise error

    def statistics(self) -> list[dict[str, float]]:
        """Return a dict for each consumer.

        Returns
        -------
        list of dict
            ``items``, ``batches``, ``errors``; ``consuming_seconds`` and ``blocked_seconds``
            (waiting for items); ``rate`` (items a second, since it began); ``lag``, ``lag_max`` and
            ``lag_mean`` (items that were put and not taken when a batch was, by the whole group).
        """
        rows = []
        for worker in range(len(self._workers)):
            seen = _Figures(self._words, worker)
            ended = seen["ended"] or time.monotonic()
            seconds = ended - seen["started"] if seen["started"] else 0.0
            rows.append(
                {
                    "items": int(seen["items"]),
                    "batches": int(seen["batches"]),
                    "errors": int(seen["errors"]),
                    "consuming_seconds": seen["consuming_seconds"],
                    "blocked_seconds": seen["blocked_seconds"],
                    "rate": seen["items"] / seconds if seconds > 0 else 0.0,
                    "lag": int(seen["lag"]),
                    "lag_max": int(seen["lag_max"]),
                    "lag_mean": seen["lag_sum"] / seen["batches"] if seen["batches"] else 0.0,
                }
            )
        return rows

    def _hear(self, number: int, deadline: float | None) -> None:
        """Take what a process says went wrong, until it has ended."""
        receiver = self._receivers[number]
        while not receiver.closed:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not receiver.poll(left):
                return
            try:
                self.errors.append(receiver.recv())
            except EOFError:
                receiver.close()

    def __enter__(self) -> "Consumers":
        """Start them."""
        return self.start()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        """Stop them, and wait until they have."""
        self.stop()
        self.join()
