"""What the package shows is what it promises, and all of it is described."""

import enum
import inspect
import queue
import re
import types
from pathlib import Path

import pytest

import shmqueue

PACKAGE = Path(shmqueue.__file__).parent


def public(namespace):
    return {
        name
        for name, value in namespace.items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }


def described():
    """Yield (name, object) for each public thing that is ours and what a user may call on it."""
    for name in sorted(shmqueue.__all__):
        value = getattr(shmqueue, name)
        if value is queue.Empty or value is queue.Full:
            continue
        if inspect.isroutine(value) or inspect.isclass(value):
            yield name, value
        if inspect.isclass(value) and not issubclass(value, enum.Enum):
            for member, attribute in sorted(vars(value).items()):
                if not member.startswith("_") and not inspect.isclass(attribute):
                    yield f"{name}.{member}", attribute


DESCRIBED = dict(described())


def test_all_is_every_public_name_and_no_other():
    assert sorted(shmqueue.__all__) == sorted(set(shmqueue.__all__))
    assert set(shmqueue.__all__) == public(vars(shmqueue))


def test_a_star_import_brings_exactly_all():
    namespace = {}
    exec("from shmqueue import *", namespace)
    del namespace["__builtins__"]
    assert set(namespace) == set(shmqueue.__all__)


def test_empty_and_full_are_those_of_the_standard_library():
    assert shmqueue.Empty is queue.Empty
    assert shmqueue.Full is queue.Full


def test_the_package_itself_is_described():
    assert inspect.getdoc(shmqueue)


@pytest.mark.parametrize("name", DESCRIBED)
def test_each_public_thing_has_a_docstring(name):
    assert (getattr(DESCRIBED[name], "__doc__", None) or "").strip()


@pytest.mark.parametrize("name", [name for name in DESCRIBED if inspect.isroutine(DESCRIBED[name])])
def test_each_parameter_is_described_in_a_numpy_section(name):
    routine = DESCRIBED[name]
    parameters = [
        parameter
        for parameter in inspect.signature(routine).parameters
        if parameter not in ("self", "cls")
    ]
    doc = inspect.getdoc(routine)
    if parameters:
        assert re.search(r"^Parameters\n-+$", doc, re.MULTILINE), "no section Parameters"
        section = re.split(r"^Parameters\n-+$", doc, flags=re.MULTILINE)[1]
        section = re.split(r"^\w+\n-{3,}$", section, flags=re.MULTILINE)[0]
        told = re.findall(r"^([*\w, ]+?)(?: :.*)?$", section, re.MULTILINE)
        names = {name.strip(" *") for line in told for name in line.split(",")}
        assert [parameter for parameter in parameters if parameter not in names] == []


def test_each_compiled_module_has_a_stub():
    compiled = {path.stem for path in PACKAGE.glob("*.pyx")}
    assert compiled <= {path.stem for path in PACKAGE.glob("*.pyi")}


def test_the_package_says_that_it_is_typed():
    assert (PACKAGE / "py.typed").is_file()
