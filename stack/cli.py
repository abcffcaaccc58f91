"""The command line: ``python3 -m stack COMMAND [SERVER…]``."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

from stack import packages
from stack.compose import ENGINE, ComposeStack, docker
from stack.errors import StackError
from stack.process import wait_for_end
from stack.progress import Progress, progress_for
from stack.servers import PROFILES, SERVERS
from stack.supervisor import Stack, Status

OK, FAILED, USAGE, NOT_RUNNING, INTERRUPTED = 0, 1, 2, 3, 130

_EPILOG = f"""\
servers: {", ".join(f"{server.name} ({server.summary})" for server in SERVERS.values())}
profiles: {"; ".join(f"{name} = {', '.join(servers)}" for name, servers in PROFILES.items())}

environment:
  DBINT_STACK_DIR  the stack's directory: state file, data, logs (default for root /var/lib/dbint/stack,
                   for others $XDG_STATE_HOME/dbint/stack)
  DBINT_CACHE_DIR  downloaded servers (default $XDG_CACHE_HOME/dbint)
  STACK=compose    run the official images of docker-compose.yml instead, by "docker compose"

exit status: 0 done; 1 something failed; 2 wrong usage; 3 (status) not everything runs; 130 interrupted
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status."""
    options = _parser().parse_args(arguments)
    try:
        with _terminated_as_interrupted():
            return int(options.run(options))
    except StackError as error:
        print(f"stack: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("stack: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone; nothing more can be said, not even by the interpreter at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"stack: {message} (see {self.prog} --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python3 -m stack",
        description="Starts the servers that dbint is developed and tested with, without a container engine.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(
        name: str, run: Callable[[argparse.Namespace], int], text: str, servers: bool = True
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        sub.set_defaults(run=run)
        if servers:
            sub.add_argument(
                "servers", nargs="*", metavar="SERVER", type=_server, help="default: all of the stack"
            )
        return sub

    for name, run, text in (
        ("up", _up, "install, prepare and start servers, and wait until they are ready"),
        ("fetch", _fetch, "only install what the servers are made of"),
    ):
        sub = command(name, run, text)
        sub.add_argument(
            "--profile", choices=PROFILES, default="light", help="which servers, when none is named"
        )
        sub.add_argument(
            "--no-install",
            action="store_true",
            help="never install packages of the distribution, not even as root",
        )
    sub = command("down", _down, "stop servers and remove their data, logs and entries")
    sub.add_argument("--keep-data", action="store_true", help="only stop")
    sub.add_argument("--after", type=int, metavar="PID", help="wait until that process has ended, then do it")
    command("start", _start, "start servers of the stack and wait until they are ready")
    command("stop", _stop, "stop servers cleanly; data, ports and passwords stay")
    command("kill", _kill, "kill -9 servers with all their processes")
    command("restart", _restart, "stop and start servers")
    sub = command("status", _status, "show what runs, where")
    sub.add_argument("--json", action="store_true", help="the same as JSON")
    command(
        "env",
        _env,
        "print shell commands that export addresses AND PASSWORDS (the one command that shows them)",
    )
    sub = command("logs", _logs, "show the servers' logs")
    sub.add_argument(
        "-n", "--lines", type=_count, default=100, help="how many of the last lines (default: 100)"
    )
    sub.add_argument("-f", "--follow", action="store_true", help="go on showing what is written")
    sub = command("prerequisites", _prerequisites, "check what has to be on this machine", servers=False)
    sub.add_argument(
        "sets",
        nargs="*",
        metavar="SET",
        choices=[*packages.SETS, *PROFILES, []],
        help=f"{', '.join([*packages.SETS, *PROFILES])} (default: {', '.join(_DEFAULT_SETS)})",
    )
    sub.add_argument(
        "--install", action="store_true", help="install what is missing (as root on Debian or Ubuntu)"
    )
    sub.add_argument("--also", nargs="+", default=[], metavar="PACKAGE", help="further Debian packages")
    return parser


_DEFAULT_SETS = ("build", "light")


def _server(name: str) -> str:
    if name not in SERVERS:
        raise argparse.ArgumentTypeError(f"no server is called {name!r}; there are {', '.join(SERVERS)}")
    return name


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"a number of lines, not {text!r}")
    return int(text)


def _open(install: bool | None = None, progress: Progress | None = None) -> Stack:
    """The stack of DBINT_STACK_DIR: in containers if STACK says so or it is there already in containers."""
    engine = os.environ.get("STACK", "")
    if engine not in ("", ENGINE):
        raise StackError(
            f"STACK is {engine!r}; it may be {ENGINE!r}, or empty for servers without containers"
        )
    stack = Stack(progress=progress, install=install)
    if engine == ENGINE or stack.state().engine == ENGINE:
        return ComposeStack(progress=progress, install=install)
    return stack


@contextmanager
def _working(install: bool | None = None) -> Iterator[Stack]:
    """The stack for a command that changes something, with its progress shown."""
    progress = progress_for()
    try:
        yield _open(install, progress)
    finally:
        progress.close()


def _up(options: argparse.Namespace) -> int:
    with _working(False if options.no_install else None) as stack:
        try:
            stack.up(options.servers or PROFILES[options.profile], options.profile)
        except KeyboardInterrupt:
            stack.progress.close()
            _say_what_runs(stack)
            raise
    return OK


def _say_what_runs(stack: Stack) -> None:
    running = [row for row in stack.status() if row.running]
    names = ", ".join(f"{row.server} (pid {row.pid})" for row in running)
    print(
        f"started and still running: {names}; stop with: python3 -m stack stop" if names else "nothing runs",
        file=sys.stderr,
    )


def _fetch(options: argparse.Namespace) -> int:
    with _working(False if options.no_install else None) as stack:
        stack.fetch(options.servers or PROFILES[options.profile])
    return OK


def _change(name: str) -> Callable[[argparse.Namespace], int]:
    def run(options: argparse.Namespace) -> int:
        with _working() as stack:
            getattr(stack, name)(*options.servers)
        return OK

    return run


_start, _stop, _kill, _restart = (_change(name) for name in ("start", "stop", "kill", "restart"))


def _down(options: argparse.Namespace) -> int:
    if options.after is not None:
        wait_for_end(options.after)
    with _working() as stack:
        removed = stack.down(*options.servers, keep_data=options.keep_data)
    for path in removed:
        print(f"removed {path}")
    if options.keep_data:
        print(f"kept {stack.directory}")
    elif not removed:
        print(f"nothing to remove: there is no stack in {stack.directory}")
    return OK


def _status(options: argparse.Namespace) -> int:
    stack = _open()
    rows = stack.status(options.servers)
    if options.json:
        print(
            json.dumps(
                {"directory": os.fspath(stack.directory), "servers": [vars(row) for row in rows]}, indent=1
            )
        )
    elif rows:
        _table(rows)
    else:
        print(f"there is no stack in {stack.directory}: python3 -m stack up")
    return OK if rows and all(row.running for row in rows) else NOT_RUNNING


def _table(rows: Sequence[Status]) -> None:
    table = [("SERVER", "STATE", "VERSION", "PID", "UPTIME", "ADDRESS", "MEMORY")]
    table += [
        (
            row.server,
            "running" if row.running else "stopped",
            row.version + (" (emulated)" if row.emulated else ""),
            str(row.pid or "-"),
            _duration(row.uptime),
            row.address,
            "-" if row.memory is None else f"{row.memory / (1 << 20):.0f} MiB",
        )
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for line in table:
        print("  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip())


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    minutes, hours, days = (int(seconds // unit) for unit in (60, 3600, 86400))
    if minutes < 1:
        return f"{seconds:.0f} s"
    if hours < 1:
        return f"{minutes} min"
    return f"{hours} h {minutes % 60} min" if days < 1 else f"{days} d {hours % 24} h"


def _env(options: argparse.Namespace) -> int:
    for name, value in _open().env(options.servers).items():
        print(f"export {name}={shlex.quote(value)}")
    return OK


def _logs(options: argparse.Namespace) -> int:
    stack = _open()
    rows = stack.status(options.servers)
    if not rows:
        raise StackError(f"there is no stack in {stack.directory}: python3 -m stack up")
    if isinstance(stack, ComposeStack):
        for row in rows:
            _print_log(row.server if len(rows) > 1 else "", stack.logs(row.server), options.lines)
        return OK
    logs = {row.server: stack.log(row.server) for row in rows}
    label = len(logs) > 1
    positions = {}
    for name, log in logs.items():
        text, positions[name] = _tail(log, options.lines)
        _print_log(name if label else "", text)
    while options.follow:
        time.sleep(0.2)
        for name, log in logs.items():
            text, positions[name] = _since(log, positions[name])
            _print_log(name if label else "", text)
    return OK


def _tail(log: Path, lines: int) -> tuple[str, int]:
    """The last lines of the log, and its size."""
    text, size = _since(log, 0)
    return "".join(text.splitlines(keepends=True)[-lines:] if lines else []), size


def _since(log: Path, position: int) -> tuple[str, int]:
    """What stands after ``position``, as far as its last whole line goes, and where that ends."""
    try:
        with log.open("rb") as file:
            if log.stat().st_size < position:  # put aside by a start; this is a new one
                position = 0
            file.seek(position)
            data = file.read()
    except FileNotFoundError:
        return "", 0
    data = data[: data.rfind(b"\n") + 1]
    return data.decode(errors="replace"), position + len(data)


def _print_log(name: str, text: str, lines: int | None = None) -> None:
    for line in text.splitlines()[-lines if lines else None :]:
        print(f"{name}: {line}" if name else line)
    sys.stdout.flush()


def _prerequisites(options: argparse.Namespace) -> int:
    wanted = [packages.debian_package(name) for name in options.also]
    for name in options.sets or (_DEFAULT_SETS if not options.also else ()):
        if name in packages.SETS:
            wanted += packages.SETS[name]
        elif os.environ.get("STACK") == ENGINE:
            docker()
        else:
            wanted += [need for server in PROFILES[name] for need in SERVERS[server].requirements()]
    progress = progress_for()
    try:
        packages.ensure(wanted, progress, install=options.install)
    finally:
        progress.close()
    print("everything is there:" if wanted else "nothing is needed")
    for requirement in dict.fromkeys(wanted):
        print(f"  {requirement.what}")
    return OK


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM ends a command as Ctrl-C does: what was started is said, and the terminal is left in order."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
