from typing import Any

from shmqueue._consumer import Consumer
from shmqueue._queue import ObjectQueue

def put_items(
    queue: ObjectQueue, items: Any, item_bytes: int, block: bool, timeout: float | None
) -> None: ...
def take_items(
    consumer: Consumer, memory: Any, item_bytes: int, block: bool, timeout: float | None
) -> int: ...
