"""Searching all states of a model with SPIN: what to search, and what came of it."""

import contextlib
import dataclasses
import pathlib
import re
import shutil
import subprocess

HERE = pathlib.Path(__file__).resolve().parent
# No more than a hang may reach it.
LIMIT_SECONDS = 600
MEMORY_MB = 6000


@dataclasses.dataclass(frozen=True)
class Case:
    """A model and its sizes; `breaks` names the broken twin, `caught_by` the assertion meant."""

    name: str
    model: str
    sizes: dict = dataclasses.field(hash=False)
    is_long: bool = False
    breaks: str = ""
    caught_by: str = ""

    def twin(self, breaks, caught_by):
        """Return this case with one thing broken, and nothing else changed."""
        name = f"{self.model}: {breaks} ({self.name})"
        return dataclasses.replace(self, name=name, breaks=breaks, caught_by=caught_by)

    @property
    def defines(self):
        names = {**self.sizes, **({self.breaks: None} if self.breaks else {})}
        return [
            f"-D{name}" if value is None else f"-D{name}={value}" for name, value in names.items()
        ]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a search found: `violated` is the text of the first assertion that did not hold."""

    states: int
    errors: int
    is_complete: bool
    violated: str
    trail: str
    output: str


def missing_tool():
    """Return the name of a program that is needed and not here, or None."""
    return next((tool for tool in ("spin", "gcc") if shutil.which(tool) is None), None)


def _run(command, folder):
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False
    )
    return done.returncode, done.stdout + done.stderr


def search(case, folder):
    """Generate the search of a case in a folder of its own, compile it, and run it to its end."""
    model = f"{case.model}.pml"
    shutil.copy(HERE / model, folder)
    code, said = _run(["spin", *case.defines, "-a", model], folder)
    assert code == 0, f"spin refuses {model}: {said}"
    assert "error" not in said.lower(), said
    # What is searched for long is worth the time of an optimising compiler, the rest is not.
    level = "-O2" if case.is_long else "-O0"
    flags = [level, "-w", "-DSAFETY", "-DNOFAIR", f"-DMEMLIM={MEMORY_MB}"]
    code, said = _run(["gcc", *flags, "-o", "pan", "pan.c"], folder)
    assert code == 0, said
    # -E: who sleeps at the end is judged by the model's own Monitor.
    _, said = _run(["./pan", "-E", "-m1000000", "-w24" if case.is_long else "-w20"], folder)
    (folder / "pan").unlink()
    return _outcome(case, folder, said)


def _number(pattern, text):
    found = re.search(pattern, text)
    assert found, f"no {pattern!r} in what pan said:\n{text}"
    return int(float(found[1]))


def _outcome(case, folder, said):
    violated = re.search(r"pan:1: (.*?) \(at depth", said)
    trail = ""
    if (folder / f"{case.model}.pml.trail").exists():
        with contextlib.suppress(subprocess.TimeoutExpired):
            trail = _run(["spin", *case.defines, "-t", "-p", f"{case.model}.pml"], folder)[1]
    return Outcome(
        states=_number(r"([\d.e+]+) states, stored", said),
        errors=_number(r"errors: (\d+)", said),
        # A violation stops the search, too.
        is_complete="Search not completed" not in said and "search depth too small" not in said,
        violated=violated[1] if violated else "",
        trail=trail,
        output=said,
    )
