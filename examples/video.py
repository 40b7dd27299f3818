"""Frames for two detectors and a recorder that may lag: one ring, no copies.

A camera makes frames in the stream's memory. Two detectors see every frame, where it lies; a
recorder does as well, but it is slow, and rather loses frames than holds the camera up.

    python examples/video.py [--frames 300]
"""

import argparse
import multiprocessing
import os
import time

from shmqueue import Stream

SHAPE = (720, 1280, 3)


def film(run_id, frames):
    """Put frames, as fast as a camera does."""
    with Stream("camera", run_id=run_id) as stream, stream.writer():
        for number in range(frames):
            with stream.reserve_array(SHAPE, "uint8") as frame:
                frame[:] = number % 256
            time.sleep(1 / 240)


def detect(run_id, name, threshold, results):
    """Count the frames that are brighter than a threshold."""
    with Stream("camera", run_id=run_id) as stream, stream.group(name, create=False) as frames:
        found = sum(1 for frame in frames if frame[::8, ::8].mean() > threshold)
        results.put((name, f"{found} bright frames"))


def record(run_id, results):
    """Keep what a slow disk can keep."""
    with (
        Stream("camera", run_id=run_id) as stream,
        stream.group("recorder", create=False) as frames,
    ):
        kept = 0
        for _frame in frames:
            time.sleep(1 / 60)
            kept += 1
        results.put(("recorder", f"{kept} frames kept, {frames.lapped} lost"))


def main():
    """Start everybody, and print what they saw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=300)
    frames = parser.parse_args().frames
    context = multiprocessing.get_context("spawn")
    run_id = f"video-{os.getpid()}"
    groups = {"motion": {}, "faces": {}, "recorder": {"policy": "lag"}}
    results = context.Queue()
    with Stream("camera", create=True, capacity=16, run_id=run_id, groups=groups) as stream:
        try:
            watchers = [
                context.Process(target=detect, args=(run_id, "motion", 100, results)),
                context.Process(target=detect, args=(run_id, "faces", 200, results)),
                context.Process(target=record, args=(run_id, results)),
            ]
            camera = context.Process(target=film, args=(run_id, frames))
            for process in [*watchers, camera]:
                process.start()
            for name, said in sorted(results.get(timeout=120) for _ in watchers):
                print(f"{name}: {said}")
            for process in [*watchers, camera]:
                process.join()
            megabytes = stream.get_metrics()["pool_bytes"] / 1e6
            print(f"shared memory for frames: {megabytes:.0f} MB")
        finally:
            stream.unlink()


if __name__ == "__main__":
    main()
