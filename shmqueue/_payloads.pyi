from collections.abc import Sequence

from shmqueue._core import Attachment

def put_payloads(
    attachment: Attachment, payloads: Sequence[tuple[int, bytes]], timeout: float | None = None
) -> None: ...
def take_payloads(
    attachment: Attachment,
    max_items: int = 1,
    timeout: float | None = None,
    buffer_bytes: int = 65536,
) -> list[tuple[int, bytes]]: ...
