"""The small part of HTTP/1.1 that the two HTTP ports need: request heads, bodies, answers; one request a
connection.
"""

import asyncio
import base64
import hmac
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

logger = logging.getLogger("dbint.emulators.doris")
_HEAD_TIMEOUT = 60.0
_CHUNK = 1 << 18
_REASONS = {
    200: "OK",
    307: "Temporary Redirect",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    405: "Method Not Allowed",
    500: "Internal Server Error",
}


class BadRequestError(Exception):
    """What arrived is not a request that can be answered otherwise than by 400."""


@dataclass(slots=True)
class Request:
    """A request's head; header names are in lower case. The body is read when it is wanted."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    received: int = 0  # bytes of the body, so far
    status: int | None = None  # of the answer

    def header(self, name: str, default: str = "") -> str:
        return self.headers.get(name, default)

    @property
    def credentials(self) -> tuple[str, str] | None:
        """User and password of Basic authorization; None where there is none that can be read."""
        scheme, _, encoded = self.header("authorization").partition(" ")
        if scheme.lower() != "basic":
            return None
        try:
            user, separator, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except ValueError:
            return None
        return (user, password) if separator else None

    async def body(self) -> AsyncIterator[bytes]:
        """The body in pieces. Raises BadRequestError, or IncompleteReadError where the client leaves."""
        if "chunked" in self.header("transfer-encoding").lower():
            async for piece in self._chunks():
                yield piece
            return
        length = self.header("content-length", "0")
        if not length.isdigit():
            raise BadRequestError("Content-Length is not a number")
        left = int(length)
        while left:
            piece = await self.reader.read(min(left, _CHUNK))
            if not piece:
                raise asyncio.IncompleteReadError(b"", left)
            left -= len(piece)
            self.received += len(piece)
            yield piece

    async def _chunks(self) -> AsyncIterator[bytes]:
        while True:
            try:
                left = int((await self.reader.readuntil(b"\r\n")).split(b";")[0], 16)
            except ValueError:
                raise BadRequestError("a chunk without a size") from None
            if left == 0:
                while (await self.reader.readuntil(b"\r\n")) != b"\r\n":
                    pass  # trailers
                return
            while left:
                piece = await self.reader.read(min(left, _CHUNK))
                if not piece:
                    raise asyncio.IncompleteReadError(b"", left)
                left -= len(piece)
                self.received += len(piece)
                yield piece
            await self.reader.readexactly(2)


async def reply(
    request: Request,
    status: int,
    body: Any,
    *,
    headers: dict[str, str] | None = None,
    content_type: str = "application/json",
) -> None:
    """Send an answer; what is not text or bytes is sent as indented JSON."""
    request.status = status
    if isinstance(body, str):
        body = body.encode()
    elif not isinstance(body, bytes):
        body = json.dumps(body, indent=4, ensure_ascii=False).encode() + b"\n"
    lines = {
        "Content-Type": content_type,
        "Content-Length": str(len(body)),
        "Connection": "close",
        **(headers or {}),
    }
    head = "".join(f"{k}: {v}\r\n" for k, v in lines.items())
    request.writer.write(f"HTTP/1.1 {status} {_REASONS[status]}\r\n{head}\r\n".encode() + body)
    await request.writer.drain()


def check_login(request: Request, user: str, password: str) -> bool:
    """Whether the request carries the account's credentials."""
    given = request.credentials
    if given is None:
        return False
    same_user = hmac.compare_digest(given[0].encode(), user.encode())
    return hmac.compare_digest(given[1].encode(), password.encode()) and same_user


async def serve(
    handler: Callable[[Request], Awaitable[None]], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Read one request, let the handler answer it, close."""
    try:
        request = await asyncio.wait_for(_read_head(reader, writer), _HEAD_TIMEOUT)
        try:
            await handler(request)
        except BadRequestError as error:
            await reply(request, 400, f"{error}\n", content_type="text/plain")
    except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
        pass  # the client has gone, or never said anything that can be answered
    except BadRequestError:
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    except asyncio.CancelledError:
        pass  # the emulator stops
    except Exception:
        logger.exception("an HTTP request failed inside the emulator")
    finally:
        writer.close()


async def _read_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    parts = head[0].split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        raise BadRequestError(head[0][:100])
    headers: dict[str, str] = {}
    for line in head[1:]:
        name, separator, value = line.partition(":")
        if separator:
            # header values may be UTF-8 (a where clause, a label), which HTTP carries as Latin-1
            headers[name.strip().lower()] = value.strip().encode("latin-1").decode("utf-8", "replace")
    url = urlsplit(parts[1])
    return Request(parts[0], unquote(url.path), dict(parse_qsl(url.query)), headers, reader, writer)
