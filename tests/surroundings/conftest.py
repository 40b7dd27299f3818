from tests.faults.conftest import forks, turns

__all__ = ["forks", "turns"]
