"""``python -m dbint.emulators.doris``."""

import argparse
import json
import logging
import os
import re
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from dbint.emulators.doris.variables import ALTER_SECONDS, DORIS_VERSION

if TYPE_CHECKING:
    from dbint.emulators.doris import DorisEmulator

_STOPPING = (signal.SIGTERM, signal.SIGINT)


def main(arguments: list[str] | None = None) -> int:
    """Run the emulator until SIGTERM or SIGINT. Exit status 0 after a clean stop, 2 where it cannot start."""
    parser = _parser()
    options = parser.parse_args(arguments)
    from dbint.emulators.doris import DorisEmulator, StorageError  # takes a second

    try:
        password = _password(options.password_file)
        _log_to(options.log)
        emulator = DorisEmulator(
            host=options.host,
            query_port=options.query_port,
            http_port=options.http_port,
            be_http_port=options.be_http_port,
            user=options.user,
            password=password,
            data_dir=options.data_dir,
            frontends=options.frontends,
            backends=options.backends,
            version=options.version,
            alter_seconds=options.alter_seconds,
            faults=options.faults,
            statement_log=options.log_statements,
        )
        # blocked here and in the threads to come, so that sigwait has them: a handler could miss its wake-up
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
        emulator.start()
    except (StorageError, OSError, ValueError) as error:
        sys.stderr.write(f"dbint doris emulator: cannot start: {error}\n")
        return 2
    try:
        _announce(emulator, options.ready_file)
        signal.sigwait(_STOPPING)
    finally:
        emulator.stop()
        if options.ready_file is not None:
            options.ready_file.unlink(missing_ok=True)
    sys.stdout.write("stopped\n")
    return 0


def _announce(emulator: "DorisEmulator", ready_file: Path | None) -> None:
    from dbint.emulators.doris.emulator import LIMITS

    ports = {"query": emulator.query_port, "http": emulator.http_port, "be_http": emulator.be_http_port}
    nodes = {node.name: node.ports for node in emulator.nodes.all}
    shown = " ".join(f"{name}={port}" for name, port in ports.items())
    for name, given in nodes.items():
        if name not in ("fe1", "be1"):  # those are in `ports`
            shown += "".join(f" {name}_{role}={port}" for role, port in given.items())
    sys.stdout.write(f"{LIMITS}\nready host={emulator.host} {shown}\n")
    sys.stdout.flush()
    if ready_file is not None:
        temporary = ready_file.with_name(f"{ready_file.name}.{os.getpid()}")
        state = {"host": emulator.host, "ports": ports, "nodes": nodes, "pid": os.getpid()}
        temporary.write_text(json.dumps(state) + "\n")
        temporary.replace(ready_file)


def _password(file: Path | None) -> str:
    if file is None:
        return os.environ.get("DORIS_PASSWORD", "")
    return file.read_text().rstrip("\n")


def _log_to(file: Path | None) -> None:
    handler = logging.StreamHandler(sys.stderr) if file is None else logging.FileHandler(file)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("dbint.emulators.doris")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        allow_abbrev=False,
        prog="python -m dbint.emulators.doris",
        description=(
            "An emulator of Apache Doris for development. "
            "The password comes from a file or from DORIS_PASSWORD."
        ),
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument(
        "--query-port", type=_port, default=0, help="MySQL protocol; 0 (default) is a free port"
    )
    parser.add_argument(
        "--http-port", type=_port, default=0, help="the frontend's HTTP port; 0 is a free port"
    )
    parser.add_argument(
        "--be-http-port", type=_port, default=0, help="the backend's HTTP port; 0 is a free port"
    )
    parser.add_argument("--user", default="root", help="the one account (default: %(default)s)")
    parser.add_argument("--password-file", type=Path, help="file with the account's password")
    parser.add_argument(
        "--data-dir", type=Path, help="keep tables and labels here; without it they are in memory"
    )
    parser.add_argument(
        "--frontends", type=_positive, default=1, help="how many frontends there are (default: 1)"
    )
    parser.add_argument(
        "--backends", type=_positive, default=1, help="how many backends there are (default: 1)"
    )
    parser.add_argument(
        "--version", type=_version, default=DORIS_VERSION, help="the release to be (default: %(default)s)"
    )
    parser.add_argument(
        "--alter-seconds",
        type=_seconds,
        default=ALTER_SECONDS,
        help="how long a schema change takes that rewrites rows (default: %(default)s)",
    )
    parser.add_argument("--log", type=Path, help="write the log to this file instead of stderr")
    parser.add_argument(
        "--log-statements", type=Path, help="write every statement and load to this file, as JSON lines"
    )
    parser.add_argument(
        "--ready-file", type=Path, help="write address and ports here, as JSON, when all ports answer"
    )
    parser.add_argument(
        "--faults", action="store_true", help="open /_emulator/faults on the backend's port, for tests"
    )
    return parser


def _port(text: str) -> int:
    number = int(text)
    if not 0 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is not a port number")
    return number


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return number


def _version(text: str) -> str:
    if not re.fullmatch(r"\d+\.\d+\.\d+", text):
        raise argparse.ArgumentTypeError(f"{text} is not a release such as {DORIS_VERSION}")
    return text


def _seconds(text: str) -> float:
    number = float(text)
    if not 0 <= number < 86400:
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds")
    return number


if __name__ == "__main__":
    raise SystemExit(main())
