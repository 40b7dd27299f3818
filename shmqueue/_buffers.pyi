from typing import Any

__all__ = ["run_at"]

def run_at(address: int, size: int, owner: object) -> Any: ...
