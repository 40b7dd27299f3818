"""A camera pipeline: frames -> two workers -> collector, without a copy of a frame.

The camera draws each frame straight into the queue's memory; a worker gets the frame where it lies
and thresholds it in place; the collector checks the results and shows how many come a second.
"""

import argparse
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from queue import Empty

from shmqueue import SharedMemoryQueue, ShutDown

try:
    import numpy as np
except ImportError as error:
    sys.exit(f"{error.name} is missing: pip install numpy")

ROOM = 8
"""Frames that wait for a worker; with all places taken the camera waits."""

SQUARE = 64
"""Side of the bright square that wanders through the picture."""

THRESHOLD = 128


def frame_type(width, height):
    """Return the dtype of a frame: the picture and what is to be known of it."""
    return np.dtype([("number", "<i8"), ("taken_ns", "<i8"), ("image", "u1", (height, width, 3))])


def camera(queue, count, width, height):
    """Draw `count` frames into the queue, then say that there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the collector says when to end
    kind = frame_type(width, height)
    background = np.full((height, width, 3), THRESHOLD // 2, np.uint8)
    try:
        for number in range(count):
            with queue.reserve_array(1, kind) as frame:
                draw(frame, number, background)
        queue.shutdown()
    except ShutDown:
        pass  # the collector has had enough


def draw(frame, number, background):
    """Draw one frame: a bright square on a dark ground. No reference to its memory is kept."""
    image = frame["image"][0]
    height, width = image.shape[:2]
    x, y = 7 * number % (width - SQUARE + 1), 5 * number % (height - SQUARE + 1)
    image[...] = background
    image[y : y + SQUARE, x : x + SQUARE] = 255
    frame["number"] = number
    frame["taken_ns"] = time.monotonic_ns()


def work(frames, results):
    """Process frames in place until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        while True:
            frame = frames.get()
            image = frame["image"][0]
            bright = np.greater(image, THRESHOLD, out=image)
            found = int(np.count_nonzero(bright.view(bool)))
            results.put((int(frame["number"][0]), int(frame["taken_ns"][0]), found))
            # Gives the memory back before waiting for the next frame.
            del frame, image, bright
    except ShutDown:
        pass


class Collector:
    """Checks what arrives, and shows how fast on a terminal."""

    def __init__(self):
        self.due = 0  # the first frame that has not arrived yet
        self.early = set()  # those that have, from there on
        self.latencies_ns = []
        self.started_ns = self.last_ns = self.shown_ns = 0

    def take(self, number, taken_ns, found):
        """Take the result of one frame; those of different workers may change places."""
        assert found == 3 * SQUARE * SQUARE, f"frame {number} is damaged"
        assert number >= self.due, f"frame {number} came twice"
        self.early.add(number)
        while self.due in self.early:
            self.early.remove(self.due)
            self.due += 1
        self.last_ns = time.monotonic_ns()
        self.started_ns = self.started_ns or taken_ns
        self.latencies_ns.append(self.last_ns - taken_ns)
        if sys.stderr.isatty() and self.last_ns - self.shown_ns > 200_000_000:
            self.shown_ns = self.last_ns
            sys.stderr.write(f"\r\x1b[K{len(self.latencies_ns)} frames, {self.rate():,.0f}/s")
            sys.stderr.flush()

    def rate(self):
        """Return the frames a second, from the first one drawn to the last one here."""
        seconds = (self.last_ns - self.started_ns) / 1e9
        return len(self.latencies_ns) / seconds if seconds else 0.0

    def summary(self, width, height):
        """Return what there is to say at the end."""
        if sys.stderr.isatty():
            sys.stderr.write("\r\x1b[K")
        rate = self.rate()
        latency_ms = float(np.median(self.latencies_ns or [0])) / 1e6
        return {
            "frames": len(self.latencies_ns),
            "width": width,
            "height": height,
            "frames_per_second": round(rate, 1),
            "megabytes_per_second": round(rate * width * height * 3 / 1e6, 1),
            "median_latency_ms": round(latency_ms, 3),
        }


def collect(results, count, processes, collector, stop):
    """Collect until every frame has been through, a process has died, or Ctrl-C."""
    while collector.due < count and not stop.is_set():
        try:
            collector.take(*results.get(timeout=0.2))
        except Empty:
            for process in processes:
                if process.exitcode:
                    sys.exit(f"{process.name} died, exit status {process.exitcode}")


def size(text):
    """Parse WIDTHxHEIGHT."""
    width, _, height = text.partition("x")
    width, height = int(width), int(height)
    if min(width, height) < SQUARE:
        raise argparse.ArgumentTypeError(f"at least {SQUARE}x{SQUARE}")
    return width, height


def main():
    """Run the pipeline and print its frame rate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=2000)
    parser.add_argument("--size", type=size, default=(1920, 1080), help="WIDTHxHEIGHT")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    width, height = options.size

    stop = threading.Event()
    signal.signal(signal.SIGINT, lambda number, frame: stop.set())
    run_id = str(os.getpid())
    frames = SharedMemoryQueue("camera-frames", create=True, capacity=ROOM, run_id=run_id)
    results = SharedMemoryQueue("camera-results", create=True, run_id=run_id)
    processes = [
        multiprocessing.Process(
            target=camera, args=(frames, options.frames, width, height), name="camera"
        )
    ]
    processes += [
        multiprocessing.Process(target=work, args=(frames, results), name=f"worker-{i}")
        for i in range(options.workers)
    ]
    collector = Collector()
    try:
        for process in processes:
            process.start()
        collect(results, options.frames, processes, collector, stop)
    finally:
        for queue in (frames, results):
            queue.shutdown(immediate=True)
        for process in processes:
            process.join()
        for queue in (frames, results):
            queue.close()
            queue.unlink()

    summary = collector.summary(width, height)
    if options.json:
        print(json.dumps(summary))
    else:
        print(
            "{frames} frames of {width}x{height}: {frames_per_second:,.0f} frames/s,"
            " {megabytes_per_second:,.0f} MB/s, {median_latency_ms} ms from camera to collector"
            " (median)".format(**summary)
        )
    sys.exit(128 + signal.SIGINT if stop.is_set() else 0)


if __name__ == "__main__":
    main()
