from array import array
from typing import Any

from typing_extensions import Buffer

__all__ = ["rebuild_typed_array", "reduce_typed_array"]

def reduce_typed_array(typed: array[Any]) -> tuple[Any, ...]: ...
def rebuild_typed_array(typecode: str, buffer: Buffer) -> array[Any]: ...
