from typing import final

@final
class Made: ...
