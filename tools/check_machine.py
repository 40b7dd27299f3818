"""Say in one sentence what this machine lacks for building shmqueue, or nothing.

Runs before there is a virtual environment, under whatever `PYTHON` names: it keeps to syntax that
an old Python can read too, or the sentence would be a SyntaxError.
"""

import os
import sys
import sysconfig

OLDEST = (3, 10)

PYTHON = "shmqueue needs Python %d.%d or later, and %s is %d.%d; name another: make PYTHON=..."
SYSTEM = "shmqueue runs on Linux only, and this is %s."
COMPILER = (
    "shmqueue is compiled, and there is no compiler %s; install gcc (Debian: build-essential)."
)
HEADERS = "Python's C headers are missing (%s); install them (Debian: python3-dev)."
VENV = "%s cannot create virtual environments; install venv for it (Debian: python3-venv)."


def lacking():
    if sys.version_info < OLDEST:
        return PYTHON % (OLDEST + (sys.executable,) + tuple(sys.version_info[:2]))
    if not sys.platform.startswith("linux"):
        return SYSTEM % sys.platform
    import shutil

    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "gcc").split()[0]
    if shutil.which(compiler) is None:
        return COMPILER % compiler
    header = os.path.join(sysconfig.get_path("include"), "Python.h")
    if not os.path.exists(header):
        return HEADERS % header
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        return VENV % sys.executable
    return None


if __name__ == "__main__":
    sentence = lacking()
    if sentence is not None:
        sys.exit(sentence)
