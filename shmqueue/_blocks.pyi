from typing import final

from typing_extensions import Self

from shmqueue._core import Attachment

@final
class Loan:
    def __new__(cls, attachment: Attachment) -> Self: ...
    @property
    def is_read_only(self) -> bool: ...
