"""The Stream Load client of Apache Doris.

A load is one HTTP PUT, named by a label that Doris runs at most once. What an answer means, and what follows
(Doris' manual, data-operate/import/import-way/stream-load-manual and data-operate/transaction):

===============================  ==================================  =====================================
Status                           meaning                             what ``load()`` does
===============================  ==================================  =====================================
Success                          committed and visible               returns
Publish Timeout                  committed, visible later            returns, ``visible=False``
Label Already Exists, FINISHED   an earlier attempt loaded it        returns, ``already=True``
Label Already Exists, RUNNING    an earlier attempt is at work       asks again, same label
Label Already Exists,            somebody's two-phase load waits     asks again, same label
PRECOMMITTED                     for its commit or abort
Fail                             rolled back, the label is free      raises LoadError, or tries again when
                                                                     the reason passes by itself
no answer                        unknown                             tries again, same label
===============================  ==================================  =====================================

The frontend answers with a redirect to a backend, in whose address it writes the user's password. The
redirect is therefore handled here: its credentials are dropped unread, and the client's own are sent only to
hosts on its list.
"""

import asyncio
import datetime as dt
import json
import logging
import os
import random
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Literal, NoReturn, Self, Unpack
from urllib.parse import quote

from dbint.errors import AuthenticationError, ClosedError, ConfigurationError, UnreachableError
from dbint.flow.http_exchange import (
    Body,
    BodySource,
    BrokenExchangeError,
    Channel,
    Response,
    StoppedError,
    Timeouts,
    Tls,
)
from dbint.flow.json_lines import json_line_chunks, json_lines
from dbint.flow.labels import check_label, make_label
from dbint.flow.load_options import Format, LoadOptions, load_headers
from dbint.flow.load_result import LoadError, LoadOutcomeUnknownError, LoadResult, parse_result
from dbint.flow.trusted_hosts import TrustedHosts, UnusableRedirectError, check_server, host_and_port

__all__ = [
    "LoadError",
    "LoadOptions",
    "LoadOutcomeUnknownError",
    "LoadResult",
    "StreamLoadClient",
    "Tls",
    "json_line_chunks",
    "json_lines",
    "make_label",
]

log = logging.getLogger(__name__)

_MAX_REDIRECTS = 3
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 5.0
# Too many versions: every further load makes it worse until a compaction has run, which takes seconds.
_CROWDED = re.compile(r"-235\b|too many versions", re.IGNORECASE)
_FIRST_CROWDED_PAUSE_S, _LONGEST_CROWDED_PAUSE_S = 1.0, 30.0
# Reasons that pass by themselves: too many versions (-235), too much at once, no backend just now.
_PASSING = re.compile(
    r"-235\b|TOO_MANY_TASKS|MEM_LIMIT_EXCEEDED|MEM_ALLOC_FAILED|too many (?:running )?(?:txns|tasks|versions)"
    r"|exceed(?:s)? (?:the )?(?:running )?txn.*limit|[Nn]o (?:available )?backend|NO_BACKEND_LOAD_AVAILABLE",
)
_NO_ERROR_LOG = "(the error log could not be read"
_ACCESS_DENIED = re.compile(r"no valid Basic authorization|[Aa]ccess denied|Unauthorized")

Credentials = tuple[str, str] | Callable[[], tuple[str, str]]


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """An attempt of a load that failed and will be repeated. ``number`` counts from 1; ``unreachable`` says
    that there was no connection to the server with whose host and port ``reason`` then begins.
    """

    number: int
    reason: str
    unreachable: bool


@dataclass(slots=True)
class _Attempt:
    """What is known about one ``load()`` call so far."""

    name: str
    label: str
    deadline: float
    body: Body
    on_retry: Callable[[FailedAttempt], None] = lambda _failed: None
    count: int = 0
    maybe_loaded: bool = False
    """A body, or a part of it, went out and no answer came back."""
    trouble: str = ""
    reached: bool = False
    tried: set[str] = field(default_factory=set)
    unreachable: set[str] = field(default_factory=set)
    """Backends that a frontend named and that could not be reached since the last pause."""
    redirected: bool = False
    crowded: bool = False
    """The last answer asks for a longer pause."""
    was_crowded: bool = False

    def tell(self, *, unreachable: bool = False) -> None:
        self.on_retry(FailedAttempt(self.count, self.trouble, unreachable))


class _UnreachableBackendError(BrokenExchangeError):
    """A frontend answers, and the backend that it names cannot be reached from here."""

    def __init__(self, address: str, broken: BrokenExchangeError) -> None:
        super().__init__(
            f"redirects to the backend {address}, which cannot be reached from here ({broken.reason}): if it "
            "has another address for this network, give that in address_map or be_urls, or send the header "
            "redirect-policy",
            unreachable=True,
            sent=broken.sent,
        )
        self.address = address


class StreamLoadClient:
    """Loads rows into Doris over HTTP, exactly once per label.

    ``fe_urls`` are frontends (``http://fe:8030``), tried in turn when one does not answer; or ``be_urls`` are
    backends (``http://be:8040``), asked directly, without a redirect. ``credentials`` is a pair, or a
    callable that gives the current pair and is asked for every attempt, so that rotated ones are taken up.

    ``allowed_hosts`` names the hosts that a redirect (or an error log's address) may lead to, beside the
    given servers and loopback: host names, ``".suffix"`` for all hosts under it, addresses, networks
    (``"10.0.0.0/8"``), or ``"*"``. ``address_map`` replaces ``"host:port"`` by another where backends are
    reached through NAT or port forwarding; what stands in it is allowed. A redirect from https to http is
    refused.

    Times are in seconds. ``deadline`` bounds a whole load with its retries, ``idle_timeout`` the time in
    which nothing moves on one connection, ``label_keep`` is Doris' ``label_keep_max_second``: a load is not
    repeated after half of that time, since a label that Doris has forgotten would load the rows twice.

    Safe for use by many threads at once: each running load has a connection of its own, and ended ones leave
    theirs for the next (only a backend keeps it; a frontend closes after a redirect). After ``fork`` the
    child opens its own. Calls block; in asyncio use :meth:`aload`, which runs :meth:`load` in a thread.
    Closing the client ends its running loads.
    """

    def __init__(
        self,
        fe_urls: Sequence[str] = (),
        *,
        be_urls: Sequence[str] = (),
        credentials: Credentials,
        allowed_hosts: Collection[str] = (),
        address_map: Mapping[str, str] | None = None,
        tls: Tls | None = None,
        connect_timeout: float = 5.0,
        idle_timeout: float = 60.0,
        deadline: float = 300.0,
        label_keep: float = 3 * 86400.0,
    ) -> None:
        if bool(fe_urls) == bool(be_urls):
            raise ConfigurationError("give either fe_urls or be_urls: the servers to load through")
        for name, urls in (("fe_urls", fe_urls), ("be_urls", be_urls)):
            if isinstance(urls, str):
                raise ConfigurationError(f"{name} is a list of addresses, not one string")
        self._servers = deque(check_server(url) for url in fe_urls or be_urls)
        self._credentials = credentials
        self._trusted = TrustedHosts(self._servers, allowed_hosts, address_map or {})
        self._tls = tls or Tls()
        for name, seconds in (
            ("connect_timeout", connect_timeout),
            ("idle_timeout", idle_timeout),
            ("deadline", deadline),
        ):
            if not seconds > 0:
                raise ConfigurationError(f"{name} is a number of seconds above 0, not {seconds!r}")
        self._timeouts = Timeouts(connect=connect_timeout, idle=idle_timeout)
        self._longest = label_keep / 2
        self._deadline = self._check_deadline(deadline)
        self._idle: deque[Channel] = deque()
        self._pid = os.getpid()
        self._closed = False

    def __repr__(self) -> str:
        return f"<StreamLoadClient {', '.join(sorted(self._servers))}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; loads that run in other threads end with an error. May be called again."""
        self._closed = True
        if self._pid == os.getpid():
            while self._idle:
                self._idle.pop().close()

    async def aload(
        self, database: str, table: str, body: BodySource, *, label: str, **arguments: Any
    ) -> LoadResult:
        """:meth:`load` in a thread. A cancelled call ends the load; whether it was loaded is then unknown."""
        cancel = threading.Event()
        try:
            return await asyncio.to_thread(
                self.load, database, table, body, label=label, cancel=cancel, **arguments
            )
        except asyncio.CancelledError:
            cancel.set()
            raise

    def load(
        self,
        database: str,
        table: str,
        body: BodySource,
        *,
        label: str,
        format: Format = "json",  # noqa: A002 - Doris' own word, and a keyword argument only
        headers: Mapping[str, str] | None = None,
        error_lines: int = 3,
        deadline: float | None = None,
        first_attempt: dt.datetime | None = None,
        cancel: threading.Event | None = None,
        on_retry: Callable[[FailedAttempt], None] | None = None,
        **options: Unpack[LoadOptions],
    ) -> LoadResult:
        """Load ``body`` into ``database.table`` and return when it is committed.

        ``body`` is bytes, a binary file, or an iterable of bytes. Attempts are repeated with the same label,
        with growing random pauses, until ``deadline`` (seconds; the client's by default); that needs a body
        that can be sent again: bytes, a seekable file, a list. A generator has one attempt. ``headers`` are
        further headers, unchecked. When Doris finds bad rows, the first ``error_lines`` lines of its error
        log join the error: they quote row data, so give 0 where that must not reach a log. A caller that
        repeats a load of an earlier run says by ``first_attempt`` (aware) when it first tried: once Doris may
        have forgotten the label, the load is refused. ``on_retry`` is called, on this thread, after each
        attempt that another one follows.

        Raises LoadError (Doris refused; nothing is loaded), LoadOutcomeUnknownError (repeat with the same
        label), UnreachableError (no server took the load), AuthenticationError, ConfigurationError and
        ClosedError.
        """
        seconds = self._deadline if deadline is None else self._check_deadline(deadline)
        request_headers = load_headers(check_label(label), format, options, headers)
        self._check_age(label, first_attempt, seconds)
        attempt = _Attempt(f"Stream Load {label}", label, time.monotonic() + seconds, Body(body))
        if on_retry is not None:
            attempt.on_retry = on_retry
        return self._run(_path(database, table), request_headers, attempt, seconds, error_lines, cancel)

    def load_in_group(
        self,
        database: str,
        table: str,
        body: BodySource,
        *,
        mode: Literal["sync_mode", "async_mode"],
        format: Format = "json",  # noqa: A002 - Doris' own word, and a keyword argument only
        headers: Mapping[str, str] | None = None,
        error_lines: int = 3,
        deadline: float | None = None,
        cancel: threading.Event | None = None,
        **options: Unpack[LoadOptions],
    ) -> LoadResult:
        """Load by group commit: Doris puts many small loads into one transaction. *Without a label, so not
        exactly once.*

        With ``sync_mode`` it returns when the rows are visible; with ``async_mode`` as soon as one backend
        has them in its log on disk: they become visible some seconds later (``visible`` is False), and are
        lost with that disk. A load whose body has gone out is never repeated, since that could load its rows
        twice: LoadOutcomeUnknownError then says that they may be there or not. What else it raises is as for
        :meth:`load`. Doris does not group partial updates and loads into named partitions: refused here.
        """
        for name in ("partial_columns", "partitions", "temporary_partitions", "unique_key_update_mode"):
            if options.get(name):
                raise ConfigurationError(f"{name} cannot be loaded by group commit; load() can")
        if mode not in ("sync_mode", "async_mode"):
            raise ConfigurationError(f"mode {mode!r} is not one of sync_mode, async_mode")
        seconds = self._deadline if deadline is None else self._check_deadline(deadline)
        request_headers = load_headers(None, format, options, headers, group_commit=mode)
        attempt = _Attempt("the group commit load", "", time.monotonic() + seconds, Body(body))
        result = self._run(_path(database, table), request_headers, attempt, seconds, error_lines, cancel)
        return replace(result, visible=False) if mode == "async_mode" else result

    def _run(
        self,
        path: str,
        request_headers: dict[str, str],
        attempt: _Attempt,
        seconds: float,
        error_lines: int,
        cancel: threading.Event | None,
    ) -> LoadResult:
        """Make attempts until one settles the load."""

        def stopped() -> bool:
            return self._closed or (cancel is not None and cancel.is_set())

        pause = _FIRST_PAUSE_S
        while True:
            if attempt.maybe_loaded and not attempt.label:
                self._raise_ungrouped(attempt)
            if stopped():
                self._raise_stopped(attempt)
            if time.monotonic() >= attempt.deadline:
                self._raise_late(attempt, seconds)
            if attempt.count and not attempt.body.rewind():
                self._raise_spent(attempt)
            server = self._servers[0]
            attempt.count += 1
            try:
                answer = self._send(server + path, request_headers, attempt, stopped)
                attempt.reached = True
                result = self._judge(answer, attempt, error_lines, stopped)
                if result is not None:
                    return result
                attempt.tell()
            except StoppedError as stop:
                attempt.maybe_loaded |= stop.sent > 0
                if attempt.maybe_loaded and not attempt.label:
                    attempt.trouble = "it was stopped"
                    self._raise_ungrouped(attempt)
                self._raise_stopped(attempt)
            except BrokenExchangeError as broken:
                attempt.maybe_loaded |= broken.sent > 0
                attempt.reached |= not broken.unreachable
                trouble = f"{host_and_port(server)}: {broken.reason}"
                if attempt.trouble and time.monotonic() >= attempt.deadline:
                    # Cut short by the deadline, it may say less than what was before.
                    trouble = f"{attempt.trouble}; then {trouble}"
                attempt.trouble = trouble
                is_redirected = isinstance(broken, _UnreachableBackendError)
                attempt.tell(unreachable=broken.unreachable and not is_redirected)
                if isinstance(broken, _UnreachableBackendError) and broken.address not in attempt.unreachable:
                    attempt.unreachable.add(broken.address)
                    attempt.redirected = True
                    continue  # the frontend takes its backends in turn
                attempt.tried.add(server)
                self._servers.rotate(-1)
                if self._servers[0] not in attempt.tried:
                    continue  # another server may answer at once
                attempt.tried.clear()
                attempt.unreachable.clear()
            except (AuthenticationError, ConfigurationError) as error:
                if attempt.maybe_loaded:
                    raise LoadOutcomeUnknownError(
                        f"{error}. An earlier attempt may have loaded the rows: once this is mended, repeat "
                        f"them with the same label {attempt.label}",
                        label=attempt.label,
                    ) from error
                raise
            log.warning("%s, attempt %d: %s", attempt.name, attempt.count, attempt.trouble)
            longest = _LONGEST_PAUSE_S
            if attempt.crowded:
                pause, longest = max(pause, _FIRST_CROWDED_PAUSE_S), _LONGEST_CROWDED_PAUSE_S
                attempt.crowded = False
            wait = random.uniform(pause / 2, pause)  # noqa: S311 - spreads retries, keeps no secret
            wait = max(0.0, min(wait, attempt.deadline - time.monotonic()))
            if cancel is not None:
                cancel.wait(wait)
            else:
                time.sleep(wait)
            pause = min(pause * 2, longest)

    # -- one attempt

    def _send(
        self, url: str, headers: dict[str, str], attempt: _Attempt, stopped: Callable[[], bool]
    ) -> Response:
        """PUT through as many redirects as there are, and return the last answer."""
        channel = self._take()
        try:
            for redirects in range(_MAX_REDIRECTS + 1):
                try:
                    response = channel.request(
                        url,
                        credentials=self._current_credentials(),
                        timeouts=self._timeouts,
                        tls=self._tls,
                        deadline=attempt.deadline,
                        stop=stopped,
                        headers=headers,
                        body=attempt.body,
                    )
                except BrokenExchangeError as broken:
                    if redirects and broken.unreachable:
                        raise _UnreachableBackendError(host_and_port(url), broken) from None
                    raise
                if response.status not in (301, 302, 307, 308):
                    return response
                if not response.location:
                    raise BrokenExchangeError("a redirect without Location", unreachable=False, sent=0)
                try:
                    url = self._trusted.follow(url, response.location)
                except UnusableRedirectError as error:
                    raise BrokenExchangeError(str(error), unreachable=False, sent=0) from None
                if not attempt.body.rewind():
                    self._raise_spent(attempt)
            raise BrokenExchangeError(f"more than {_MAX_REDIRECTS} redirects", unreachable=False, sent=0)
        finally:
            self._give_back(channel)

    # -- what the answer means

    def _judge(
        self, response: Response, attempt: _Attempt, error_lines: int, stopped: Callable[[], bool]
    ) -> LoadResult | None:
        """The result of a load that is committed, None to try again; raises when neither holds."""
        text = response.body.decode("utf-8", "replace")
        if response.status in (401, 403):
            raise AuthenticationError(
                f"Doris does not accept the credentials for {attempt.name} (HTTP "
                f"{response.status}): check user and password, and that the user has LOAD_PRIV on the table"
            )
        try:
            answer = json.loads(text)
        except ValueError:
            answer = None
        if not isinstance(answer, dict) and 400 <= response.status < 500 and not attempt.maybe_loaded:
            raise LoadError(
                f"{attempt.name}: HTTP {response.status} from a server that does not speak "
                "like Doris; check the address and the HTTP port (frontend 8030, backend 8040)",
                label=attempt.label,
            )
        if not isinstance(answer, dict) or response.status >= 500:
            # Perhaps a proxy in between answered for a backend that has the rows: nothing is known.
            attempt.maybe_loaded |= attempt.body.handed > 0
            attempt.trouble = (
                f"an answer that is not Doris' (HTTP {response.status}): {self._redacted(text[:200])!r}"
            )
            return None
        status = answer.get("Status")
        if not isinstance(status, str):
            self._judge_frontend(response, answer, attempt)
            return None
        result = parse_result(answer, attempt.label or str(answer.get("Label", "")), attempt.count)
        if status in ("Success", "Publish Timeout"):
            return replace(result, crowded=attempt.was_crowded)
        message = self._redacted(result.message)
        if status == "Label Already Exists":
            job = result.existing_job_status
            if job in ("FINISHED", "VISIBLE", "COMMITTED"):
                return result
            attempt.maybe_loaded = True
            attempt.trouble = f"an earlier attempt with this label is {job or 'in an unknown state'}"
            if job == "PRECOMMITTED":
                attempt.trouble += ": a two-phase load that waits for its commit or abort"
            return None
        if _ACCESS_DENIED.search(message):
            raise AuthenticationError(f"Doris refuses {attempt.name}: {message}")
        if result.txn_id is not None and result.txn_id > 0:
            # This attempt got the label, so no earlier one that gave no answer has loaded anything.
            attempt.maybe_loaded = False
        if attempt.maybe_loaded or _PASSING.search(message):
            attempt.trouble = message
            attempt.crowded = _CROWDED.search(message) is not None
            attempt.was_crowded |= attempt.crowded
            return None
        lines = self.error_lines(result.error_url, error_lines, stopped) if result.error_url else ()
        first = answer.get("FirstErrorMsg")
        if error_lines > 0 and isinstance(first, str) and (not lines or lines[0].startswith(_NO_ERROR_LOG)):
            lines = (self._redacted(first)[:500], *lines)
        raise LoadError(
            f"{attempt.name} failed: {message}" + "".join(f"\n  {line}" for line in lines),
            label=attempt.label,
            result=result,
            error_lines=lines,
        )

    def _judge_frontend(self, response: Response, answer: dict[str, Any], attempt: _Attempt) -> None:
        """A frontend that refuses says so with HTTP 200 and another shape of JSON; no load has begun."""
        message = self._redacted(" ".join(str(answer[k]) for k in ("msg", "data") if answer.get(k)))[:500]
        if answer.get("code") in (401, 403) or _ACCESS_DENIED.search(message):
            raise AuthenticationError(f"Doris refuses {attempt.name}: {message}")
        if not attempt.maybe_loaded and not _PASSING.search(message):
            raise LoadError(
                f"{attempt.name} was refused (HTTP {response.status}): {message or 'no reason given'}",
                label=attempt.label,
            )
        attempt.trouble = message

    def error_lines(
        self, error_url: str, limit: int, stopped: Callable[[], bool] = lambda: False
    ) -> tuple[str, ...]:
        """The first ``limit`` lines of a load's error log, each cut at 500 characters. They quote row data.

        When the log cannot be had, one line says why. The host has to be allowed, as for a redirect.
        """
        if limit <= 0:
            return ()
        channel = self._take()
        try:
            target = self._trusted.follow(self._servers[0], error_url)
            response = channel.request(
                target,
                credentials=self._current_credentials(),
                timeouts=self._timeouts,
                tls=self._tls,
                deadline=time.monotonic() + self._timeouts.connect + 5,
                stop=stopped,
                max_answer=64 * 1024,
                truncate=True,
            )
        except (BrokenExchangeError, ConfigurationError, StoppedError, UnusableRedirectError) as error:
            return (f"{_NO_ERROR_LOG}: {error})",)
        finally:
            self._give_back(channel)
        if response.status != 200:
            return (f"{_NO_ERROR_LOG}: HTTP {response.status})",)
        lines = self._redacted(response.body.decode("utf-8", "replace")).splitlines()
        return tuple(line[:500] for line in lines if line.strip())[:limit]

    # -- endings

    def _raise_stopped(self, attempt: _Attempt) -> NoReturn:
        why = "the client was closed" if self._closed else "the load was cancelled"
        if attempt.maybe_loaded:
            raise LoadOutcomeUnknownError(
                f"{why} while {attempt.name} was under way: whether it is loaded is unknown. "
                "Repeat it with the same label",
                label=attempt.label,
            )
        raise ClosedError(f"{why}; {attempt.name} has loaded nothing")

    def _raise_ungrouped(self, attempt: _Attempt) -> NoReturn:
        raise LoadOutcomeUnknownError(
            f"{attempt.name} was sent and no answer came ({attempt.trouble}): its rows may be loaded or not, "
            "and without a label a repetition could load them twice",
            label="",
        )

    def _raise_spent(self, attempt: _Attempt) -> NoReturn:
        message = (
            f"{attempt.name}: {attempt.trouble or 'a redirect came after the body'}; and the "
            "body cannot be sent again. Give bytes, a seekable file or a list instead of a generator or pipe"
        )
        if attempt.maybe_loaded:
            raise LoadOutcomeUnknownError(
                f"{message}; whether it is loaded is unknown, so repeat the rows with the same label",
                label=attempt.label,
            )
        raise LoadError(message, label=attempt.label)

    def _raise_late(self, attempt: _Attempt, seconds: float) -> NoReturn:
        tail = f"within {seconds:g} s and {attempt.count} attempts; last: {attempt.trouble}"
        if attempt.maybe_loaded:
            raise LoadOutcomeUnknownError(
                f"{attempt.name} has no certain end {tail}. Whether it is loaded is unknown: "
                "repeat it with the same label",
                label=attempt.label,
            )
        if attempt.reached:
            raise LoadError(f"{attempt.name} was not accepted {tail}", label=attempt.label)
        raise UnreachableError(
            f"no Doris server took {attempt.name} {tail}"
            + ("" if attempt.redirected else ". Check host and HTTP port (frontend 8030, backend 8040)")
        )

    # -- small things

    def _check_deadline(self, seconds: float) -> float:
        if not 0 < seconds <= self._longest:
            raise ConfigurationError(
                f"deadline is {seconds:g} s: it must be above 0 and at most half of label_keep "
                f"({self._longest:g} s), after which Doris may have forgotten the label and would load the "
                "rows twice"
            )
        return seconds

    def _check_age(self, label: str, first_attempt: dt.datetime | None, seconds: float) -> None:
        if first_attempt is None:
            return
        if first_attempt.tzinfo is None:
            raise ConfigurationError("first_attempt needs a time zone")
        age = (dt.datetime.now(dt.UTC) - first_attempt).total_seconds()
        if age + seconds > self._longest:
            raise LoadOutcomeUnknownError(
                f"Stream Load {label} was first tried {age / 3600:.1f} h ago: Doris may have forgotten the "
                "label, and repeating it could load the rows twice. Look for the rows in the table before "
                "loading them",
                label=label,
            )

    def _current_credentials(self) -> tuple[str, str]:
        return self._credentials() if callable(self._credentials) else self._credentials

    def _redacted(self, text: str) -> str:
        password = self._current_credentials()[1]
        return text.replace(password, "***") if password else text

    def _take(self) -> Channel:
        if self._closed:
            raise ClosedError("this StreamLoadClient is closed")
        if self._pid != os.getpid():
            # The parent's connections: closing them here could say goodbye on its TLS sessions. They are
            # kept, unused.
            _inherited.append(self._idle)
            self._idle = deque()
            self._pid = os.getpid()
        try:
            return self._idle.pop()
        except IndexError:
            return Channel()

    def _give_back(self, channel: Channel) -> None:
        if self._closed:
            channel.close()
        else:
            self._idle.append(channel)


def _path(database: str, table: str) -> str:
    if not database or not table:
        raise ConfigurationError("a load needs the names of its database and table")
    return f"/api/{quote(database, safe='')}/{quote(table, safe='')}/_stream_load"


_inherited: list[deque[Channel]] = []
