"""The Kafka producer."""

import asyncio
import atexit
import logging
import os
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, Unpack

from dbint._core import Delivery, Producer
from dbint.errors import ConfigurationError, InterfaceError, KafkaAbortError, QueueFullError
from dbint.kafka.client import Client, ClientOptions, Property, client_properties, milliseconds
from dbint.state import state_directory

logger = logging.getLogger(__name__)

WhenFull = Literal["block", "reject", "drop_newest", "drop_oldest"]
Durability = Literal["process", "interval", "sync"]


@dataclass(frozen=True, slots=True)
class ProducerJournal:
    """Where a producer's messages wait on disk while the brokers are away, and how.

    ``directory``: of this journal alone, one for each cluster; None: ``@kafka`` below ``DBINT_JOURNAL_DIR``,
    or below the directory that events are kept in. ``max_bytes``: at most so much, from 4 MiB on.
    ``durability``: what a message survives when ``enqueue`` has returned: "process" the death of the process,
    "interval" also that of the machine, but for the last 100 ms, "sync" that, too (``enqueue`` then waits for
    the disk). ``lanes``: 1 to 64; a key's messages are in one of them, which is sent in order, and lanes do
    not wait for each other.
    """

    directory: str | os.PathLike[str] | None = None
    max_bytes: int = 1 << 30
    durability: Durability = "process"
    lanes: int = 1

    @property
    def path(self) -> Path:
        """The directory that is used."""
        if self.directory is not None:
            return Path(self.directory)
        # No database's journal has a name with this sign.
        return Path(os.environ.get("DBINT_JOURNAL_DIR") or state_directory("journal")) / "@kafka"

    @classmethod
    def of(cls, journal: "bool | str | os.PathLike[str] | ProducerJournal") -> "ProducerJournal | None":
        """What the option ``journal`` of a producer stands for."""
        if isinstance(journal, cls):
            return journal
        if isinstance(journal, bool):
            return cls() if journal else None
        return cls(journal)  # type: ignore[arg-type]  # a path, or what Path() will refuse


class KafkaProducer(Producer, Client):
    """A producer that accounts for every message; idempotent unless told otherwise.

    ``enqueue`` hands a message over and counts what becomes of it; ``await send`` and ``send_sync`` give the
    delivery report. At any time ``metrics()`` satisfies accepted = delivered + failed + in_flight. It may be
    used from all threads and event loops at once.

    :param bootstrap: "host:port,..." or a sequence of such; None finds the service "kafka".
    :param acks: whom to wait for: "all", or with idempotence=False 0 or 1.
    :param transactional_id: makes it transactional; of two producers with one id, the older is fenced.
    :param compression: "gzip", "snappy", "lz4" or "zstd".
    :param linger: seconds that a message may wait for others to share a request with; without effect with a
        journal, where what comes while a request is on its way shares the next one.
    :param delivery_timeout: seconds after which a message that could not be delivered is reported as failed,
        whatever the reason; 0 means never. Default 120; in a transactional producer, the transaction's.
    :param queue_messages: how many messages may be in flight; ``queue_bytes``: how many bytes of them.
    :param when_full: what meets a message for which there is no room: "block" waits, for at most
        ``block_timeout`` seconds (None: as long as it takes), and then raises QueueFullError as "reject" does
        at once; "drop_newest" drops and counts it.
    :param topic_timeout: with it topics must exist: each is looked up on its first use, within that many
        seconds, and a missing one raises KafkaError at once rather than after the delivery timeout.
    :param exit_timeout: seconds that the interpreter's exit waits for messages of a producer left open.
    :param journal: True, a directory or a ProducerJournal: messages wait on disk while the brokers are away,
        also at the start, and are sent in order per key, by this process or by the next one that opens the
        journal (docs/kafka.md). When ``enqueue`` has returned, the message is there; the report of ``send``
        says that it is delivered.
        ``when_full`` is then about the journal, and may be "drop_oldest". Excludes transactional_id,
        topic_timeout, idempotence=False and a delivery_timeout.

    Raises ConfigurationError for options that cannot work; those that only librdkafka can judge together are
    judged on first use.
    """

    def __init__(
        self,
        bootstrap: str | Sequence[str] | None = None,
        *,
        acks: Literal["all", 0, 1] = "all",
        idempotence: bool = True,
        transactional_id: str | None = None,
        compression: str | None = None,
        linger: float = 0.005,
        delivery_timeout: float | None = None,
        queue_messages: int = 100_000,
        queue_bytes: int = 1 << 30,
        when_full: WhenFull = "block",
        block_timeout: float | None = 60.0,
        topic_timeout: float | None = None,
        exit_timeout: float = 10.0,
        journal: bool | str | os.PathLike[str] | ProducerJournal = False,
        **options: Unpack[ClientOptions],
    ) -> None:
        kept = ProducerJournal.of(journal)
        if idempotence and acks != "all":
            raise ConfigurationError(
                f"acks={acks!r} gives up what idempotence promises: set idempotence=False"
            )
        if transactional_id is not None and not idempotence:
            raise ConfigurationError("a transactional producer is idempotent: leave idempotence=True")
        if kept is not None:
            if delivery_timeout:
                raise ConfigurationError(
                    "a producer with a journal delivers its messages as late as it takes: "
                    "leave delivery_timeout out"
                )
            delivery_timeout = 0
        elif delivery_timeout is None and transactional_id is None:
            delivery_timeout = 120.0
        own: dict[str, Property] = {
            "acks": acks,
            "enable.idempotence": idempotence,
            "transactional.id": transactional_id,
            "compression.type": compression,
            "linger.ms": milliseconds("linger", linger),
            "message.timeout.ms": None
            if delivery_timeout is None
            else milliseconds("delivery_timeout", delivery_timeout),
            "queue.buffering.max.messages": queue_messages,
            "queue.buffering.max.kbytes": max(1, queue_bytes // 1024),
        }
        properties = client_properties(bootstrap, own, options)
        kept_as: dict[str, Any] = {}
        if kept is not None:
            kept_as = {
                "journal_directory": os.fspath(kept.path),
                "journal_bytes": kept.max_bytes,
                "journal_durability": kept.durability,
                "lanes": kept.lanes,
            }
        super().__init__(
            properties,
            when_full=when_full,
            block_timeout=block_timeout,
            topic_timeout=topic_timeout,
            **kept_as,
        )
        self.journal = kept
        self.bootstrap = properties.get("bootstrap.servers", "")
        self.exit_timeout = exit_timeout
        self._block_timeout = block_timeout
        self._topic_timeout = topic_timeout
        self._transactions_ready = False
        self._queued: set[asyncio.Task[Delivery]] = set()
        self._turns: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = (
            weakref.WeakKeyDictionary()
        )
        _open.add(self)
        self._serve_tokens(options)

    def __repr__(self) -> str:
        where = "in flight" if self.journal is None else "in the journal"
        state = "closed" if self.closed else f"{self.in_flight} {where}"
        return f"<KafkaProducer {self.bootstrap} ({state})>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aflush(self, timeout: float | None = None) -> int:
        """``flush`` on a thread, for code on an event loop."""
        return await asyncio.to_thread(self.flush, timeout)

    async def aclose(self, timeout: float | None = 10.0) -> int:
        """``close`` on a thread, for code on an event loop; all futures of ``send`` are resolved by it."""
        return await asyncio.to_thread(self.close, timeout)

    def transaction(self, timeout: float | None = 60.0) -> "Transaction":
        """A transaction as a context manager, also an asynchronous one; ``timeout`` seconds for each step.

        Leaving the block commits, leaving it by an exception aborts.
        """
        return Transaction(self, timeout)

    # -- sends that have to wait ---------------------------------------------------------------------------

    def _send_later(self, *args: Any, **message: Any) -> asyncio.Task[Delivery]:
        """Called by ``send`` where it would have to wait. Later sends of the loop queue behind this one."""
        task = asyncio.get_running_loop().create_task(self._send_in_turn(args, message))
        self._queued.add(task)
        self.waiting = len(self._queued)
        # Also when the task is cancelled before its first step.
        task.add_done_callback(self._handed_over)
        return task

    def _handed_over(self, task: asyncio.Task[Delivery]) -> None:
        self._queued.discard(task)
        self.waiting = len(self._queued)

    async def _send_in_turn(self, args: tuple[Any, ...], message: dict[str, Any]) -> Delivery:
        task = asyncio.current_task()
        async with self._turns.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
            future = await self._hand_over(args, message)
        if task is not None:
            self._handed_over(task)
        return await future

    async def _hand_over(self, args: tuple[Any, ...], message: dict[str, Any]) -> asyncio.Future[Delivery]:
        if self._topic_timeout is not None:
            await asyncio.to_thread(self.check_topic, args[0] if args else message["topic"])
        loop = asyncio.get_running_loop()
        start, pause = loop.time(), 0.001
        while (future := self.try_send(*args, **message)) is None:
            if self._block_timeout is not None and loop.time() - start >= self._block_timeout:
                self.gave_up()
                raise QueueFullError(
                    f"the producer's queue stayed full for {self._block_timeout:g} s (block_timeout)"
                )
            await asyncio.sleep(pause)
            pause = min(2 * pause, 0.02)
        return future

    # -- transactions --------------------------------------------------------------------------------------

    def init_transactions(self, timeout: float | None = None) -> None:
        """Register the transactional id: earlier producers with it are fenced, their transactions ended.

        Once, before the first transaction; ``transaction`` does it where it was not done.
        """
        super().init_transactions(timeout)
        self._transactions_ready = True

    def _begin(self, timeout: float | None) -> None:
        if not self._transactions_ready:
            self.init_transactions(timeout)
        self.begin_transaction()

    def _end(self, commit: bool, timeout: float | None) -> None:
        if not commit:
            self.abort_transaction(timeout)
            return
        try:
            self.commit_transaction(timeout)
        except KafkaAbortError:
            self.abort_transaction(timeout)
            raise


class Transaction:
    """One transaction of a producer; see ``KafkaProducer.transaction``.

    Raises KafkaAbortError when it could not commit and was aborted (begin again), KafkaFatalError when the
    producer has been fenced (make a new one), DeadlineError when a step took too long.
    """

    def __init__(self, producer: KafkaProducer, timeout: float | None) -> None:
        self._producer = producer
        self._timeout = timeout

    def __enter__(self) -> KafkaProducer:
        self._producer._begin(self._timeout)
        return self._producer

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._producer._end(error is None, self._timeout)

    async def __aenter__(self) -> KafkaProducer:
        await asyncio.to_thread(self._producer._begin, self._timeout)
        return self._producer

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self._producer._end, error is None, self._timeout)


_open: "weakref.WeakSet[KafkaProducer]" = weakref.WeakSet()


@atexit.register
def _close_open_producers() -> None:
    """What is in flight at the interpreter's exit gets its time; what is lost then is said."""
    for producer in list(_open):
        try:
            lost = producer.close(producer.exit_timeout)
        except InterfaceError:
            continue  # inherited over a fork: the parent's
        if lost and producer.journal is not None:
            logger.warning(
                "%d messages to Kafka wait in %s for the next process", lost, producer.journal.path
            )
        elif lost:
            logger.error("%d messages to Kafka were not delivered before the exit", lost)
