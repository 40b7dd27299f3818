from typing import Any

from shmqueue._core import Attachment
from shmqueue._readers import Reader
from shmqueue.errors import GroupRemovedError as GroupRemovedError
from shmqueue.errors import ShutDown as ShutDown

POLICY_BLOCK: int
POLICY_LAG: int
POLICY_DROP: int
START_NEXT: int
START_OLDEST: int
START_AT: int
MAX_GROUPS: int
MAX_WRITERS: int
MAX_NAME_BYTES: int

class NoSuchStartError(ValueError):
    def __init__(self, start: int, oldest: int, newest: int) -> None: ...

def join(
    attachment: Attachment,
    name: bytes | None,
    after: dict[int, int],
    policy: int,
    keep_ns: int,
    start_kind: int,
    start: int,
    may_open: bool = True,
) -> tuple[int, bool]: ...
def leave(attachment: Attachment, group: int, state: int) -> None: ...
def skip(attachment: Attachment, reader: Reader, keep: int) -> int: ...
def track(attachment: Attachment, reader: Reader) -> None: ...
def finished(attachment: Attachment, reader: Reader) -> int: ...
def begin_writing(attachment: Attachment) -> int: ...
def finish_writing(attachment: Attachment, writer: int) -> None: ...
def shut(attachment: Attachment, immediate: bool) -> None: ...
def tail_of(attachment: Attachment) -> int: ...
def row_of(attachment: Attachment, group: int) -> dict[str, Any] | None: ...
def rows(attachment: Attachment) -> list[dict[str, Any]]: ...
