"""One HTTP request over libcurl, and exactly what became of it.

Doris' frontends answer a Stream Load with a redirect and never read its body, so the body must not be sent
before the server asks for it (``100 Continue``). libcurl does that; ``http.client`` and ``requests`` do not.

This module knows no policy: it follows no redirect, retries nothing and knows nothing of Doris. It answers
the one question that a retry depends on: how many bytes of the body has the server been able to see?
"""

import io
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

import pycurl

from dbint.errors import ConfigurationError

BodySource = bytes | bytearray | memoryview | BinaryIO | Iterable[bytes]

_UPLOAD_BUFFER = 512 * 1024
_TICK_S = 0.2  # how often a waiting call looks for signals, its deadline and its stop condition
_TLS_CODES = frozenset(
    {
        pycurl.E_SSL_CONNECT_ERROR,
        pycurl.E_SSL_CERTPROBLEM,
        pycurl.E_SSL_CIPHER,
        pycurl.E_SSL_CACERT,
        pycurl.E_SSL_CACERT_BADFILE,
    }
)
_CONNECT_CODES = frozenset({pycurl.E_COULDNT_RESOLVE_HOST, pycurl.E_COULDNT_CONNECT})


@dataclass(frozen=True, slots=True)
class Tls:
    """How HTTPS servers are checked, and how this client proves itself. All paths are PEM files."""

    ca_file: str | None = None
    client_certificate: str | None = None
    client_key: str | None = None
    verify: bool = True


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Limits of one exchange, in seconds."""

    connect: float
    idle: float  # no byte of the request taken, none of the answer given


@dataclass(frozen=True, slots=True)
class Response:
    """A complete answer."""

    status: int
    location: str | None
    body: bytes


class BrokenExchangeError(Exception):
    """No complete answer came.

    ``unreachable`` is true when there was no connection; ``sent`` is the number of bytes of the body that
    were handed to the connection: 0 means that the server cannot have acted on the body.
    """

    def __init__(self, reason: str, *, unreachable: bool, sent: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.unreachable = unreachable
        self.sent = sent


class StoppedError(Exception):
    """The caller's stop condition became true; ``sent`` as in :class:`BrokenExchangeError`."""

    def __init__(self, sent: int) -> None:
        super().__init__("stopped")
        self.sent = sent


class Body:
    """The bytes to upload, and whether they can be sent a second time.

    Bytes, seekable binary files and collections of bytes can; generators and pipes are spent by the first
    attempt. Raises ConfigurationError for text and for an empty body.
    """

    def __init__(self, source: BodySource) -> None:
        self.size: int | None = None
        self.handed = 0  # bytes given away so far, over all attempts
        self._started = False
        self._open: Callable[[], Callable[[int], bytes]]
        if isinstance(source, str):
            raise ConfigurationError("the body of a load is bytes, not str: encode it as UTF-8")
        if isinstance(source, bytes | bytearray | memoryview):
            data = bytes(source)
            self.size, self.replayable = len(data), True
            self._open = lambda: io.BytesIO(data).read
        elif hasattr(source, "read"):
            self._open_file(cast("BinaryIO", source))
        else:
            iterable = source
            # An iterator returns itself and can be walked once; a collection gives a new iterator each time.
            self.replayable = iter(iterable) is not iterable
            self._open = lambda: _chunk_reader(iter(iterable))
        if self.size == 0:
            raise ConfigurationError("the body of the load is empty: there is nothing to load")
        self._read = self._open()
        self._left = self.size

    def _open_file(self, file: BinaryIO) -> None:
        if isinstance(file, io.TextIOBase):
            raise ConfigurationError("the body of a load is a binary file: open it with mode 'rb'")
        self.replayable = file.seekable()
        if not self.replayable:
            self._open = lambda: file.read
            return
        start = file.tell()
        self.size = file.seek(0, os.SEEK_END) - start

        def rewind() -> Callable[[int], bytes]:
            file.seek(start)
            return file.read

        self._open = rewind

    def rewind(self) -> bool:
        """Go back to the first byte; False when bytes are gone that cannot be read again."""
        if self._started:
            if not self.replayable:
                return False
            self._read, self._left, self._started = self._open(), self.size, False
        return True

    def read(self, size: int) -> bytes:
        """The next bytes, at most ``size``; empty at the end."""
        self._started = True
        if self._left is None:
            data = self._read(size)
        else:
            # A file that grows meanwhile must not exceed the Content-Length that was announced.
            data = self._read(min(size, self._left)) if self._left else b""
            if not data and self._left:
                raise ConfigurationError(
                    f"the file to load became {self._left} bytes shorter while it was read"
                )
            self._left -= len(data)
        self.handed += len(data)
        return data


def _chunk_reader(chunks: Iterator[bytes]) -> Callable[[int], bytes]:
    rest = memoryview(b"")

    def read(size: int) -> bytes:
        nonlocal rest
        while not rest:
            chunk = next(chunks, None)
            if chunk is None:
                return b""
            rest = memoryview(chunk)
        data, rest = bytes(rest[:size]), rest[size:]
        return data

    return read


class Channel:
    """A libcurl handle and the connections that it keeps open. One thread at a time, and only in its own
    process.
    """

    def __init__(self) -> None:
        self._easy = pycurl.Curl()
        self._multi = pycurl.CurlMulti()

    def close(self) -> None:
        """Close the connections."""
        self._easy.close()
        self._multi.close()

    def request(
        self,
        url: str,
        *,
        credentials: tuple[str, str],
        timeouts: Timeouts,
        tls: Tls,
        deadline: float,
        stop: Callable[[], bool],
        headers: dict[str, str] | None = None,
        body: Body | None = None,
        max_answer: int = 1 << 20,
        truncate: bool = False,
    ) -> Response:
        """PUT ``body`` when there is one, GET otherwise; redirects are returned, not followed.

        ``deadline`` is a time of ``time.monotonic()``. An answer longer than ``max_answer`` bytes is an
        error, or cut there with ``truncate``. Raises BrokenExchangeError, StoppedError, ConfigurationError
        (TLS), and whatever reading the body raises.
        """
        run = _Run(body, max_answer, truncate)
        easy = self._easy
        easy.reset()
        for option, value in (
            (pycurl.URL, url.encode()),
            (pycurl.NOSIGNAL, 1),
            (pycurl.FOLLOWLOCATION, 0),
            # Databases are not asked through the web proxy of the environment: it would see the credentials.
            (pycurl.NOPROXY, "*"),
            (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1),
            (pycurl.TCP_KEEPALIVE, 1),
            (pycurl.HTTPAUTH, pycurl.HTTPAUTH_BASIC),
            (pycurl.USERNAME, credentials[0].encode()),
            (pycurl.PASSWORD, credentials[1].encode()),
            (pycurl.CONNECTTIMEOUT_MS, max(1, int(timeouts.connect * 1000))),
            (pycurl.HTTPHEADER, [f"{k}: {v}".encode() for k, v in (headers or {}).items()]),
            (pycurl.HEADERFUNCTION, run.on_header),
            (pycurl.WRITEFUNCTION, run.on_answer),
            (pycurl.SSL_VERIFYPEER, int(tls.verify)),
            (pycurl.SSL_VERIFYHOST, 2 if tls.verify else 0),
            (pycurl.CAINFO, tls.ca_file),
            (pycurl.SSLCERT, tls.client_certificate),
            (pycurl.SSLKEY, tls.client_key),
        ):
            if value is not None:
                easy.setopt(option, value)
        if body is not None:
            easy.setopt(pycurl.UPLOAD, 1)
            easy.setopt(pycurl.UPLOAD_BUFFERSIZE, _UPLOAD_BUFFER)
            easy.setopt(pycurl.READFUNCTION, run.on_read)
            easy.setopt(pycurl.SEEKFUNCTION, run.on_seek)
            # libcurl would send unasked after waiting a second for 100 Continue; the idle limit decides.
            easy.setopt(pycurl.EXPECT_100_TIMEOUT_MS, 2**31 - 1)
            if body.size is not None:
                easy.setopt(pycurl.INFILESIZE_LARGE, body.size)
        reason = self._drive(run, timeouts, deadline, stop)
        if run.error is not None:
            raise run.error
        if reason is None or run.cut:
            return Response(easy.getinfo(pycurl.RESPONSE_CODE), run.location, bytes(run.answer))
        code, text = reason
        if code in _TLS_CODES:
            raise ConfigurationError(
                f"TLS to {_host(url)} failed: {text}; check the https:// address and Tls(ca_file=…)"
            )
        if run.too_long:
            text = f"the answer is longer than {max_answer} bytes"
        connected = bool(easy.getinfo(pycurl.CONNECT_TIME)) and code not in _CONNECT_CODES
        raise BrokenExchangeError(text, unreachable=not connected, sent=run.sent)

    def _drive(
        self, run: "_Run", timeouts: Timeouts, deadline: float, stop: Callable[[], bool]
    ) -> tuple[int, str] | None:
        """Run the transfer to its end; libcurl's code and text when it failed.

        The multi interface returns to Python at least every ``_TICK_S`` seconds, so that signals such as
        Ctrl-C act.
        """
        self._multi.add_handle(self._easy)
        try:
            while True:
                _, running = self._multi.perform()
                if not running:
                    _, _, failed = self._multi.info_read()
                    return (failed[0][1], failed[0][2]) if failed else None
                now = time.monotonic()
                if stop():
                    raise StoppedError(run.sent)
                if now >= deadline:
                    return pycurl.E_OPERATION_TIMEDOUT, f"the deadline passed while {run.waiting()}"
                if self._easy.getinfo(pycurl.PRETRANSFER_TIME) and now - run.moved > timeouts.idle:
                    return (
                        pycurl.E_OPERATION_TIMEDOUT,
                        f"nothing moved for {timeouts.idle:g} s while {run.waiting()}",
                    )
                # -1: nothing to wait for (a name is resolved, or descriptors are above FD_SETSIZE).
                if self._multi.select(min(_TICK_S, max(0.001, deadline - now))) == -1:
                    time.sleep(0.02)
        finally:
            self._multi.remove_handle(self._easy)


class _Run:
    """What the callbacks of one transfer collect. An exception cannot pass through libcurl: it waits in
    ``error``.
    """

    def __init__(self, body: Body | None, max_answer: int, truncate: bool) -> None:
        self.body = body
        self.location: str | None = None
        self.answer = bytearray()
        self.error: BaseException | None = None
        self.too_long = self.cut = False
        self.moved = time.monotonic()
        self._max_answer, self._truncate = max_answer, truncate
        self._handed_before = body.handed if body is not None else 0

    @property
    def sent(self) -> int:
        return self.body.handed - self._handed_before if self.body is not None else 0

    def waiting(self) -> str:
        if self.body is not None and not self.sent:
            return "waiting for the server to ask for the body (100 Continue)"
        return "waiting for the answer"

    def on_header(self, line: bytes) -> None:
        self.moved = time.monotonic()
        name, _, value = line.partition(b":")
        if name.lower() == b"location":
            self.location = value.strip().decode("latin-1")

    def on_answer(self, data: bytes) -> int | None:
        self.moved = time.monotonic()
        room = self._max_answer - len(self.answer)
        self.answer += data[:room]
        if len(data) > room:
            self.cut, self.too_long = self._truncate, not self._truncate
            return 0
        return None

    def on_read(self, size: int) -> Any:
        self.moved = time.monotonic()
        assert self.body is not None  # noqa: S101 - set whenever this callback is installed
        try:
            return self.body.read(size)
        except BaseException as error:  # noqa: BLE001 - raised again by Channel.request
            self.error = error
            return pycurl.READFUNC_ABORT

    def on_seek(self, offset: int, origin: int) -> Any:
        """libcurl sends again on a new connection when a kept one turns out to be dead."""
        assert self.body is not None  # noqa: S101 - set whenever this callback is installed
        if offset or origin:
            return pycurl.SEEKFUNC_CANTSEEK
        try:
            return pycurl.SEEKFUNC_OK if self.body.rewind() else pycurl.SEEKFUNC_CANTSEEK
        except BaseException as error:  # noqa: BLE001 - raised again by Channel.request
            self.error = error
            return pycurl.SEEKFUNC_FAIL


def _host(url: str) -> str:
    return url.split("://", 1)[-1].split("/", 1)[0]
