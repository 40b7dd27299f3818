from types import TracebackType
from typing import Any, NoReturn, final

from typing_extensions import Buffer, disjoint_base

from shmqueue._queue import ObjectQueue
from shmqueue._reservations import Reservation

@final
class ItemView:
    def __init__(self, *args: Any, **kwargs: Any) -> NoReturn: ...
    def __enter__(self) -> memoryview: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...
    def release(self) -> None: ...

@disjoint_base
class RawQueue(ObjectQueue):
    def put_bytes(
        self, data: Buffer, block: bool = True, timeout: float | None = None
    ) -> None: ...
    def get_bytes(self, block: bool = True, timeout: float | None = None) -> bytes: ...
    def get_into(
        self, buffer: Buffer, block: bool = True, timeout: float | None = None
    ) -> int: ...
    def get_view(self, block: bool = True, timeout: float | None = None) -> ItemView: ...
    def reserve(
        self, nbytes: int, block: bool = True, timeout: float | None = None
    ) -> Reservation: ...
    def reserve_array(
        self, shape: Any, dtype: Any = ..., block: bool = True, timeout: float | None = None
    ) -> Reservation: ...
