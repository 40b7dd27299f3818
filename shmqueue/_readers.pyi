from typing import final

from typing_extensions import Self

from shmqueue._core import Attachment

@final
class Reader:
    def __new__(cls, attachment: Attachment, group: int, state: int, writes: bool) -> Self: ...
    def finish(self) -> None: ...
    @property
    def group(self) -> int: ...
