"""Where the tests of a group come from, when this interpreter was installed without them.

Some releases install the ``test`` package in part. Then an older interpreter's tests are borrowed:
the worker sees a package ``test`` that is found in both places, its own first.
"""

import dataclasses
import importlib.util
import json
import platform
import subprocess
from pathlib import Path

from tests.compat import pointing

_ASK = """\
import json, os, platform, test
print(json.dumps([platform.python_version(), os.path.dirname(test.__file__)]))
"""

# Takes the place of test/__init__.py, which is empty.
_OVERLAY = """\
import os, sysconfig
__path__ += [os.path.join(sysconfig.get_path("stdlib"), "test"), {folder!r}]
"""


@dataclasses.dataclass(frozen=True)
class Source:
    """Where a group's tests are: here, with a lender, or nowhere."""

    missing: str = ""
    version: str = ""
    folder: str = ""

    def lay(self, where):
        """Make the package that has the borrowed tests too; return what to put on sys.path."""
        if not self.folder:
            return ""
        package = Path(where) / "test"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(_OVERLAY.format(folder=self.folder))
        return str(where)


def _is_installed(module):
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:
        return False


def _ask(python):
    answer = subprocess.run(
        [python, "-I", "-c", _ASK], capture_output=True, text=True, check=False, timeout=30
    )
    return json.loads(answer.stdout) if answer.returncode == 0 else None


def _key(version):
    return tuple(int(part) for part in version.split(".")[:2])


def find(group, lenders=()):
    """Return the `Source` of a group: our own, or the newest older one among the lenders."""
    module = pointing.MODULES[group]
    if _is_installed(module):
        return Source()
    file = module.rpartition(".")[2]
    older = []
    for answer in filter(None, map(_ask, lenders)):
        version, folder = answer
        has_it = any((Path(folder) / name).exists() for name in (file, f"{file}.py"))
        if has_it and _key(version) < _key(platform.python_version()):
            older.append((_key(version), version, folder))
    if older:
        _, version, folder = max(older)
        return Source(version=version, folder=folder)
    return Source(missing=f"this Python was installed without {module}")
