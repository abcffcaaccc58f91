"""The command line: ``python -m dbint.journal COMMAND``, and ``manage.py dbint_journal COMMAND``."""

import argparse
import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, NoReturn
from uuid import UUID

import psycopg

from dbint.errors import Error, JournalError
from dbint.events.config import DatabaseConfig
from dbint.journal import repair, resubmit
from dbint.journal.check import check_slot
from dbint.journal.damage import DamageError
from dbint.journal.dead import DeadMessage, Letter, letters
from dbint.journal.directory import Journal
from dbint.journal.listing import as_text, describe, unanswered
from dbint.journal.messages import json_lines, resend
from dbint.journal.rows import Row, Selection, copy_binary, copy_command, csv, rows
from dbint.journal.salvage import salvaged
from dbint.journal.segment import Broken
from dbint.state import state_directory

OK, FOUND, COULD_NOT_RUN, INTERRUPTED = 0, 1, 2, 130
EPILOG: Final = (
    "Exit code: 0 all is well, 1 damage was found, or something was refused, 2 the command could not run, "
    "130 interrupted. docs/journal.md has examples."
)
Connect = Callable[[argparse.Namespace], "psycopg.Connection[Any]"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    parser = _Parser(
        prog="python -m dbint.journal", description="Looks into journals, and mends them.", epilog=EPILOG
    )
    add_commands(parser, standalone=True)
    options = parser.parse_args(arguments)
    options.out, options.err = sys.stdout, sys.stderr
    return run(options, _connect)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(COULD_NOT_RUN, f"{self.prog}: {message} (see --help)\n")


def add_commands(parser: argparse.ArgumentParser, *, standalone: bool) -> None:
    """The commands and their options; ``standalone`` ones say for themselves how a server is reached."""
    commands = parser.add_subparsers(dest="action", metavar="COMMAND", required=True, parser_class=_Parser)

    def command(
        name: str, do: Callable[[argparse.Namespace, Connect], int], text: str
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name, help=text, description=text[0].upper() + text[1:] + ".", epilog=EPILOG
        )
        sub.set_defaults(do=do)
        sub.add_argument(
            "-d",
            "--directory",
            type=Path,
            help="the journal, or a directory of journals (default: DBINT_JOURNAL_DIR, else where the events "
            "of this user are kept)",
        )
        sub.add_argument("--format", choices=("text", "json"), default="text", help="default: text")
        return sub

    def choosing(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("--stream", help="only this stream")
        sub.add_argument("--chain", type=_hexadecimal, help="only the chain whose id begins so")
        sub.add_argument(
            "--from", dest="first", type=_count, metavar="SEQUENCE", help="only from this sequence on"
        )
        sub.add_argument(
            "--to", dest="last", type=_count, metavar="SEQUENCE", help="only up to this sequence"
        )

    def which_rows(sub: argparse.ArgumentParser) -> None:
        which = sub.add_mutually_exclusive_group()
        which.add_argument("--landed", action="store_true", help="also what has landed and is still kept")
        which.add_argument("--quarantine", action="store_true", help="what is whole in quarantine instead")

    def connecting(sub: argparse.ArgumentParser) -> None:
        if standalone:
            sub.add_argument(
                "--dsn", help="the server, as libpq writes it (default: POSTGRES_HOST, … or the stack)"
            )
        else:
            sub.add_argument(
                "--database", default="default", help="the alias of the server (default: default)"
            )

    command("ls", _ls, "show slots, chains, what waits in them, dead letters and what is in quarantine")
    command("check", _check, "look at every record and say what is damaged; changes nothing")
    sub = command("dump", _dump, "print the rows and messages that have not landed")
    choosing(sub)
    sub.add_argument("--limit", type=_count, help="no more than so many")
    which_rows(sub)
    sub.add_argument(
        "--dead", action="store_true", help="print the dead letters that wait for somebody instead"
    )
    sub = command(
        "export", _export, "write what has not landed into a file: rows for COPY, messages for Kafka as JSON"
    )
    choosing(sub)
    which_rows(sub)
    sub.add_argument(
        "--as",
        dest="form",
        choices=("csv", "binary", "json"),
        default="csv",
        help="json: messages for Kafka, one a line, keys and values in base64 (default: csv)",
    )
    sub.add_argument("--output", required=True, metavar="FILE", help="a new file, or - for stdout")
    sub = command("repair", _repair, "put what is damaged into quarantine, so that the rest can be shipped")
    sub.add_argument("--dry-run", action="store_true", help="only say what would be done")
    sub = command(
        "resubmit",
        _resubmit,
        "insert dead rows into their tables, each once, and send dead messages to their topics",
    )
    choosing(sub)
    sub.add_argument(
        "--bootstrap", help="the Kafka brokers (default: KAFKA_BOOTSTRAP_SERVERS, … or the stack)"
    )
    sub.add_argument("--dry-run", action="store_true", help="only say what would be done")
    connecting(sub)
    sub = command("retarget", _retarget, "give events that have not landed to another server, after a move")
    sub.add_argument("--stream", help="only this stream")
    sub.add_argument("--chain", type=_hexadecimal, help="only the chain whose id begins so")
    which = sub.add_mutually_exclusive_group(required=True)
    which.add_argument("--clear", action="store_true", help="to the first server that they are sent to")
    which.add_argument(
        "--to", type=UUID, metavar="IDENTITY", help="to the database with this dbint.server.identity"
    )
    sub.add_argument("--yes", action="store_true", help="do it; without, only say what would be done")


def _hexadecimal(text: str) -> str:
    word = text.replace("-", "").lower()
    if not word or len(word) > 32 or set(word) - set("0123456789abcdef"):
        raise argparse.ArgumentTypeError(f"{text!r} is not the beginning of a chain's id")
    return word


def _count(text: str) -> int:
    if not text.isascii() or not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number")
    return int(text)


def run(options: argparse.Namespace, connect: Connect) -> int:
    """Does what the options say; errors become one line. ``options`` have the streams ``out`` and ``err``."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # whatever a row holds, and wherever it is shown
    try:
        code: int = options.do(options, connect)
        options.out.flush()
    except BrokenPipeError:
        # Whoever read our output has gone; nothing more can be said, not even by the interpreter at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except KeyboardInterrupt:
        return _fail(options, "interrupted", INTERRUPTED)
    except (Error, DamageError) as error:
        return _fail(options, str(error))
    except OSError as error:
        return _fail(options, f"{error.filename or 'a file'}: {error.strerror or error}")
    except psycopg.Error as error:
        return _fail(options, f"the server: {' '.join(str(error).split())}")
    return code


def _fail(options: argparse.Namespace, message: str, code: int = COULD_NOT_RUN) -> int:
    options.err.write(f"dbint.journal: {message}\n")
    return code


def _connect(options: argparse.Namespace) -> "psycopg.Connection[Any]":
    if options.dsn is not None:
        return psycopg.connect(options.dsn, connect_timeout=10, autocommit=True, prepare_threshold=None)
    config = DatabaseConfig.from_env()
    parameters: dict[str, Any] = dict(config.connection_parameters())
    parameters |= {"password": config.password or None, "autocommit": True}
    # Prepared statements would not survive a pooler in transaction mode.
    return psycopg.connect(**parameters, prepare_threshold=None)


# Which journal


def _journals(options: argparse.Namespace) -> list[Journal]:
    """The journal of --directory, or those below it."""
    directory: Path = options.directory or Path(
        os.environ.get("DBINT_JOURNAL_DIR") or state_directory("journal")
    )
    below = sorted({path.parent for path in directory.glob("*/slot-[0-9][0-9][0-9][0-9]")})
    if below and not any(directory.glob("slot-*")):
        return [Journal(path) for path in below]
    journal = Journal(directory)
    journal.slots()
    return [journal]


def _journal(options: argparse.Namespace) -> Journal:
    """The one journal of --directory."""
    journals = _journals(options)
    if len(journals) > 1:
        names = ", ".join(str(journal.path) for journal in journals)
        raise JournalError(f"there are several journals, name one by --directory: {names}")
    return journals[0]


def _selection(options: argparse.Namespace) -> Selection:
    return Selection(
        options.stream, options.chain or "", getattr(options, "first", None), getattr(options, "last", None)
    )


def _ls(options: argparse.Namespace, connect: Connect) -> int:
    del connect
    journals = [describe(journal) for journal in _journals(options)]
    if options.format == "json":
        _write_json(options, {"journals": journals})
    else:
        _write(options, "\n".join(map(as_text, journals)))
    return OK


# check


def _check(options: argparse.Namespace, connect: Connect) -> int:
    del connect
    findings = [
        finding for journal in _journals(options) for slot in journal.slots() for finding in check_slot(slot)
    ]
    damaged = sum(finding.damage for finding in findings)
    later = any(finding.later_version for finding in findings)
    if options.format == "json":
        described = [
            {
                "path": str(finding.path),
                "offset": finding.offset,
                "damage": finding.damage,
                "first": finding.first,
                "last": finding.last,
                "what": finding.what,
            }
            for finding in findings
        ]
        _write_json(options, {"sound": not damaged and not later, "findings": described})
    else:
        for finding in findings:
            _write(options, f"{'damage' if finding.damage else 'note'}: {finding}\n")
        if damaged:
            _write(options, f"{damaged} damaged places; repair puts them into quarantine\n")
        else:
            _write(options, "not all could be read\n" if later else "sound\n")
    return FOUND if damaged else COULD_NOT_RUN if later else OK


# dump, export


def _dump(options: argparse.Namespace, connect: Connect) -> int:
    del connect
    code = OK
    journal, selection = _journal(options), _selection(options)
    if options.dead:
        found: Iterator[Row | Broken | Letter | DeadMessage] = (
            one for one in unanswered(journal) if selection.has(one)
        )
    else:
        found = _found(options)
    left = options.limit
    for one in found:
        if isinstance(one, Broken):
            code = FOUND
            _fail(options, f"damage at sequence {one.sequence}: {one.why} (see check)")
            continue
        if left is not None:
            if left == 0:
                break
            left -= 1
        described = _describe_row(one)
        code = FOUND if "error" in described else code
        if options.format == "json":
            _write(options, json.dumps(described, ensure_ascii=False) + "\n")
        else:
            what = json.dumps(described.get("row", described.get("error")), ensure_ascii=False)
            refused = ""
            if not isinstance(one, Row):
                code_of = one.sqlstate if isinstance(one, Letter) else one.error
                refused = f" refused by {code_of}: {' '.join(one.message.split())}"
            _write(options, f"{one.chain.hex[:8]} {one.sequence} {one.stream}{refused} {what}\n")
    return code


def _found(options: argparse.Namespace) -> Iterator[Row | Broken]:
    journal, selection = _journal(options), _selection(options)
    if options.quarantine:
        return salvaged(journal, selection)
    return rows(journal, selection, landed=options.landed)


def _describe_row(one: Row | Letter | DeadMessage) -> dict[str, Any]:
    described: dict[str, Any] = {"chain": one.chain.hex, "sequence": one.sequence, "stream": one.stream}
    if isinstance(one, Letter):
        described |= {
            "table": ".".join(one.table),
            "sqlstate": one.sqlstate,
            "message": one.message,
            "at": one.at.isoformat(),
        }
    elif isinstance(one, DeadMessage):
        described |= {"refused_by": one.error, "message": one.message, "at": one.at.isoformat()}
    else:
        described |= {"lane": one.lane, "kind": one.kind, "table": one.schema.table if one.schema else None}
    try:
        described["row"] = one.values()
    except DamageError as error:
        described["error"] = str(error)
    return described


def _export(options: argparse.Namespace, connect: Connect) -> int:
    del connect
    code, last = OK, None

    def chosen() -> Iterator[Row]:
        nonlocal code, last
        for found in _found(options):
            if isinstance(found, Broken):
                code = FOUND
                _fail(options, f"damage at sequence {found.sequence}: {found.why} (see check)")
            else:
                last = found
                yield found

    with _output(options.output) as file:
        if options.form == "json":
            file.writelines(json_lines(row.message() for row in chosen()))
        else:
            file.writelines((csv if options.form == "csv" else copy_binary)(chosen()))
    if options.form == "json":
        if last is None:
            _fail(options, "no message was chosen: the file is empty")
        return FOUND if last is None else code
    if last is None or last.schema is None:
        _fail(options, "no row was chosen: the file is empty")
        return FOUND
    options.err.write(copy_command(last.schema, options.output, options.form) + "\n")
    return code


@contextmanager
def _output(name: str) -> Iterator[IO[bytes]]:
    """A new file, which is removed again when writing it fails; or stdout."""
    if name == "-":
        yield sys.stdout.buffer
        return
    handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


# repair, resubmit, retarget


def _repair(options: argparse.Namespace, connect: Connect) -> int:
    del connect
    done = (
        line for journal in _journals(options) for line in repair.repair(journal, dry_run=options.dry_run)
    )
    _report(options, done, dry_run=options.dry_run, nothing="nothing is damaged")
    return OK


def _retarget(options: argparse.Namespace, connect: Connect) -> int:
    del connect
    dry_run = not options.yes
    done = repair.retarget(_journal(options), _selection(options), options.to, dry_run=dry_run)
    if (
        _report(options, done, dry_run=dry_run, nothing="no chain holds events that have not landed")
        and dry_run
    ):
        options.err.write("nothing was changed: --yes does it\n")
    return OK


def _report(options: argparse.Namespace, done: Iterator[str], *, dry_run: bool, nothing: str) -> int:
    """Writes what is done, when it is done: so that it is known even if the next thing fails."""
    lines = []
    try:
        for line in done:
            lines.append(line)
            if options.format == "text":
                _write(options, f"{line}\n")
    finally:
        if options.format == "json":
            _write_json(options, {"dry_run": dry_run, "done": lines})
    if not lines and options.format == "text":
        _write(options, f"{nothing}\n")
    return len(lines)


def _resubmit(options: argparse.Namespace, connect: Connect) -> int:
    journal, selection = _journal(options), _selection(options)
    chosen = [letter for letter in letters(journal.dead) if selection.has(letter)]
    outcomes: list[resubmit.Outcome] = []
    try:
        for outcome in _resubmitted(options, connect, journal, chosen):
            outcomes.append(outcome)
            if options.format == "text":
                _write(options, f"{outcome}\n")
    finally:
        if options.format == "json":
            described = [outcome.describe() for outcome in outcomes]
            _write_json(options, {"dry_run": options.dry_run, "letters": described})
        else:
            _write(options, f"{resubmit.summary(outcomes)}\n")
    return FOUND if any(outcome.refused for outcome in outcomes) else OK


def _resubmitted(
    options: argparse.Namespace, connect: Connect, journal: Journal, chosen: Sequence[Letter | DeadMessage]
) -> Iterator[resubmit.Outcome]:
    """Rows to PostgreSQL, messages to Kafka; each side is asked only where it has something to do."""
    dead_rows = [letter for letter in chosen if isinstance(letter, Letter)]
    dead_messages = [letter for letter in chosen if isinstance(letter, DeadMessage)]
    if dead_rows:
        with connect(options) as connection:
            yield from resubmit.resubmit(journal.dead, dead_rows, connection, dry_run=options.dry_run)
    if dead_messages:
        landed = {chain.id: chain.landed for slot in journal.slots() for chain in slot.read().chains}
        waiting = {
            (letter.chain, letter.sequence)
            for letter in dead_messages
            if letter.sequence > landed.get(letter.chain, letter.sequence)
        }
        sent = resend(journal.dead, dead_messages, waiting, options.bootstrap, dry_run=options.dry_run)
        for letter, state, why in sent:
            yield resubmit.Outcome(letter, state, why)


# Output


def _write(options: argparse.Namespace, text: str) -> None:
    options.out.write(text)


def _write_json(options: argparse.Namespace, value: object) -> None:
    _write(options, json.dumps(value, ensure_ascii=False, indent=1) + "\n")
