"""Libraries for LD_PRELOAD, made of the C files beside this one: the system as a test wants it."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest


def compiled(tmp_path_factory, name):
    """Return the library of a name, or skip where there is no compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip(f"no C compiler here for the library of {name}.c")
    library = tmp_path_factory.mktemp(name) / f"{name}.so"
    source = Path(__file__).with_name(f"{name}.c")
    subprocess.run(
        [compiler, "-O1", "-shared", "-fPIC", "-o", str(library), str(source)], check=True
    )
    return library


def loaded(library, **variables):
    """Return what a program's command begins with that has the library, and the variables."""
    # A sanitizer's library, where there is one, must stay the first.
    libraries = [path for path in [os.environ.get("LD_PRELOAD"), str(library)] if path]
    named = [f"{name}={value}" for name, value in variables.items()]
    return ["env", f"LD_PRELOAD={':'.join(libraries)}", *named]
