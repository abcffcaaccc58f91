"""What the verification commands have in common: options, progress, the report and the exit code."""

import contextlib
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandParser
from django.utils.connection import ConnectionDoesNotExist

from dbint.django.command import COULD_NOT_RUN, ReportingCommand, seconds
from dbint.django.verification.plan import Plan, make_plan, make_redactor
from dbint.errors import ConfigurationError
from dbint.verify.diagnosis import one_line, place
from dbint.verify.progress import Progress
from dbint.verify.redaction import Redactor
from dbint.verify.reports import FORMATS, as_text
from dbint.verify.reports.as_text import summary_line
from dbint.verify.result import Report
from dbint.verify.runner import Interrupted, Runner

EPILOG = (
    "Exit code: 0 nothing failed, 1 something failed (an unreachable server is a failure), 2 the "
    "verification itself could not run or verified nothing, 130 or 143 interrupted by SIGINT or SIGTERM. "
    "stdout carries the report and nothing else; progress goes to stderr."
)


class VerificationCommand(ReportingCommand):
    """Runs a plan of probes. A subclass says which."""

    epilog = EPILOG
    # Checks run in handle(), where their errors end with exit code 2 and no traceback.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--format", choices=list(FORMATS), default="text", help="the report's format (default: text)"
        )
        parser.add_argument(
            "--output", metavar="FILE", type=Path, help="write the report to FILE instead of stdout"
        )
        parser.add_argument(
            "--deadline",
            metavar="SECONDS",
            type=seconds,
            help="the time that each probe has, instead of its own",
        )
        parser.add_argument("--list", action="store_true", help="list the probes that would run, and end")

    def selection(self, options: dict[str, Any]) -> list[str]:
        raise NotImplementedError

    def handle(self, *args: Any, **options: Any) -> None:
        del args
        redact = Redactor()
        try:
            redact = make_redactor()
            code = self.verify(redact, options)
        except (ConfigurationError, ImproperlyConfigured, ConnectionDoesNotExist) as error:
            self.refuse(redact(" ".join(str(error).split())), error, options)
        except OSError as error:  # the report's file: errors of servers are results
            where = options["output"] or error.filename or "stdout"
            self.refuse(redact(f"cannot write {where}: {error.strerror}"), error, options)
        except Exception as error:  # noqa: BLE001 - nobody should read a traceback that nobody asked for
            text = f"internal error: {one_line(error)} at {place(error)}; --traceback shows the rest"
            self.refuse(redact(text), error, options)
        except (Interrupted, KeyboardInterrupt) as order:
            self.stderr.write("interrupted before there was a report")
            code = 128 + (order.args[0] if order.args else signal.SIGINT)
        if code:
            sys.exit(code)

    def refuse(self, message: str, error: Exception, options: dict[str, Any]) -> NoReturn:
        if options["traceback"]:
            raise error
        self.stderr.write(self.style.ERROR(f"verification could not run: {message}"))
        sys.exit(COULD_NOT_RUN)

    def verify(self, redact: Redactor, options: dict[str, Any]) -> int:
        self.run_checks(redact)
        plan = make_plan(
            self.selection(options), read_only=options.get("read_only", False), deadline=options["deadline"]
        )
        if options["list"]:
            self.list(plan)
            return 0
        with output_file(options["output"]) as write_to_file:
            report = self.run(plan, redact, options)
            if write_to_file:
                write_to_file(FORMATS[options["format"]](report))
                self.stderr.write(summary_line(report).plain)
            else:
                self.print(report, options)
        return report.exit_code

    def run_checks(self, redact: Redactor) -> None:
        errors = [found for found in checks.run_checks() if found.is_serious() and not found.is_silenced()]
        for found in errors:
            line = f"verification could not run: {found.id}: {found.msg} {found.hint or ''}"
            self.stderr.write(self.style.ERROR(redact(" ".join(line.split()))))
        if errors:
            sys.exit(COULD_NOT_RUN)

    def list(self, plan: Plan) -> None:
        width = max((len(probe.name) for probe in plan.probes), default=0)
        for probe in plan.probes:
            writes = "writes" if probe.writes else "reads"
            after = f", after {', '.join(probe.requires)}" if probe.requires else ""
            self.stdout.write(f"{probe.name:<{width}}  {probe.server}, {writes}, {probe.deadline:g} s{after}")
        for name, reason in plan.not_run.items():
            self.stdout.write(f"{name:<{width}}  not run: {reason}")

    def run(self, plan: Plan, redact: Redactor, options: dict[str, Any]) -> Report:
        # Django's wrapper ends every write with a newline and colours it as an error.
        stream: Any = self.stderr._out
        progress = Progress(stream, len(plan.probes))
        runner = Runner(
            plan.probes,
            redact=redact,
            tracebacks=options["traceback"],
            watch=progress if options["verbosity"] else lambda _event: None,
            not_run=plan.not_run,
            read_only=options.get("read_only", False),
        )
        with signals_interrupt(), progress.shown() if options["verbosity"] else contextlib.nullcontext():
            return runner.run()

    def print(self, report: Report, options: dict[str, Any]) -> None:
        terminal = self.stdout.isatty()
        if options["format"] == "text" and (terminal or options["force_color"]):
            columns = shutil.get_terminal_size().columns if terminal else None
            plain = options["no_color"] or "NO_COLOR" in os.environ
            text = as_text(report, width=columns, colour=not plain)
        else:
            text = FORMATS[options["format"]](report)
        encoding = getattr(self.stdout, "encoding", None) or "utf-8"
        try:
            self.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding), ending="")
            self.stdout.flush()
        except BrokenPipeError:
            # The reader has gone (head, a pager); the exit code still says how it went. Python would
            # complain once more when it closes stdout.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def output_file(path: Path | None) -> Iterator[Any]:
    """A function that puts a text into ``path``, all or nothing; None for no path.

    The file is made before the probes run: one that cannot be written is known at once.
    """
    if path is None:
        yield None
        return
    handle, name = tempfile.mkstemp(dir=path.absolute().parent, prefix=f".{path.name}.")
    temporary = Path(name)

    def write(text: str) -> None:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)

    try:
        yield write
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def signals_interrupt() -> Iterator[None]:
    """While inside, SIGINT and SIGTERM end the run in order: clean up, report, exit."""

    def interrupt(number: int, _frame: FrameType | None) -> NoReturn:
        raise Interrupted(number)

    try:
        before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread: whoever called us keeps the signals
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
