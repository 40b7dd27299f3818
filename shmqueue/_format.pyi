HEADER_BYTES: int

def layout_fields() -> list[tuple[str, str, int, int, str]]: ...
def layout_version() -> int: ...
def plan_segment(
    capacity: int,
    item_size: int,
    max_processes: int,
    pool_limit_bytes: int,
    region_count: int = 0,
    is_stream: bool = False,
    type_bytes: int = 0,
) -> tuple[int, list[tuple[int, int]]]: ...
def region_limit_bytes(region_count: int) -> int: ...
def format_segment(
    fd: int,
    capacity: int,
    item_size: int,
    max_processes: int,
    pool_limit_bytes: int,
    region_count: int,
    is_stream: bool,
    type_bytes: int,
    ungrouped: int,
    serializer: int,
    serializer_name: bytes,
    type_text: bytes,
    uuid: bytes,
    created_realtime_ns: int,
) -> None: ...
def check_header(text: bytes, file_bytes: int, path: str) -> None: ...
