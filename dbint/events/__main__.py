"""``python -m dbint.events``: the tables of events for projects without Django.

Where the server is comes from the environment or the development stack, as for DatabaseConfig.from_env().
"""

import argparse
import sys
from collections.abc import Sequence

from dbint import _core, errors
from dbint.events import retention, tables
from dbint.events.config import DatabaseConfig
from dbint.events.reader import connected


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 done; 1 something failed; 2 wrong usage or configuration."""
    parser = argparse.ArgumentParser(
        prog="python -m dbint.events", description=(__doc__ or "").split("\n")[0]
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("sql", help="print the SQL that makes schemas, tables and the writer's ledger")
    commands.add_parser("install", help="run it; what is there already is left as it is")
    apply = commands.add_parser("retention", help="apply the retention policy once")
    apply.add_argument("--dry-run", action="store_true", help="say what would go, remove nothing")
    chosen = parser.parse_args(arguments)
    if chosen.command == "sql":
        _print(tables.script() + "\n" + _core.ledger_sql())
        return 0
    try:
        return _act(chosen, DatabaseConfig.from_env())
    except errors.Error as error:
        sys.stderr.write(f"{parser.prog}: {error}\n")
        return 2 if isinstance(error, errors.ConfigurationError) else 1


def _act(chosen: argparse.Namespace, config: DatabaseConfig) -> int:
    with connected(config) as connection:
        if chosen.command == "install":
            retention.install(connection, config)
            _print(f"installed in the database {config.database} at {config.host}:{config.port}\n")
            return 0
        report = retention.apply_retention(connection, config, dry_run=chosen.dry_run)
    _print("".join(f"{line}\n" for line in retention.describe(report)))
    return 1 if report.errors else 0


def _print(text: str) -> None:
    sys.stdout.write(text)


if __name__ == "__main__":
    sys.exit(main())
