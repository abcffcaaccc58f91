"""PostgreSQL that is killed, stopped and restarted while it copies and while it commits, or stands still."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from dbint.events import DatabaseConfig
from stack import Stack
from tests.faults.events import TABLE, Admin, Writing, direct_writer, event, landed, superuser, until, writing

# A shipment stands still where this is called, until nobody holds the lock any more.
GATE = """
CREATE FUNCTION gate() RETURNS trigger LANGUAGE plpgsql
    AS $$ BEGIN PERFORM pg_advisory_xact_lock_shared(4); RETURN NEW; END $$;
"""
IN_COPY = f"{GATE} CREATE TRIGGER gate BEFORE INSERT ON {TABLE} FOR EACH ROW EXECUTE FUNCTION gate()"
BEFORE_COMMIT = f"""{GATE} CREATE CONSTRAINT TRIGGER gate AFTER INSERT ON {TABLE}
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION gate()"""

SHIPMENT = """
SELECT pid FROM pg_stat_activity WHERE query LIKE '/* dbint %%' AND wait_event = %s AND datname = %s
"""


def shipment(admin: Admin, config: DatabaseConfig, waits_for: str) -> int:
    """The process of the backend that stands still with a shipment."""

    def find() -> int:
        row = admin.execute(SHIPMENT, (waits_for, config.database)).fetchone()
        return row[0] if row else 0

    return int(until(find))


@contextmanager
def stopped_at_gate(server: Stack, config: DatabaseConfig, where: str, events: Writing) -> Iterator[int]:
    """Writes 300 events, whose shipment stands still ``where`` for the time of the block; its backend."""
    with superuser(server, config.database) as admin, superuser(server, config.database) as keeper:
        admin.execute(where)  # type: ignore[call-overload]
        keeper.execute("SELECT pg_advisory_lock(4)")
        events.write(300)
        yield shipment(admin, config, "advisory")


@contextmanager
def stopped_after_commit(server: Stack, config: DatabaseConfig, events: Writing) -> Iterator[int]:
    """The same, with a commit that is done and waits for a standby that there is not."""
    with superuser(server, config.database) as admin:
        admin.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        admin.execute("SELECT pg_reload_conf()")
        until(lambda: admin.execute("SHOW synchronous_standby_names").fetchone() == ("nobody",))
        events.write(300)
        backend = shipment(admin, config, "SyncRep")
        admin.execute("ALTER SYSTEM RESET synchronous_standby_names")  # as of the next start
        yield backend


def immediately(server: Stack) -> None:
    """Stops the server as ``pg_ctl stop -m immediate`` does."""
    data = Path(server.directory, "postgres", "data")
    pid = int((data / "postmaster.pid").read_text().split()[0])
    os.kill(pid, signal.SIGQUIT)
    until(lambda: not server.is_running("postgres"))


ENDS: dict[str, Callable[[Stack], None]] = {
    "kill -9": lambda server: server.kill("postgres"),
    "stop -m immediate": immediately,
    "restart": lambda server: server.stop("postgres"),
}
MOMENTS: dict[str, Callable[[Stack, DatabaseConfig, Writing], AbstractContextManager[int]]] = {
    "in COPY": lambda server, config, events: stopped_at_gate(server, config, IN_COPY, events),
    "before COMMIT": lambda server, config, events: stopped_at_gate(server, config, BEFORE_COMMIT, events),
    "after COMMIT": stopped_after_commit,
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_server_that_ends(moment: str, end: str, server: Stack, config: DatabaseConfig) -> None:
    with writing(config) as events:
        events.write(100)
        events.land()
        with MOMENTS[moment](server, config, events):
            ENDS[end](server)
        events.write(100)  # while it is away
        server.start("postgres")
        events.settle()
        # What was committed and not answered is found in the ledger, and not sent again.
        assert events.figures()["ambiguous_commits_resolved"] == (moment == "after COMMIT")


@pytest.mark.parametrize("where", [IN_COPY, BEFORE_COMMIT], ids=["in COPY", "before COMMIT"])
def test_a_retry_while_the_first_attempt_is_uncommitted(
    where: str, server: Stack, config: DatabaseConfig, admin: Admin
) -> None:
    """A backend that is stopped cannot be ended: the retry waits or fails, and nothing lands twice."""
    config.journal_path.mkdir(parents=True)
    with (
        direct_writer(config, stall_timeout=0.5) as (writer, stream),
        superuser(server, config.database) as keeper,
    ):
        admin.execute(where)  # type: ignore[call-overload]
        keeper.execute("SELECT pg_advisory_lock(4)")
        for number in range(300):
            stream.write_sync(**event(number))
        backend = shipment(admin, config, "advisory")
        os.kill(backend, signal.SIGSTOP)
        try:
            keeper.execute("SELECT pg_advisory_unlock(4)")
            until(lambda: others(admin, config, backend))
            time.sleep(1)
            assert writer.flush(0) == 300
        finally:
            os.kill(backend, signal.SIGCONT)
        until(lambda: writer.retry() or writer.flush(1) == 0)
        figures = stream.snapshot()
        assert (figures["accepted"], figures["landed"]) == (300, 300)
    assert len(landed(config)) == 300


def others(admin: Admin, config: DatabaseConfig, first: int) -> list[Any]:
    """The writer's connections but for that of its first attempt."""
    statement = "SELECT pid FROM pg_stat_activity WHERE datname = %s AND usename = %s AND pid <> %s"
    return admin.execute(statement, (config.database, config.user, first)).fetchall()
