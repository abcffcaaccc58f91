"""The Stream Load client against servers that say exactly what a test wants, over raw sockets."""

import asyncio
import base64
import contextlib
import datetime as dt
import io
import json
import logging
import os
import resource
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from dbint.errors import AuthenticationError, ClosedError, ConfigurationError, UnreachableError
from dbint.flow.stream_load import FailedAttempt, LoadError, LoadOutcomeUnknownError, StreamLoadClient

USER, PASSWORD = "loader", "s3cr3t-p@ss"
AUTHORIZATION = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
BODY = b'{"id": 1}\n{"id": 2}\n'


@dataclass
class Seen:
    """One request as the server saw it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes | None = None


@dataclass
class Peer:
    """The server's side of one connection."""

    sock: socket.socket
    server: "ScriptedServer"
    buffer: bytes = b""

    def head(self) -> Seen | None:
        while b"\r\n\r\n" not in self.buffer:
            data = self.sock.recv(65536)
            if not data:
                return None
            self.buffer += data
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        first, *rest = head.decode().split("\r\n")
        method, path, _ = first.split(" ", 2)
        seen = Seen(method, path, {k.lower(): v.strip() for k, v in (line.split(":", 1) for line in rest)})
        self.server.seen.append(seen)
        return seen

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def answer(self, body: bytes | dict, status: str = "200 OK", extra: str = "") -> None:
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        self.send(f"HTTP/1.1 {status}\r\nContent-Length: {len(data)}\r\n{extra}\r\n".encode() + data)

    def take_body(self, seen: Seen) -> None:
        """Ask for the body and read it."""
        assert not self.buffer, "the client sent its body unasked"
        self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if "content-length" in seen.headers:
            size = int(seen.headers["content-length"])
            while len(self.buffer) < size:
                self.buffer += self.sock.recv(65536)
            seen.body, self.buffer = self.buffer[:size], self.buffer[size:]
        else:
            while not self.buffer.endswith(b"0\r\n\r\n"):
                self.buffer += self.sock.recv(65536)
            out, rest = b"", self.buffer
            while rest:
                size_line, rest = rest.split(b"\r\n", 1)
                size = int(size_line, 16)
                out, rest = out + rest[:size], rest[size + 2 :]
            seen.body, self.buffer = out, b""

    def reset(self) -> None:
        """Close with RST, as a killed server does."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


Step = Callable[[Peer], None]


@dataclass
class ScriptedServer:
    """Plays one step of its script for each request; a request beyond the script fails the test."""

    script: list[Step] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    connections: int = 0
    errors: list[BaseException] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.url = f"http://{self.address}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self.listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(Peer(sock, self),), daemon=True).start()

    def _serve(self, peer: Peer) -> None:
        try:
            while peer.sock.recv(1, socket.MSG_PEEK):
                assert self.script, f"a request beyond the script: {peer.head()}"
                self.script.pop(0)(peer)
                if peer.sock.fileno() == -1:
                    return
        except ConnectionError:
            pass
        except Exception as error:  # noqa: BLE001 - fails the test in close()
            self.errors.append(error)
        finally:
            peer.sock.close()

    def close(self) -> None:
        self.listener.close()
        assert not self.errors, self.errors


def result(status: str = "Success", **more: object) -> dict:
    return {
        "TxnId": 7,
        "Label": "l",
        "Comment": "",
        "TwoPhaseCommit": "false",
        "Status": status,
        "Message": "OK",
        "NumberTotalRows": 2,
        "NumberLoadedRows": 2,
        "NumberFilteredRows": 0,
        "NumberUnselectedRows": 0,
        "LoadBytes": len(BODY),
        "LoadTimeMs": 12,
        **more,
    }


def takes(answer: dict | bytes, status: str = "200 OK") -> Step:
    """A backend that reads the body and answers."""

    def step(peer: Peer) -> None:
        seen = peer.head()
        peer.take_body(seen)
        peer.answer(answer, status)

    return step


def says(answer: dict | bytes, status: str = "200 OK", extra: str = "") -> Step:
    """A server that answers without asking for the body, and closes."""

    def step(peer: Peer) -> None:
        peer.head()
        peer.answer(answer, status, extra + "Connection: close\r\n")
        peer.sock.close()

    return step


def redirects(server: "ScriptedServer | str", scheme: str = "http") -> Step:
    """A frontend: 307, with the credentials in Location as Doris writes them, and nothing is read."""
    address = server if isinstance(server, str) else server.address
    location = f"{scheme}://{USER}:{PASSWORD}@{address}/api/shop/orders/_stream_load"
    return says(b"", "307 Temporary Redirect", f"Location: {location}\r\n")


def dies_after_body(peer: Peer) -> None:
    peer.take_body(peer.head())
    peer.reset()


def silence(peer: Peer) -> None:
    peer.head()
    time.sleep(30)


def silence_after_body(peer: Peer) -> None:
    peer.take_body(peer.head())
    time.sleep(30)


@pytest.fixture
def fe() -> Iterator[ScriptedServer]:
    server = ScriptedServer()
    yield server
    server.close()


@pytest.fixture
def be() -> Iterator[ScriptedServer]:
    server = ScriptedServer()
    yield server
    server.close()


@pytest.fixture(autouse=True)
def no_secret_anywhere(caplog, capfd) -> Iterator[None]:
    """Whatever a test does, the password reaches neither the log nor the terminal."""
    caplog.set_level(logging.DEBUG)
    yield
    out = capfd.readouterr()
    for text in (caplog.text, out.out, out.err):
        assert PASSWORD not in text
        assert AUTHORIZATION not in text


def client(*fe: ScriptedServer, **arguments) -> StreamLoadClient:
    arguments.setdefault("deadline", 5)
    arguments.setdefault("idle_timeout", 2)
    return StreamLoadClient([s.url for s in fe], credentials=(USER, PASSWORD), **arguments)


def direct(*be: ScriptedServer, **arguments) -> StreamLoadClient:
    return client(be_urls=[s.url for s in be], **arguments)


def load(client: StreamLoadClient, body=BODY, **arguments):
    return client.load("shop", "orders", body, label=arguments.pop("label", "l"), **arguments)


# -- the way through frontend and backend


def test_frontend_redirects_and_backend_loads(fe, be):
    fe.script, be.script = [redirects(be)], [takes(result())]
    loaded = load(client(fe))
    assert (loaded.status, loaded.visible, loaded.already, loaded.attempts) == ("Success", True, False, 1)
    assert (loaded.txn_id, loaded.rows_total, loaded.rows_loaded, loaded.load_ms) == (7, 2, 2, 12)
    assert loaded.put_ms is None
    assert be.seen[0].body == BODY
    for seen in (fe.seen[0], be.seen[0]):
        assert (seen.method, seen.path) == ("PUT", "/api/shop/orders/_stream_load")
        assert seen.headers["expect"] == "100-continue"
        assert seen.headers["authorization"] == AUTHORIZATION
        assert seen.headers["label"] == "l"
        assert seen.headers["timezone"] == "UTC"
        assert seen.headers["read_json_by_line"] == "true"


def test_body_waits_longer_than_curls_own_second(fe, be):
    def slow_frontend(peer: Peer) -> None:
        peer.head()
        time.sleep(1.5)
        peer.sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            assert not peer.sock.recv(1), "the body came before the frontend had answered"
        peer.sock.setblocking(True)
        peer.answer(b"", "307 X", f"Location: {be.url}/api/shop/orders/_stream_load\r\nConnection: close\r\n")
        peer.sock.close()

    fe.script, be.script = [slow_frontend], [takes(result())]
    assert load(client(fe)).rows_loaded == 2


def test_backend_connection_is_reused(be):
    be.script = [takes(result()), takes(result()), takes(result())]
    with direct(be) as c:
        for number in range(3):
            load(c, label=f"l{number}")
    assert be.connections == 1


def test_a_kept_connection_that_died_is_replaced(be):
    def answer_then_vanish(peer: Peer) -> None:
        takes(result())(peer)
        peer.sock.close()

    be.script = [answer_then_vanish, takes(result())]
    with direct(be) as c:
        load(c)
        time.sleep(0.1)
        assert load(c, label="m").rows_loaded == 2
    assert [seen.body for seen in be.seen] == [BODY, BODY]


@pytest.mark.parametrize(
    "body",
    [
        bytearray(BODY),
        memoryview(BODY),
        io.BytesIO(BODY),
        [BODY[:3], b"", BODY[3:]],
        (chunk for chunk in (BODY[:5], BODY[5:])),
    ],
    ids=["bytearray", "memoryview", "file", "list", "generator"],
)
def test_kinds_of_bodies(be, body):
    be.script = [takes(result())]
    load(direct(be), body)
    assert be.seen[0].body == BODY
    chunked = isinstance(body, list) or hasattr(body, "gi_frame")
    assert ("content-length" in be.seen[0].headers) is not chunked


def test_file_is_read_from_where_it_stands(be):
    file = io.BytesIO(b"skipped" + BODY)
    file.seek(7)
    be.script = [dies_after_body, takes(result())]
    load(direct(be), file)
    assert [seen.body for seen in be.seen] == [BODY, BODY]


def test_large_body(be):
    body = os.urandom(1 << 16) * 128
    be.script = [takes(result())]
    load(direct(be), body)
    assert be.seen[0].body == body


@pytest.mark.parametrize("body", ["text", b"", io.StringIO("text")], ids=["str", "empty", "text file"])
def test_bodies_that_cannot_be(be, body):
    with pytest.raises(ConfigurationError):
        load(direct(be), body)


# -- every row of the table of answers


def test_publish_timeout_is_committed(be):
    be.script = [takes(result("Publish Timeout"))]
    loaded = load(direct(be))
    assert (loaded.visible, loaded.already, loaded.attempts) == (False, False, 1)


def test_label_that_finished_is_done(be):
    be.script = [says(result("Label Already Exists", ExistingJobStatus="FINISHED"))]
    loaded = load(direct(be))
    assert loaded.already
    assert be.seen[0].body is None


@pytest.mark.parametrize("job", ["RUNNING", "PRECOMMITTED"])
def test_label_in_flight_is_asked_for_again(be, job):
    running = says(result("Label Already Exists", ExistingJobStatus=job))
    be.script = [running, running, says(result("Label Already Exists", ExistingJobStatus="FINISHED"))]
    loaded = load(direct(be))
    assert (loaded.already, loaded.attempts) == (True, 3)
    assert {seen.headers["label"] for seen in be.seen} == {"l"}


def test_label_in_flight_that_is_cancelled_is_loaded(be):
    be.script = [says(result("Label Already Exists", ExistingJobStatus="RUNNING")), takes(result())]
    assert not load(direct(be)).already
    assert be.seen[1].body == BODY


def test_label_in_flight_until_the_deadline(be):
    be.script = [says(result("Label Already Exists", ExistingJobStatus="PRECOMMITTED"))] * 50
    with pytest.raises(LoadOutcomeUnknownError, match="two-phase load") as caught:
        load(direct(be), deadline=0.5)
    assert caught.value.label == "l"


def test_fail_quotes_the_error_log(be):
    log = b"Reason: column_name[id], the length is too long. src line [x];\n" + b"more\n" * 9
    be.script = [
        takes(
            result(
                "Fail",
                Message="[DATA_QUALITY_ERROR]too many filtered rows",
                NumberFilteredRows=2,
                ErrorURL=f"{be.url}/api/_load_error_log?file=x",
            )
        ),
        says(log),
    ]
    with pytest.raises(LoadError, match="too many filtered rows") as caught:
        load(direct(be))
    assert len(caught.value.error_lines) == 3
    assert "the length is too long" in str(caught.value)
    assert caught.value.result.rows_filtered == 2
    assert (be.seen[1].method, be.seen[1].path) == ("GET", "/api/_load_error_log?file=x")


def test_row_data_can_be_kept_out_of_the_error(be):
    be.script = [takes(result("Fail", Message="bad", ErrorURL=f"{be.url}/api/_load_error_log?file=x"))]
    with pytest.raises(LoadError) as caught:
        load(direct(be), error_lines=0)
    assert caught.value.error_lines == ()
    assert len(be.seen) == 1


def test_error_log_on_a_foreign_host_is_not_fetched(be):
    be.script = [takes(result("Fail", Message="bad", ErrorURL="http://192.0.2.1:8040/log"))]
    with pytest.raises(LoadError, match="not among the allowed hosts"):
        load(direct(be))


def test_huge_error_log_is_cut(be):
    be.script = [
        takes(result("Fail", Message="bad", ErrorURL=f"{be.url}/log")),
        says(b"y" * (1 << 20)),
    ]
    with pytest.raises(LoadError) as caught:
        load(direct(be))
    assert caught.value.error_lines == ("y" * 500,)


def test_fail_that_passes_is_tried_again(be):
    be.script = [takes(result("Fail", Message="[E-235]failed: err=-235, too many versions")), takes(result())]
    told: list[FailedAttempt] = []
    assert load(direct(be), on_retry=told.append).attempts == 2
    assert told == [FailedAttempt(1, "[E-235]failed: err=-235, too many versions", unreachable=False)]


def test_no_answer_is_tried_again_with_the_same_label(be):
    be.script = [dies_after_body, says(result("Label Already Exists", ExistingJobStatus="FINISHED"))]
    loaded = load(direct(be))
    assert (loaded.already, loaded.attempts) == (True, 2)
    assert [seen.headers["label"] for seen in be.seen] == ["l", "l"]


def test_no_answer_until_the_deadline_is_unknown(be):
    be.script = [dies_after_body] * 50
    with pytest.raises(LoadOutcomeUnknownError, match="same label"):
        load(direct(be), deadline=0.6)


def test_failure_after_no_answer_is_not_taken_for_the_first_attempt(be):
    """The first attempt may still be at work when the second is refused before Doris looked at the label."""
    be.script = [
        dies_after_body,
        says(result("Fail", TxnId=-1, Message="[MEM]not now")),
        says(result("Label Already Exists", ExistingJobStatus="FINISHED")),
    ]
    assert load(direct(be)).already


def test_failure_with_the_label_in_hand_settles_the_first_attempt(be):
    be.script = [dies_after_body, takes(result("Fail", TxnId=8, Message="bad rows"))]
    with pytest.raises(LoadError, match="bad rows"):
        load(direct(be))


def test_refused_credentials_after_no_answer_leave_it_unknown(be):
    be.script = [dies_after_body, says(b"", "401 Unauthorized")]
    with pytest.raises(LoadOutcomeUnknownError, match="earlier attempt"):
        load(direct(be))


# -- frontends that refuse, fail or lie


def test_frontend_without_backends_is_asked_again(fe, be):
    fe.script = [says({"status": "FAILED", "msg": "No backend load available"}), redirects(be)]
    be.script = [takes(result())]
    assert load(client(fe)).attempts == 2


def test_frontend_that_refuses(fe):
    fe.script = [says({"status": "FAILED", "msg": "errCode = 7, detailMessage = unknown database"})]
    with pytest.raises(LoadError, match="unknown database"):
        load(client(fe))


@pytest.mark.parametrize(
    "step",
    [
        says({"msg": "Unauthorized", "code": 401, "data": "Access denied", "count": 0}, "401 Unauthorized"),
        says({"msg": "Unauthorized", "code": 401, "data": "Access denied", "count": 0}),
        says(result("Fail", Message="[INTERNAL_ERROR]no valid Basic authorization", TxnId=-1)),
    ],
    ids=["http 401", "code 401", "backend"],
)
def test_wrong_password(fe, step):
    fe.script = [step]
    with pytest.raises(AuthenticationError):
        load(client(fe))


def test_redirect_to_a_foreign_host_is_refused(fe):
    fe.script = [redirects("192.0.2.66:8040")]
    with pytest.raises(ConfigurationError, match=r"192\.0\.2\.66:8040") as caught:
        load(client(fe))
    assert "allowed_hosts" in str(caught.value)
    assert PASSWORD not in repr(caught.value)


def test_redirect_follows_the_address_map(fe, be):
    fe.script, be.script = [redirects("10.9.8.7:8040")], [takes(result())]
    assert load(client(fe, address_map={"10.9.8.7:8040": be.address})).rows_loaded == 2


def test_downgrade_from_https_is_refused():
    from dbint.flow.trusted_hosts import TrustedHosts

    trusted = TrustedHosts(["https://fe:8050"], ["*"], {})
    with pytest.raises(ConfigurationError, match="https to http"):
        trusted.follow("https://fe:8050", f"http://{USER}:{PASSWORD}@be:8040/x")


@pytest.mark.parametrize("location", ["ftp://x/", "/relative", "http://", "http://h:notaport/", "\x00"])
def test_unusable_redirect(fe, location):
    fe.script = [says(b"", "307 X", f"Location: {location}\r\n")] * 20
    with pytest.raises((LoadError, UnreachableError)):
        load(client(fe), deadline=0.3)


def test_endless_redirects_end(fe):
    fe.script = [redirects(fe)] * 100
    with pytest.raises(LoadError, match="redirects"):
        load(client(fe), deadline=0.3)


def test_next_frontend_is_tried_at_once(be):
    down = socket.create_server(("127.0.0.1", 0))
    dead = f"http://127.0.0.1:{down.getsockname()[1]}"
    down.close()
    be.script = [takes(result()), takes(result())]
    c = StreamLoadClient(be_urls=[dead, be.url], credentials=(USER, PASSWORD), deadline=5)
    started = time.monotonic()
    assert load(c).attempts == 2
    assert load(c, label="m").attempts == 1, "the server that answered is asked first from then on"
    assert time.monotonic() - started < 1


def test_nobody_listens():
    down = socket.create_server(("127.0.0.1", 0))
    dead = f"http://127.0.0.1:{down.getsockname()[1]}"
    down.close()
    c = StreamLoadClient([dead], credentials=(USER, PASSWORD), deadline=0.5)
    told: list[FailedAttempt] = []
    with pytest.raises(UnreachableError, match="8030"):
        load(c, on_retry=told.append)
    assert [failed.number for failed in told] == list(range(1, len(told) + 1))
    assert all(failed.unreachable and failed.reason.startswith(dead[7:]) for failed in told)
    assert told


def test_garbage(be):
    def garbage(peer: Peer) -> None:
        peer.head()
        peer.send(b"\x00\x01SSH-2.0-nothing\r\n\r\n")
        peer.sock.close()

    be.script = [garbage] * 20
    with pytest.raises(LoadError, match="not accepted"):
        load(direct(be), deadline=0.4)


def test_html_instead_of_doris(be):
    be.script = [says(b"<html>404</html>", "404 Not Found")]
    with pytest.raises(LoadError, match="does not speak like Doris"):
        load(direct(be))


def test_garbage_after_the_body_is_unknown(be):
    be.script = [takes(b"<html>bad gateway</html>", "502 Bad Gateway"), takes(b"{broken")] * 10
    with pytest.raises(LoadOutcomeUnknownError, match=r"HTTP 502|not Doris"):
        load(direct(be), deadline=0.4)


def test_answer_without_end_is_bounded(be):
    def endless(peer: Peer) -> None:
        peer.take_body(peer.head())
        peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
        with contextlib.suppress(OSError):
            while True:
                peer.send(b" " * 65536)

    be.script = [endless, says(result("Label Already Exists", ExistingJobStatus="FINISHED"))]
    assert load(direct(be)).already


def test_server_that_never_answers(be):
    be.script = [silence] * 5
    started = time.monotonic()
    with pytest.raises(LoadError, match="100 Continue"):
        load(direct(be, idle_timeout=0.3), deadline=1)
    assert time.monotonic() - started < 3


def test_server_that_never_answers_after_the_body(be):
    def swallow(peer: Peer) -> None:
        peer.take_body(peer.head())
        time.sleep(30)

    be.script = [swallow] * 5
    with pytest.raises(LoadOutcomeUnknownError):
        load(direct(be, idle_timeout=0.3), deadline=1)


def test_the_servers_message_cannot_leak_the_password(be):
    be.script = [takes(result("Fail", Message=f"cannot reach http://{USER}:{PASSWORD}@be/"))]
    with pytest.raises(LoadError) as caught:
        load(direct(be))
    assert PASSWORD not in str(caught.value)


# -- bodies that can be sent once


def test_generator_survives_a_redirect(fe, be):
    fe.script, be.script = [redirects(be)], [takes(result())]
    load(client(fe), iter([BODY]))
    assert be.seen[0].body == BODY


def test_generator_has_one_attempt(be):
    be.script = [dies_after_body]
    with pytest.raises(LoadOutcomeUnknownError, match="seekable"):
        load(direct(be), iter([BODY]))


def test_generator_survives_what_came_before_it_was_read(be):
    be.script = [says(result("Label Already Exists", ExistingJobStatus="RUNNING")), takes(result())]
    load(direct(be), iter([BODY]))
    assert be.seen[1].body == BODY


def test_error_of_the_body_comes_through(be):
    def rows():
        yield BODY
        raise ZeroDivisionError("in the caller's generator")

    def reads(peer: Peer) -> None:
        peer.head()
        peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        while peer.sock.recv(65536):
            pass
        peer.sock.close()

    be.script = [reads]
    with pytest.raises(ZeroDivisionError):
        load(direct(be), rows())


# -- arguments


def test_addresses_and_arguments_are_checked():
    for arguments in (
        {},
        {"fe_urls": ["http://a:1"], "be_urls": ["http://b:2"]},
        {"fe_urls": ["doris:8030"]},
        {"fe_urls": ["http://doris"]},
        {"fe_urls": [f"http://{USER}:{PASSWORD}@doris:8030"]},
        {"fe_urls": ["http://doris:8030/path"]},
        {"fe_urls": "http://doris:8030"},
        {"fe_urls": ["http://doris:8030"], "deadline": 0},
        {"fe_urls": ["http://doris:8030"], "idle_timeout": -1},
        {"fe_urls": ["http://doris:8030"], "deadline": 7200, "label_keep": 3600},
        {"fe_urls": ["http://doris:8030"], "allowed_hosts": ["http://x"]},
        {"fe_urls": ["http://doris:8030"], "allowed_hosts": "x"},
    ):
        with pytest.raises(ConfigurationError) as caught:
            StreamLoadClient(**arguments, credentials=(USER, PASSWORD))
        assert PASSWORD not in str(caught.value)


def test_repr_shows_no_credentials(fe):
    assert PASSWORD not in repr(client(fe))


def test_a_label_that_doris_may_have_forgotten_is_not_repeated(be):
    old = dt.datetime.now(dt.UTC) - dt.timedelta(days=2)
    with pytest.raises(LoadOutcomeUnknownError, match="forgotten"):
        load(direct(be), first_attempt=old)
    be.script = [takes(result())]
    load(direct(be), first_attempt=dt.datetime.now(dt.UTC) - dt.timedelta(hours=1))


def test_credentials_are_asked_for_each_attempt(be):
    current = [(USER, "old")]

    def rotating() -> tuple[str, str]:
        return current[0]

    def rotate_and_die(peer: Peer) -> None:
        peer.take_body(peer.head())
        current[0] = (USER, PASSWORD)
        peer.reset()

    be.script = [rotate_and_die, takes(result())]
    StreamLoadClient(be_urls=[be.url], credentials=rotating, deadline=5).load(
        "shop", "orders", BODY, label="l"
    )
    assert be.seen[1].headers["authorization"] == AUTHORIZATION


def test_names_are_quoted_in_the_path(be):
    be.script = [takes(result())]
    direct(be).load("my shop", "a/b?c", BODY, label="l")
    assert be.seen[0].path == "/api/my%20shop/a%2Fb%3Fc/_stream_load"


# -- ending, threads, forks


def test_closed_client_refuses(be):
    c = direct(be)
    c.close()
    c.close()
    with pytest.raises(ClosedError):
        load(c)


def test_close_ends_a_running_load(be):
    be.script = [silence]
    c = direct(be, idle_timeout=20, deadline=20)
    threading.Timer(0.3, c.close).start()
    started = time.monotonic()
    with pytest.raises(ClosedError):
        load(c)
    assert time.monotonic() - started < 3


def test_keyboard_interrupt_ends_a_running_load(be):
    be.script = [silence, takes(result())]
    c = direct(be, idle_timeout=20, deadline=20)
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        load(c)
    assert time.monotonic() - started < 3
    assert load(c).rows_loaded == 2, "the client works on after an interrupt"


def test_cancelled_task_ends_its_load(be):
    ended = threading.Event()

    def wait_for_the_end(peer: Peer) -> None:
        peer.take_body(peer.head())
        with contextlib.suppress(ConnectionError):
            peer.sock.recv(1)
        ended.set()
        peer.sock.close()

    async def main() -> None:
        c = direct(be, idle_timeout=20, deadline=20)
        task = asyncio.create_task(c.aload("shop", "orders", BODY, label="l"))
        await asyncio.sleep(0.3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    be.script = [wait_for_the_end]
    asyncio.run(main())
    assert ended.wait(3), "the thread behind a cancelled task went on"


def test_aload_returns(be):
    be.script = [takes(result())]
    assert asyncio.run(direct(be).aload("shop", "orders", BODY, label="l")).rows_loaded == 2


def test_many_threads_share_one_client(be):
    be.script = [takes(result()) for _ in range(40)]
    done = []
    with direct(be) as c:

        def work(name: int) -> None:
            for number in range(5):
                body = b"%d-%d\n" % (name, number)
                load(c, body, label=f"l-{name}-{number}", format="csv")
                done.append(body)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert sorted(done) == sorted(seen.body for seen in be.seen)
    assert len(done) == 40
    assert be.connections <= 8


def test_forked_child_opens_its_own_connection(be):
    be.script = [takes(result()), takes(result()), takes(result())]
    c = direct(be)
    load(c)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = 0 if load(c, label="child").rows_loaded == 2 else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert load(c, label="parent").rows_loaded == 2
    assert be.connections == 2


# -- backends that cannot be reached, first error, memory


def dead_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"127.0.0.1:{listener.getsockname()[1]}"


def test_another_backend_is_asked_for_at_once(fe, be):
    fe.script = [redirects(dead_address()), redirects(be)]
    be.script = [takes(result())]
    started = time.monotonic()
    assert load(client(fe)).attempts == 2
    assert time.monotonic() - started < 0.5


def test_an_unreachable_backend_is_named(fe):
    dead = dead_address()
    fe.script = [redirects(dead)] * 20
    with pytest.raises(UnreachableError) as caught:
        load(client(fe), deadline=0.4)
    for expected in (f"redirects to the backend {dead}", "address_map", "be_urls"):
        assert expected in str(caught.value)
    assert PASSWORD not in str(caught.value)


def test_too_many_versions_is_given_time(be):
    be.script = [takes(result("Fail", Message="[E-235]failed: too many versions")), takes(result())]
    started = time.monotonic()
    load(direct(be))
    assert time.monotonic() - started >= 0.5


def test_first_error_without_an_error_log(be):
    be.script = [takes(result("Fail", Message="bad", FirstErrorMsg="column id is wrong"))] * 2
    with pytest.raises(LoadError, match="column id is wrong"):
        load(direct(be))
    with pytest.raises(LoadError) as caught:
        load(direct(be), error_lines=0)
    assert "column id" not in str(caught.value)


def test_every_load_says_that_it_is_no_group_commit(be):
    """A chunked load that says nothing loses its label in Doris 4.1."""
    be.script = [takes(result()), takes(result())]
    load(direct(be))
    load(direct(be), iter([BODY]))
    assert [seen.headers["group_commit"] for seen in be.seen] == ["off_mode"] * 2
    assert [seen.headers["label"] for seen in be.seen] == ["l"] * 2


def test_a_large_body_takes_little_memory(be):
    size, pieces = 1 << 20, 400

    def discards(peer: Peer) -> None:
        peer.head()
        peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        tail = b""
        while not tail.endswith(b"0\r\n\r\n"):
            tail = (tail + peer.sock.recv(1 << 20))[-16:]
        peer.answer(result())

    be.script = [discards]
    load(direct(be, deadline=60), (b"x" * size for _ in range(2)))
    be.script = [discards]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    load(direct(be, deadline=60), (b"x" * size for _ in range(pieces)))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 64 * 1024, f"{grown} KiB more for a load of {pieces} MiB"


# -- group commit


def group(client_: StreamLoadClient, **arguments):
    return client_.load_in_group("shop", "orders", BODY, mode=arguments.pop("mode", "sync_mode"), **arguments)


def test_group_commit_has_no_label(be):
    answer = {**result(), "Label": "group_commit_1_2", "GroupCommit": True}
    be.script = [takes(answer), takes(answer)]
    assert group(direct(be)).label == "group_commit_1_2"
    assert not group(direct(be), mode="async_mode").visible
    assert [seen.headers["group_commit"] for seen in be.seen] == ["sync_mode", "async_mode"]
    assert not any("label" in seen.headers for seen in be.seen)


@pytest.mark.parametrize(
    "step", [dies_after_body, takes(b"<html>", "502 Bad Gateway")], ids=["reset", "proxy"]
)
def test_group_commit_is_not_repeated_once_it_was_sent(be, step):
    be.script = [step, takes(result())]
    with pytest.raises(LoadOutcomeUnknownError, match="could load them twice") as caught:
        group(direct(be))
    assert caught.value.label == ""
    assert len(be.seen) == 1


def test_group_commit_that_was_not_sent_is_tried_again(fe, be):
    fe.script = [redirects(dead_address()), redirects(be)]
    be.script = [takes(result())]
    assert group(client(fe)).attempts == 2


def test_group_commit_that_fails(be):
    be.script = [takes(result("Fail", Message="bad rows"))]
    with pytest.raises(LoadError, match="group commit load failed: bad rows"):
        group(direct(be))


def test_group_commit_that_is_stopped_is_unknown(be):
    be.script = [silence_after_body]
    c = direct(be, idle_timeout=20, deadline=20)
    threading.Timer(0.3, c.close).start()
    with pytest.raises(LoadOutcomeUnknownError, match="it was stopped"):
        group(c)


@pytest.mark.parametrize(
    "arguments",
    [
        {"mode": "off_mode"},
        {"partial_columns": True, "columns": "id"},
        {"partitions": ["p"]},
        {"headers": {"label": "l"}},
    ],
)
def test_what_group_commit_does_not_take(be, arguments):
    with pytest.raises(ConfigurationError):
        group(direct(be), **arguments)
