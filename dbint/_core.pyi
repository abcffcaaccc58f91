"""The C extension module. ``mypy.stubtest`` holds this file to it."""

from asyncio import Future
from collections.abc import Callable, Coroutine, Generator, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from os import PathLike
from types import TracebackType
from typing import Any, Final, Literal, NoReturn, Self, TypedDict, TypeVar, final, type_check_only

from _typeshed import structseq
from typing_extensions import Buffer, disjoint_base

from dbint.errors import KafkaFatalError

_R = TypeVar("_R")

@type_check_only
class HistogramValue(TypedDict):
    count: int
    sum: float
    max: float
    p50: float
    p95: float
    p99: float
    buckets: list[tuple[float, int]]

def capture_settings() -> str: ...
def crc32c(data: Buffer, value: int = 0, /) -> int: ...
def decode_changes(
    changes: Iterable[tuple[int, Buffer]],
    *,
    name: str,
    database: str,
    version: str,
    catalogue: Callable[[str], Sequence[Sequence[str | None]]] | None = None,
    captured_us: int = 0,
) -> list[tuple[str, bytes | None, bytes, dict[str, bytes]]]: ...
def error_class(code: int, sqlstate: str = "", /) -> type[Exception]: ...
def ledger_sql() -> str: ...
def library_versions() -> dict[str, str]: ...
def metrics_snapshot() -> list[tuple[str, str, dict[str, str], int | float | HistogramValue]]: ...

# --- the circuit breaker ---

class CircuitState(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    FORCED_OPEN = "forced_open"
    DISABLED = "disabled"
    METRICS_ONLY = "metrics_only"

@final
class CircuitChange(structseq[Any], tuple[str, CircuitState, CircuitState, str, int]):
    __match_args__: Final = ("name", "from_state", "to_state", "reason", "generation")
    @property
    def name(self) -> str: ...
    @property
    def from_state(self) -> CircuitState: ...
    @property
    def to_state(self) -> CircuitState: ...
    @property
    def reason(self) -> str: ...
    @property
    def generation(self) -> int: ...

@final
class ManualClock:
    def __new__(cls, now: float = 0.0) -> Self: ...
    @property
    def now(self) -> float: ...
    def advance(self, seconds: float, /) -> None: ...

@type_check_only
class BreakerMetrics(TypedDict):
    succeeded: int
    failed: int
    ignored: int
    cancelled: int
    rejected: int
    slow: int
    late: int
    opened: int

@type_check_only
class BreakerSnapshot(BreakerMetrics):
    name: str
    state: CircuitState
    generation: int
    state_age: float
    retry_after: float | None
    consecutive_failures: int
    permits: int
    window_calls: int
    window_failed: int
    window_slow: int
    failure_rate: float | None
    slow_call_rate: float | None

_Filter = type[BaseException] | tuple[type[BaseException], ...] | Callable[[BaseException], bool]

@disjoint_base
class CircuitBreaker:
    def __new__(
        cls,
        name: str = "default",
        *,
        failure_threshold: int = 5,
        recovery_timeout: float = 60.0,
        half_open_calls: int = 3,
        half_open_timeout: float | None = 60.0,
        window: Literal["count", "time"] | None = None,
        window_size: float = ...,
        minimum_calls: int = 10,
        failure_rate: float = 0.5,
        slow_call_duration: float | None = None,
        slow_call_rate: float = 1.0,
        record: _Filter = ...,
        ignore: _Filter = (),
        clock: ManualClock | None = None,
    ) -> Self: ...
    @property
    def name(self) -> str: ...
    @property
    def state(self) -> CircuitState: ...
    def call(self, func: Callable[..., _R], /, *args: Any, **kwargs: Any) -> _R: ...
    def acquire(self) -> Permit: ...
    def force(self, state: CircuitState | str, /) -> None: ...
    def reset(self) -> None: ...
    def add_listener(self, listener: Callable[[CircuitChange], object], /) -> None: ...
    def remove_listener(self, listener: Callable[[CircuitChange], object], /) -> None: ...
    def metrics(self) -> BreakerMetrics: ...
    def snapshot(self) -> BreakerSnapshot: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None, /
    ) -> None: ...
    def __reduce__(self) -> NoReturn: ...

@final
class Permit:
    def __new__(cls, breaker: CircuitBreaker, /) -> Self: ...
    def success(self) -> None: ...
    def failure(self) -> None: ...
    def ignore(self) -> None: ...
    def cancel(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None, /
    ) -> None: ...

@final
class GuardedFunction:
    breaker: Final[CircuitBreaker]
    def __new__(cls, breaker: CircuitBreaker, func: Callable[..., Any], /) -> Self: ...
    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...
    def __get__(self, instance: object, owner: type | None = None, /) -> Any: ...

# --- events: rows ---

@final
class RowEncoder:
    def __new__(
        cls,
        columns: Mapping[str, str],
        *,
        fill: Mapping[str, Literal["null", "uuid7", "now"]] | None = None,
        name: str | None = None,
    ) -> Self: ...
    def encode(self, /, **fields: object) -> bytes: ...
    def encode_mapping(self, fields: Mapping[str, object], /) -> bytes: ...

# --- events: the batch writer ---

@type_check_only
class ChainSnapshot(TypedDict):
    chain: str
    lane: int
    adopted: bool
    ended: bool
    last: int
    landed: int
    bytes: int
    state: Literal["ready", "shipping", "backing_off", "held"]
    reason: str | None
    last_error: str | None
    retry_in: float | None
    attempts: int

@type_check_only
class StreamSnapshot(TypedDict):
    open: bool
    accepted: int
    recovered: int
    landed: int
    journaled: int
    dead: int
    dropped: dict[str, int]
    damaged: int
    lost_by_server: int
    rejected: int
    waiting: int
    journaled_bytes: int
    ambiguous_commits_resolved: int
    oldest_age: float | None
    chains: list[ChainSnapshot]

@type_check_only
class JournalSnapshot(TypedDict):
    directory: str
    slot: int
    bytes: int
    max_bytes: int
    quarantined: int
    adopted: int
    error: str | None
    warnings: list[str]

@type_check_only
class WriterSnapshot(TypedDict):
    name: str
    closed: bool
    running: bool
    held: int
    journal: JournalSnapshot
    streams: dict[str, StreamSnapshot]
    breaker: BreakerSnapshot | None

@final
class Completion(Coroutine[Any, Any, Any]):
    def __await__(self) -> Generator[Any, Any, Any]: ...
    def __iter__(self) -> Self: ...
    def __next__(self) -> Any: ...
    def close(self) -> None: ...
    def send(self, value: Any, /) -> Any: ...
    def throw(self, type: Any, value: Any = None, traceback: Any = None, /) -> Any: ...  # noqa: A002 - a coroutine's own name for it

@disjoint_base
class BatchWriter:
    def __new__(
        cls,
        pool: Pool,
        directory: str | PathLike[str],
        *,
        name: str = "default",
        breaker: CircuitBreaker | None = None,
        shippers: int = 2,
        max_bytes: int = 1 << 30,
        keep_bytes: int = 64 << 20,
        keep_seconds: float = 60.0,
        segment_min: int = 1 << 20,
        segment_max: int = 64 << 20,
        batch_bytes: int = 4 << 20,
        stall_timeout: float = 30.0,
        adopt_every: float = 5.0,
    ) -> Self: ...
    @property
    def name(self) -> str: ...
    @property
    def closed(self) -> bool: ...
    def stream(
        self,
        table: str,
        *,
        name: str | None = None,
        columns: Mapping[str, str] | Sequence[str] | None = None,
        fill: Mapping[str, Literal["null", "uuid7", "now"]] = ...,
        durability: Literal["memory", "process", "interval", "sync"] = "process",
        sync_interval: float = 0.1,
        batch_size: int = 100,
        batch_timeout: float = 1.0,
        lanes: int = 1,
        lane_key: str | None = None,
        when_full: Literal["block", "reject", "drop_oldest"] = "block",
        block_timeout: float | None = None,
        timeout: float | None = 5.0,
    ) -> Stream: ...
    def start(self) -> None: ...
    def flush(self, timeout: float | None = None) -> int: ...
    def flush_async(self, timeout: float | None = None) -> Coroutine[Any, Any, int]: ...
    def retry(self) -> None: ...
    def close(self, timeout: float | None = 5.0) -> int: ...
    def snapshot(self) -> WriterSnapshot: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None, /
    ) -> None: ...
    def __reduce__(self) -> NoReturn: ...

@final
class Stream:
    @property
    def name(self) -> str: ...
    @property
    def table(self) -> str: ...
    @property
    def columns(self) -> dict[str, str]: ...
    @property
    def writer(self) -> BatchWriter: ...
    def write(self, /, **fields: Any) -> Coroutine[Any, Any, None]: ...
    def write_sync(self, /, **fields: Any) -> None: ...
    def write_mapping(self, fields: Mapping[str, Any], /) -> Coroutine[Any, Any, None]: ...
    def divert(
        self,
        keyword: str,
        write: Callable[..., Coroutine[Any, Any, None]],
        write_sync: Callable[..., None],
        /,
    ) -> None: ...
    def snapshot(self) -> StreamSnapshot: ...
    def __reduce__(self) -> NoReturn: ...

@disjoint_base
class KafkaClient:
    @property
    def fatal_error(self) -> KafkaFatalError | None: ...
    def logs(self) -> tuple[list[tuple[float, int, str, str]], int]: ...
    def set_credentials(self, username: str, password: str, /) -> None: ...
    def set_token(self, token: str, expires_ms: int, principal: str, /) -> None: ...
    def set_token_failure(self, reason: str, /) -> None: ...
    def stats_json(self) -> str | None: ...
    def wait_token_request(self, timeout: float | None, /) -> bool: ...

@final
class Delivery(structseq[Any], tuple[str, int, int | None, int | None]):
    __match_args__: Final = ("topic", "partition", "offset", "timestamp")
    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int | None: ...
    @property
    def timestamp(self) -> int | None: ...

@final
class Message(
    structseq[Any],
    tuple[str, int, int, int | None, bytes | None, bytes | None, tuple[tuple[str, bytes | None], ...]],
):
    __match_args__: Final = ("topic", "partition", "offset", "timestamp", "key", "value", "headers")
    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int | None: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> tuple[tuple[str, bytes | None], ...]: ...

@final
class Channel:
    def drain(self) -> None: ...
    def stop(self) -> bool: ...

_Payload = str | Buffer | None
_Headers = Mapping[str, _Payload] | Sequence[tuple[str, _Payload]] | None

@disjoint_base
class Producer(KafkaClient):
    waiting: int
    def __init__(
        self,
        properties: Mapping[str, str],
        *,
        when_full: str = "block",
        block_timeout: float | None = None,
        topic_timeout: float | None = None,
        journal_directory: str | None = None,
        journal_bytes: int = 1073741824,
        journal_durability: str = "process",
        lanes: int = 1,
    ) -> None: ...
    @property
    def closed(self) -> bool: ...
    @property
    def in_flight(self) -> int: ...
    def abort_transaction(self, timeout: float | None = None) -> None: ...
    def begin_transaction(self) -> None: ...
    def check_topic(self, topic: str, /) -> None: ...
    def close(self, timeout: float | None = 10.0) -> int: ...
    def commit_transaction(self, timeout: float | None = None) -> None: ...
    def enqueue(
        self,
        topic: str,
        value: _Payload = None,
        key: _Payload = None,
        *,
        headers: _Headers = None,
        partition: int | None = None,
        timestamp: int | None = None,
    ) -> None: ...
    def flush(self, timeout: float | None = None) -> int: ...
    def gave_up(self) -> None: ...
    def init_transactions(self, timeout: float | None = None) -> None: ...
    def journal_status(self) -> dict[str, Any] | None: ...
    def metrics(self) -> dict[str, Any]: ...
    def purge(self) -> None: ...
    def send(
        self,
        topic: str,
        value: _Payload = None,
        key: _Payload = None,
        *,
        headers: _Headers = None,
        partition: int | None = None,
        timestamp: int | None = None,
    ) -> Future[Delivery]: ...
    def send_offsets(
        self, offsets: Sequence[tuple[Any, ...]], consumer: Consumer, timeout: float | None = None
    ) -> None: ...
    def send_sync(
        self,
        topic: str,
        value: _Payload = None,
        key: _Payload = None,
        *,
        headers: _Headers = None,
        partition: int | None = None,
        timestamp: int | None = None,
        timeout: float | None = None,
    ) -> Delivery: ...
    def start(self) -> None: ...
    def try_send(
        self,
        topic: str,
        value: _Payload = None,
        key: _Payload = None,
        *,
        headers: _Headers = None,
        partition: int | None = None,
        timestamp: int | None = None,
    ) -> Future[Delivery] | None: ...

_Place = tuple[str, int, int | None, str | None]

@final
class Batch:
    @property
    def ends(self) -> list[_Place]: ...
    @property
    def memory(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    def __getitem__(self, index: int, /) -> Message: ...
    def __iter__(self) -> Iterator[Message]: ...
    def __len__(self) -> int: ...
    @property
    def assigned(self) -> list[_Place]: ...
    @property
    def lost(self) -> bool: ...
    @property
    def revoked(self) -> list[_Place]: ...
    def at(self, topic: str, partition: int, offset: int) -> Message: ...
    def concat(
        self,
        separator: Buffer = b"",
        topic: str | None = None,
        partition: int | None = None,
        *,
        start: int | None = None,
        end: int | None = None,
        only: Sequence[int] | None = None,
        without: Sequence[int] | None = None,
    ) -> bytes: ...
    def concat_size(
        self,
        separator: Buffer = b"",
        topic: str | None = None,
        partition: int | None = None,
        *,
        start: int | None = None,
        end: int | None = None,
        only: Sequence[int] | None = None,
        without: Sequence[int] | None = None,
    ) -> int: ...
    def keys(
        self,
        topic: str | None = None,
        partition: int | None = None,
        *,
        start: int | None = None,
        end: int | None = None,
        only: Sequence[int] | None = None,
        without: Sequence[int] | None = None,
    ) -> list[tuple[int, bytes | None]]: ...
    def survey(
        self,
        placeholders: Sequence[bytes],
        topic: str | None = None,
        partition: int | None = None,
        *,
        start: int | None = None,
        end: int | None = None,
        only: Sequence[int] | None = None,
        without: Sequence[int] | None = None,
    ) -> tuple[int, int, list[tuple[int, int]], list[tuple[int, str, int]]]: ...
    def ranges(self) -> list[tuple[str, int, int, int, int, int]]: ...
    def split(self) -> list[Batch]: ...

@disjoint_base
class Consumer(KafkaClient):
    def __init__(self, properties: Mapping[str, str]) -> None: ...
    @property
    def closed(self) -> bool: ...
    def assign(self, partitions: Sequence[tuple[Any, ...]], /) -> None: ...
    def assignment(self) -> list[_Place]: ...
    def close(self) -> None: ...
    def commit(self, offsets: Sequence[tuple[Any, ...]], timeout: float | None = None) -> None: ...
    def committed(
        self, partitions: Sequence[tuple[Any, ...]], timeout: float | None = None
    ) -> list[_Place]: ...
    def pause(self, partitions: Sequence[tuple[Any, ...]], /) -> None: ...
    def poll_batch(
        self, max_messages: int = 500, max_bytes: int = 0, timeout: float | None = 1.0
    ) -> Batch | None: ...
    def position(self, partitions: Sequence[tuple[Any, ...]], /) -> list[_Place]: ...
    def resume(self, partitions: Sequence[tuple[Any, ...]], /) -> None: ...
    def seek(self, partitions: Sequence[tuple[Any, ...]], timeout: float | None = None) -> None: ...
    def subscribe(self, topics: Sequence[str], /) -> None: ...
    def unassign(self) -> None: ...
    def watermarks(self, topic: str, partition: int, timeout: float | None = None) -> tuple[int, int]: ...

@disjoint_base
class Admin(KafkaClient):
    def __init__(self, properties: Mapping[str, str]) -> None: ...
    def close(self) -> None: ...
    def create_topic(
        self,
        topic: str,
        partitions: int | None = None,
        replication: int | None = None,
        configs: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> None: ...
    def delete_topic(self, topic: str, timeout: float | None = None) -> None: ...
    def describe(
        self, topic: str | None = None, timeout: float | None = None, all_topics: bool = False
    ) -> tuple[
        str | None,
        int,
        list[tuple[int, str, int]],
        list[tuple[str, int, list[tuple[int, int, int, int]]]],
    ]: ...

# --- the flow ---

@type_check_only
class OutletCounts(TypedDict):
    sent: int
    delivered: int
    sent_bytes: int
    undelivered: int
    undelivered_bytes: int
    full: int
    resets: int

@final
class Outlet:
    def __new__(
        cls,
        properties: Mapping[str, str],
        *,
        max_messages: int = 100000,
        max_bytes: int = 33554432,
        partitions: int | None = None,
        replication: int | None = None,
        topic_properties: Mapping[str, str] | None = None,
    ) -> Outlet: ...
    @property
    def confirmed(self) -> int: ...
    def counts(self) -> OutletCounts: ...
    def ensure_topic(self, name: str, timeout: float | None = 30.0) -> int: ...

@type_check_only
class CaptureStatus(TypedDict):
    state: str
    error: str | None
    error_code: str
    backend_pid: int
    received: int
    confirmed: int
    server_end: int
    server_end_age: float | None
    confirmed_commit: float | None
    received_commit: float | None
    transactions: int
    inserts: int
    updates: int
    deletes: int
    truncates: int
    messages: int
    skipped: int
    dead_letters: int
    refusals: int
    bytes: int
    connects: int
    stalls: int
    spooled_bytes: int
    delivered: int
    undelivered: int
    undelivered_bytes: int

@final
class Capture:
    def __new__(
        cls,
        outlet: Outlet,
        *,
        name: str,
        conninfo: str,
        slot: str,
        publication: str,
        prefix: str,
        version: str,
        dead_letter_topic: str | None = None,
        spool_directory: str | None = None,
        start: int = 0,
        streaming: bool = False,
        messages: Sequence[str] = (),
        spool_memory: int = 16777216,
        connect_timeout: float | None = 10.0,
        feedback: float | None = 10.0,
    ) -> Capture: ...
    def join(self, timeout: float | None = None) -> bool: ...
    def start(self) -> None: ...
    def status(self) -> CaptureStatus: ...
    def stop(self, timeout: float | None = 30.0) -> None: ...

@final
class TableSnapshot:
    def __new__(
        cls,
        outlet: Outlet,
        schema: str,
        table: str,
        oid: int,
        *,
        topic: str,
        prefix: str,
        database: str,
        version: str,
        point: int,
        only: bool = True,
        columns: Sequence[str] | None = None,
        filter: str | None = None,  # noqa: A002 - as PostgreSQL's catalogue calls it
        dead_letter_topic: str | None = None,
    ) -> Self: ...
    def chunk(
        self,
        pool: Pool,
        *,
        layout: str | None = None,
        after: Sequence[str] | None = None,
        rows: int = 50000,
        timeout: float | None = None,
    ) -> tuple[bool, bool, int, int, str, tuple[str, ...] | None, int]: ...
    def stop(self) -> None: ...
    def sweep(self, timeout: float | None = None) -> None: ...

# --- PostgreSQL connections ---

@type_check_only
class PoolWait(TypedDict):
    count: int
    sum: float
    max: float
    p50: float
    p99: float

@type_check_only
class PoolSnapshot(TypedDict):
    name: str
    min_size: int
    max_size: int
    size: int
    idle: int
    in_use: int
    opening: int
    waiting: int
    utilization: float
    nearly_exhausted: bool
    closed: bool
    acquired: int
    waits: int
    timeouts: int
    refused: int
    exhausted: int
    opened: int
    open_errors: int
    checks: int
    statements: int
    generation: int
    closed_by: dict[str, int]
    last_close: str | None
    last_error: str | None
    wait: PoolWait

@final
class Pool:
    def __new__(
        cls,
        conninfo: str = "",
        *,
        name: str = "default",
        min_size: int = 5,
        max_size: int = 20,
        max_waiting: int = 1000,
        connect_timeout: float | None = 10.0,
        max_age: float | None = 3600.0,
        max_age_jitter: float = 0.1,
        max_queries: int | None = 10000,
        max_idle: float | None = 600.0,
        check_after_idle: float | None = 30.0,
        exhaustion_threshold: float = 80.0,
    ) -> Self: ...
    @property
    def closed(self) -> bool: ...
    @property
    def name(self) -> str: ...
    def close(self, timeout: float | None = 5.0) -> None: ...
    def execute(
        self, sql: str, params: Sequence[str | None] = (), *, timeout: float | None = 30.0
    ) -> list[tuple[str | None, ...]]: ...
    def set_credentials(self, user: str | None, password: str | None) -> None: ...
    def snapshot(self) -> PoolSnapshot: ...
    def tidy(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None, /
    ) -> None: ...
