"""Other interpreters of this machine, with our extension modules for them.

They are built in a copy of the sources under build/, and kept there until the sources change. No
package is installed for that: Cython and setuptools are read from where this interpreter has them.

    python -m tests.surroundings.other_pythons 3.12 3.13
"""

import functools
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VERSIONS = ("3.13", "3.12", "3.11", "3.10")
BUILD_LIMIT_SECONDS = 600
# What the copy is built of, and what else must be importable beside it.
SOURCES = ("shmqueue", "setup.py", "pyproject.toml", "README.md", "LICENSE")
NEEDED_TO_BUILD = ("Cython", "cython", "setuptools", "_distutils_hack")
NEEDED_TO_RUN = ("cloudpickle",)


@functools.cache
def others():
    """Return {version: interpreter} of those that are here, but for this one's version."""
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    found = {}
    for version in VERSIONS:
        answer = subprocess.run(
            ["sh", str(ROOT / "tools" / "find_python.sh"), version],
            capture_output=True,
            text=True,
        )
        if version != own and answer.returncode == 0:
            found[version] = answer.stdout.strip()
    return found


def environment(version):
    """Return the environment in which an interpreter finds our modules, and no others of ours."""
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(_copy(version)), str(_copy(version) / "packages")]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def is_built(version):
    stamp = _copy(version) / "stamp"
    return stamp.is_file() and stamp.read_text() == _fingerprint()


def build(version, python):
    """Build the modules for an interpreter; raises RuntimeError, saying why it can't be done."""
    missing = [name for name in NEEDED_TO_BUILD if importlib.util.find_spec(name) is None]
    if missing:
        raise RuntimeError(f"this interpreter has no {', '.join(missing)} to build with")
    copy = _copy(version)
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir(parents=True)
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("*.so", "*.pyc"))
        else:
            shutil.copy2(source, copy / name)
    if (ROOT / "build" / "cython").is_dir():
        # C sources are the same for each version: those that are newer than the rest are taken.
        shutil.copytree(ROOT / "build" / "cython", copy / "build" / "cython")
    _lay_packages(copy / "packages-to-build", NEEDED_TO_BUILD)
    _lay_packages(copy / "packages", NEEDED_TO_RUN)
    done = subprocess.run(
        # Without optimisation: they are tried, not measured.
        [python, "setup.py", "--quiet", "build_ext", "--inplace", "--parallel", "2"],
        cwd=copy,
        env={
            **os.environ,
            "PYTHONPATH": str(copy / "packages-to-build"),
            "SHMQUEUE_DEBUG": "1",
        },
        capture_output=True,
        text=True,
        timeout=BUILD_LIMIT_SECONDS,
    )
    if done.returncode != 0:
        raise RuntimeError(
            f"the modules can't be built for Python {version}: {done.stderr[-2000:]}"
        )
    (copy / "stamp").write_text(_fingerprint())


def _copy(version):
    return ROOT / "build" / f"python-{version}"


def _lay_packages(folder, names):
    """Let a folder have these packages of ours, and nothing else that is installed here."""
    folder.mkdir()
    for name in names:
        origin = Path(importlib.util.find_spec(name).origin)
        package = origin.parent if origin.name == "__init__.py" else origin
        (folder / package.name).symlink_to(package)


@functools.cache
def _fingerprint():
    digest = hashlib.sha256()
    for path in sorted([*(ROOT / "shmqueue").rglob("*"), ROOT / "setup.py"]):
        if path.suffix in (".py", ".pyx", ".pxd", ".h"):
            digest.update(path.read_bytes())
    return digest.hexdigest()


if __name__ == "__main__":
    for wanted in sys.argv[1:]:
        build(wanted, others()[wanted])
