"""The program that kills at every instruction: built from the package's own headers, and run.

`killpoints.c` says how it is called. It is C without Python in it, so that an operation has
hundreds of instructions rather than hundreds of thousands, and each may be the last one.
"""

import json
import os
import shlex
import shutil
import subprocess
import sysconfig
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
NATIVE = HERE.parents[1] / "shmqueue" / "_native"

# As the extension modules are compiled (setup.py); at fixed addresses, which a finding can name.
FLAGS = [
    *("-std=gnu11", "-g1", "-fno-pie", "-no-pie"),
    *("-Werror=implicit-function-declaration", "-Werror=int-conversion", "-Werror=return-type"),
]
# Bound at the start: else most instructions of a first call would be the dynamic linker's.
LINKED = ["-Wl,-z,now", "-ldl"]

NOT_PERMITTED = 77

# How long a whole run may take; only a hang of the program itself gets there.
LIMIT = 1800


class NotPermitted(Exception):
    """Processes may not be traced here."""


def compiler():
    """Return the command of the C compiler."""
    command = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    return shlex.split(command)[0]


def build(folder, native=NATIVE, name="killpoints", optimise="-O3"):
    """Compile the program against the headers of `native`; return its path."""
    target = Path(folder) / name
    include = Path(folder) / f"{name}-include"
    include.mkdir(parents=True, exist_ok=True)
    (include / "_native").symlink_to(native)
    command = [
        compiler(),
        *FLAGS,
        optimise,
        f"-I{include}",
        "-o",
        str(target),
        str(HERE / "killpoints.c"),
    ]
    made = subprocess.run([*command, *LINKED], capture_output=True, text=True, check=False)
    assert made.returncode == 0, f"{shlex.join(command)}\n{made.stderr}"
    return target


def start_points(program):
    """Return the (geometry, state, operations) from which the program can kill."""
    lines = subprocess.run([program, "list"], capture_output=True, text=True, check=True).stdout
    return [
        (geometry, state, names)
        for geometry, state, *names in map(str.split, lines.split("\n")[:-1])
    ]


@dataclass
class Outcome:
    """What a run said: its figures, and its findings, each with the command that repeats it."""

    figures: dict
    findings: list

    def __str__(self):
        return "\n".join(map(describe, self.findings))


def run(program, kind, *names, cpu=None, **options):
    """Run the program: ``run(program, "run", "cells", "empty", "put", every="change")``."""
    command = [str(program), kind, *names]
    if cpu is not None:
        command += ["--cpu", str(cpu)]
    for option, value in options.items():
        command += [f"--{option}", str(value)]
    made = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
    if made.returncode == NOT_PERMITTED:
        raise NotPermitted("this container does not permit ptrace")
    lines = [json.loads(line) for line in made.stdout.splitlines()]
    findings = [line for line in lines if "finding" in line]
    figures = next((line for line in lines if "trials" in line), {})
    # It says what it found; else it could not do its work, which is no finding but a failure.
    assert made.returncode == (1 if findings else 0), (
        f"{shlex.join(command)}: exit code {made.returncode}\n{made.stdout}{made.stderr}"
    )
    assert findings or figures["findings"] == 0, made.stdout
    for finding in findings:
        finding["program"] = str(program)
    return Outcome(figures, findings)


def describe(finding):
    """Return what was found, at which instruction, and how to see it again."""
    names = [finding[name] for name in ("geometry", "state", "first", "second") if name in finding]
    shot = ":".join(str(finding[name]) for name in ("k", "manner", "begins"))
    if "image" in finding:
        shot = f"{finding['image']}:{shot}"
    kind = "double" if "second" in finding else "run"
    offset = ["--offset", str(finding["offset"])] if "offset" in finding else []
    command = shlex.join([finding["program"], kind, *names, "--only", shot, *offset])
    return (
        f"{' / '.join(names)}: {finding['finding']}\n"
        f"    killed after {finding['k']} instructions, {finding['manner']} {place(finding)};"
        f" who survived {finding['begins']} first\n    again: {command}"
    )


def place(finding):
    """Return the function and line of the instruction."""
    if finding["pc"] == "0":
        return "nothing: it ran to its end"
    if "symbol" in finding:
        return f"{finding['pc']} ({finding['symbol']})"
    if not shutil.which("addr2line"):
        return finding["pc"]
    command = ["addr2line", "-e", finding["program"], "-f", "-i", "-p", "-s", finding["pc"]]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    return f"{finding['pc']} ({' '.join(said.stdout.split())})"
