from typing import Any

from typing_extensions import Buffer

from shmqueue._queue import ObjectQueue
from shmqueue._reservations import Reservation

class RawQueue(ObjectQueue):
    def put_bytes(self, data: Buffer, block: bool = True, timeout: float | None = None) -> None: ...
    def reserve(
        self, nbytes: int, block: bool = True, timeout: float | None = None
    ) -> Reservation: ...
    def reserve_array(
        self, shape: Any, dtype: Any = ..., block: bool = True, timeout: float | None = None
    ) -> Reservation: ...

class StandardQueue(RawQueue):
    def put(self, obj: Any, block: bool = True, timeout: float | None = None) -> None: ...
    def put_nowait(self, obj: Any) -> None: ...
