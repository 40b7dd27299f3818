from typing import Any, Literal

from typing_extensions import Buffer

__all__ = ["dumps", "loads"]

def dumps(
    item: object, serializer: Literal["cloudpickle", "multiprocessing", "bytes"] = "cloudpickle"
) -> tuple[int, bytes]: ...
def loads(kind: int, data: Buffer, *, in_place: bool = False) -> Any: ...
