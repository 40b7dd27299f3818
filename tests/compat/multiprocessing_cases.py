"""The classes that CPython builds of test._test_multiprocessing for the start method.

They must stand in a module that children can import: they are the targets of processes.
"""

import importlib

from tests.compat import pointing

_setup, _ = pointing.apply()
importlib.import_module(pointing.MODULES["multiprocessing"]).install_tests_in_module_dict(
    globals(), _setup.method
)
