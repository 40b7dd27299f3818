from tests.faults.conftest import turns

__all__ = ["turns"]
