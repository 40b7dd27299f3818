"""Programs with a small /dev/shm of their own. Apart from `support`, which every child imports."""

import functools
import subprocess

import pytest

# Runs a command with a /dev/shm of its own: sh -c MOUNT OPTIONS command...
MOUNT = 'mount -t tmpfs -o "$0" tmpfs /dev/shm && exec "$@"'


def with_shared_memory(options):
    """Return what runs a program with a /dev/shm of its own, mounted with these options."""
    return ["unshare", "--mount", "sh", "-c", MOUNT, options]


@functools.cache
def can_mount():
    """Tell whether programs can have a /dev/shm of their own."""
    try:
        done = subprocess.run([*with_shared_memory("size=64k"), "true"], capture_output=True)
    except FileNotFoundError:
        return False
    return done.returncode == 0


needs_mount = pytest.mark.skipif(
    not can_mount(), reason="mounts a small /dev/shm of its own, which is not allowed here"
)
