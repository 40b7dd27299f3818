"""What the numbers depend on: processor, memory, kernel, Python, commit."""

import os
import platform
import subprocess
import sys

_BUSY_LOAD_PER_CORE = 0.5


def describe():
    """The machine, as a dict for the results."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "cores_of_machine": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "kernel": f"{platform.system()} {platform.release()}",
        "architecture": platform.machine(),
        "virtual": _is_virtual(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "compiler": platform.python_compiler(),
        "executable_bits": 64 if sys.maxsize > 2**32 else 32,
    }


def warnings():
    """What makes the numbers of this machine, now, worth less."""
    found = []
    cores = len(os.sched_getaffinity(0))
    if cores < 2:
        found.append("one core only: producers and consumers cannot run at the same time")
    load = os.getloadavg()[0]
    if load > _BUSY_LOAD_PER_CORE * cores:
        found.append(f"the machine is busy (load {load:.1f} on {cores} cores)")
    return found


def git_state(root):
    """Commit and whether tracked files differ from it; None where there is no repository."""
    commit = _git(root, "rev-parse", "HEAD")
    if commit is None:
        return None
    changes = _git(root, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "dirty": bool(changes)}


def _git(root, *arguments):
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _cpu_info(field):
    try:
        with open("/proc/cpuinfo") as file:
            for line in file:
                name, _, value = line.partition(":")
                if name.strip() == field:
                    return value.strip()
    except OSError:
        pass
    return ""


def _cpu_model():
    return _cpu_info("model name") or platform.processor() or platform.machine()


def _is_virtual():
    return "hypervisor" in _cpu_info("flags").split()
