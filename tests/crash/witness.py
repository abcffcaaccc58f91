"""The witness: a process of its own that is never killed and knows what the victim has done.

How it hears. The victim makes calls through *callers* (threads, coroutines); a caller makes one call at a
time, numbered 0, 1, 2 …. Around each call the victim sends records over a Unix socket of type SOCK_SEQPACKET:

    BEGIN     before the call is made
    ACCEPTED  after it returned, and so promised that its effect will last
    RESOLVED  the same, where the server said that an earlier attempt had succeeded, whose answer was lost
    REFUSED   after it failed, and so promised that it has no effect
    UNKNOWN   after it failed in a way that leaves its effect open

What that is worth. A record is one system call and one packet. When the call has returned, the packet is in
the receiver's queue in the kernel and stays there when the sender is killed; a packet is queued whole or not
at all. So at every instant of a SIGKILL the witness gets exactly the records whose sending had completed:
none is lost, none is invented. What can happen between two records is bounded: a victim killed between BEGIN
and the outcome leaves that one call *in doubt*, at most one for each caller. Whether it was accepted nobody
can know, so it is counted neither as accepted nor as refused; the next victim makes the same call again under
the same number, and until it has an outcome it may have landed or not.

The witness holds the victim to this: an outcome without a BEGIN, a second call while one is open, or a
repetition of a call that is not in doubt is a fault of the victim program, and the run is void.

A victim that starts asks where to go on (RESUME). The previous victim has been reaped by then and so all that
it sent is in the queue: the witness reads every connection empty before it answers.
"""

import enum
import json
import os
import selectors
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

RECORD = struct.Struct("<BxxxIQ")  # kind, caller, number
ANSWER = 1 << 16  # bytes: the longest answer
ANSWER_SECONDS = 30.0

# Packets read from one connection before the others get their turn. More than a socket's queue can hold (its
# buffer of some 200 KiB takes a few hundred packets), so that one turn reads everything that was there when
# it began.
TURN = 4096


class Kind(enum.IntEnum):
    """What a record says."""

    BEGIN = 1
    ACCEPTED = 2
    RESOLVED = 3
    REFUSED = 4
    UNKNOWN = 5
    RESUME = 16  # victim: where do I go on?
    COUNTS = 17  # frame: how far are we?
    LEDGER = 18  # frame: everything, into the file that the witness was given


class Outcome(enum.IntEnum):
    """What is known of a call."""

    NEVER = 0
    OPEN = 1
    ACCEPTED = 2
    REFUSED = 3
    UNKNOWN = 4


IN_DOUBT = frozenset({Outcome.OPEN, Outcome.UNKNOWN})

OUTCOMES = {
    Kind.ACCEPTED: Outcome.ACCEPTED,
    Kind.RESOLVED: Outcome.ACCEPTED,
    Kind.REFUSED: Outcome.REFUSED,
    Kind.UNKNOWN: Outcome.UNKNOWN,
}


@dataclass
class Ledger:
    """Everything the witness knows. ``outcomes`` has a byte for each call of each caller."""

    outcomes: dict[int, bytearray] = field(default_factory=dict)
    attempts: dict[int, dict[int, int]] = field(default_factory=dict)  # only of calls begun more than once
    accepted: int = 0
    resolved: int = 0
    open: int = 0
    faults: list[str] = field(default_factory=list)

    def record(self, kind: Kind, caller: int, number: int) -> None:
        """Enter one record; what a victim may not say is entered as a fault."""
        calls = self.outcomes.setdefault(caller, bytearray())
        if kind is Kind.BEGIN:
            self._begin(calls, caller, number)
        elif number != len(calls) - 1 or calls[number] != Outcome.OPEN:
            self._fault(f"caller {caller}: {kind.name} for call {number}, which is not open")
        else:
            calls[number] = OUTCOMES[kind]
            self.open -= 1
            self.accepted += OUTCOMES[kind] is Outcome.ACCEPTED
            self.resolved += kind is Kind.RESOLVED

    def _begin(self, calls: bytearray, caller: int, number: int) -> None:
        last = Outcome(calls[-1]) if calls else Outcome.NEVER
        if number == len(calls) and last not in IN_DOUBT:
            calls.append(Outcome.OPEN)
            self.open += 1
        elif number == len(calls) - 1 and last in IN_DOUBT:
            again = self.attempts.setdefault(caller, {})
            again[number] = again.get(number, 1) + 1
            self.open += last is Outcome.UNKNOWN
            calls[number] = Outcome.OPEN
        else:
            self._fault(
                f"caller {caller}: call {number} begun after {len(calls)} calls, the last {last.name}"
            )

    def _fault(self, text: str) -> None:
        if len(self.faults) < 20:
            self.faults.append(text)

    def resume(self) -> dict[int, int]:
        """For each caller that has called, the number to go on with: the call in doubt, else the next."""
        return {
            caller: len(calls) - (bool(calls) and calls[-1] in IN_DOUBT)
            for caller, calls in self.outcomes.items()
        }

    def counts(self) -> dict[str, Any]:
        """What the frame watches while the run goes on."""
        return {
            "accepted": self.accepted,
            "resolved": self.resolved,
            "open": self.open,
            "faults": self.faults,
        }

    def to_json(self) -> dict[str, Any]:
        """The ledger in a form that JSON holds: one digit for each call."""
        return {
            **self.counts(),
            "outcomes": {caller: "".join(map(str, calls)) for caller, calls in self.outcomes.items()},
            "attempts": self.attempts,
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        """The ledger that :meth:`to_json` described."""
        return cls(
            outcomes={
                int(caller): bytearray(map(int, digits)) for caller, digits in found["outcomes"].items()
            },
            attempts={
                int(caller): {int(number): times for number, times in calls.items()}
                for caller, calls in found["attempts"].items()
            },
            accepted=found["accepted"],
            resolved=found["resolved"],
            open=found["open"],
            faults=found["faults"],
        )


class Reporter:
    """The victim's side. Safe to use from several threads and coroutines once :meth:`resume` has returned.

    Every method raises OSError when the witness is gone: the victim cannot go on unwatched and should let it
    end it.
    """

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.connect(str(path))
        self._send = self._socket.send

    def resume(self) -> dict[int, int]:
        """For each caller that has called before, the number of the call to make first."""
        self._send(RECORD.pack(Kind.RESUME, 0, 0))
        found = json.loads(self._socket.recv(ANSWER))
        return {int(caller): number for caller, number in found.items()}

    def begin(self, caller: int, number: int) -> None:
        self._send(RECORD.pack(Kind.BEGIN, caller, number))

    def accepted(self, caller: int, number: int) -> None:
        self._send(RECORD.pack(Kind.ACCEPTED, caller, number))

    def resolved(self, caller: int, number: int) -> None:
        self._send(RECORD.pack(Kind.RESOLVED, caller, number))

    def refused(self, caller: int, number: int) -> None:
        self._send(RECORD.pack(Kind.REFUSED, caller, number))

    def unknown(self, caller: int, number: int) -> None:
        self._send(RECORD.pack(Kind.UNKNOWN, caller, number))


class Witness:
    """The frame's side: starts the process, asks it, ends it."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "witness.sock"
        self._ledger = directory / "witness.json"
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.crash.witness",
                str(self.path),
                str(self._ledger),
                str(os.getpid()),
            ],
            start_new_session=True,  # a Ctrl-C at the terminal is the frame's to handle
        )
        self._socket = self._connect()

    def _connect(self) -> socket.socket:
        deadline = time.monotonic() + ANSWER_SECONDS
        while True:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            try:
                connection.connect(str(self.path))
            except (FileNotFoundError, ConnectionRefusedError):
                connection.close()
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self.close()
                    raise
                time.sleep(0.01)
            else:
                connection.settimeout(ANSWER_SECONDS)
                return connection

    def _ask(self, kind: Kind) -> dict[str, Any]:
        self._socket.send(RECORD.pack(kind, 0, 0))
        answer: dict[str, Any] = json.loads(self._socket.recv(ANSWER))
        return answer

    def counts(self) -> dict[str, Any]:
        """``accepted``, ``resolved``, ``open`` (calls in flight) and ``faults``, as of now."""
        return self._ask(Kind.COUNTS)

    def ledger(self) -> Ledger:
        """All that is known."""
        self._ask(Kind.LEDGER)
        return Ledger.from_json(json.loads(self._ledger.read_text(encoding="ascii")))

    def close(self) -> None:
        """End the process. What it knew is gone, unless :meth:`ledger` was asked for."""
        if hasattr(self, "_socket"):
            self._socket.close()
        self._process.terminate()
        self._process.wait(ANSWER_SECONDS)


def serve(path: Path, ledger_path: Path, parent: int) -> None:
    """Take records until the process that started this one is gone, or SIGTERM comes."""
    ledger = Ledger()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(str(path))
    listener.listen()
    listener.setblocking(False)
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    connections: list[socket.socket] = []
    questions: list[tuple[socket.socket, Kind]] = []

    def drain(connection: socket.socket) -> None:
        for _ in range(TURN):
            try:
                packet = connection.recv(RECORD.size)
            except BlockingIOError:
                return
            except ConnectionResetError:
                packet = b""
            if not packet:
                selector.unregister(connection)
                connections.remove(connection)
                connection.close()
                return
            code, caller, number = RECORD.unpack(packet)
            kind = Kind(code)
            if kind >= Kind.RESUME:
                questions.append((connection, kind))
            else:
                ledger.record(kind, caller, number)

    def answer(connection: socket.socket, kind: Kind) -> None:
        if kind is Kind.RESUME:
            found: dict[Any, Any] = ledger.resume()
        elif kind is Kind.COUNTS:
            found = ledger.counts()
        else:
            ledger_path.write_text(json.dumps(ledger.to_json()), encoding="ascii")
            found = {}
        try:
            connection.send(json.dumps(found).encode("ascii"))
        except (BrokenPipeError, ConnectionResetError):
            return  # asked and then killed: its successor will ask again

    while os.getppid() == parent:
        for key, _ in selector.select(timeout=1.0):
            if key.fileobj is listener:
                connection, _ = listener.accept()
                connection.setblocking(False)
                selector.register(connection, selectors.EVENT_READ)
                connections.append(connection)
        for connection in connections.copy():
            drain(connection)
        if questions:
            # A question is answered from everything that was sent before it, whoever sent it.
            for connection in connections.copy():
                drain(connection)
            for connection, kind in questions:
                answer(connection, kind)
            questions.clear()


if __name__ == "__main__":
    serve(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
