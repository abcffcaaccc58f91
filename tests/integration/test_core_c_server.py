"""The C core's tests that take a server: tests/server_*.c, against a PostgreSQL of their own."""

import os
import secrets
import subprocess
from pathlib import Path

import psycopg
from psycopg import sql

from stack import Stack

CORE = Path(__file__).parents[2] / "csrc"


def test_the_core_lands_events_in_a_real_server(postgres_private: Stack) -> None:
    entry = postgres_private.entry("postgres")
    password = secrets.token_hex(16)
    with psycopg.connect(
        host=entry.extra["socket_directory"],
        port=entry.ports["sql"],
        user="postgres",
        dbname="postgres",
        autocommit=True,
    ) as admin:
        admin.execute(sql.SQL("CREATE ROLE core_tests SUPERUSER LOGIN PASSWORD {}").format(password))
        admin.execute("CREATE DATABASE core_tests OWNER core_tests")
    conninfo = psycopg.conninfo.make_conninfo(
        host=entry.host,
        port=entry.ports["sql"],
        user="core_tests",
        password=password,
        dbname="core_tests",
    )
    done = subprocess.run(
        ["make", "--silent", "-C", os.fspath(CORE), "server-test"],
        env=os.environ | {"DBINT_TEST_CONNINFO": conninfo},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "server_shipper: " in done.stdout
    assert " 0 failed" in done.stdout


def test_without_a_database_nothing_passes_unseen() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "DBINT_TEST_CONNINFO"}
    done = subprocess.run(
        ["make", "--silent", "-C", os.fspath(CORE), "server-test"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode != 0
    assert "DBINT_TEST_CONNINFO names no database" in done.stderr
