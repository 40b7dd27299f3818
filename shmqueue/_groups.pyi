from typing import Any, final

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
    start: int
    oldest: int
    newest: int
    def __init__(self, start: int, oldest: int, newest: int) -> None: ...

@final
class Subscription:
    index: int
    def __init__(
        self,
        attachment: Attachment,
        after: dict[int, int],
        policy: int,
        keep_ns: int,
        start_kind: int,
        start: int,
    ) -> None: ...
    def hand_over(self) -> None: ...
    def leave(self) -> None: ...

def join(
    attachment: Attachment,
    name: bytes,
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

@final
class Registration:
    def __init__(self, attachment: Attachment) -> None: ...
    def finish(self) -> None: ...

def shut(attachment: Attachment, immediate: bool) -> None: ...
def tail_of(attachment: Attachment) -> int: ...
def ungrouped_of(attachment: Attachment) -> int: ...
def row_of(attachment: Attachment, group: int) -> dict[str, Any] | None: ...
def rows(attachment: Attachment) -> list[dict[str, Any]]: ...
