"""The reference project through manage.py, in processes of its own."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from dbint import discovery
from stack import Endpoint
from tests import quick_python

ROOT = Path(__file__).resolve().parents[3]


def run(*arguments: str, environ: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return quick_python.run(["manage.py", *arguments], cwd=ROOT, env={**os.environ, **(environ or {})})


@pytest.fixture
def no_stack(tmp_path: Path) -> dict[str, str]:
    """An environment in which no server is known."""
    return {"DBINT_STACK_DIR": str(tmp_path), "DBINT_IN_KUBERNETES": "0"}


class TestWithoutServers:
    def test_check_passes(self, no_stack: dict[str, str]) -> None:
        answer = run("check", environ=no_stack)
        assert answer.returncode == 0, answer.stderr
        assert "no issues" in answer.stdout

    def test_check_passes_in_kubernetes(self, no_stack: dict[str, str]) -> None:
        environ = {**no_stack, "DBINT_IN_KUBERNETES": "1", "DJANGO_SECRET_KEY": "k" * 60}
        assert run("check", environ=environ).returncode == 0

    def test_a_deployment_needs_its_secret_key(self, no_stack: dict[str, str]) -> None:
        answer = run("check", environ={**no_stack, "DBINT_IN_KUBERNETES": "1"})
        assert answer.returncode == 2
        assert answer.stderr.startswith("manage.py: DJANGO_SECRET_KEY is unset")

    @pytest.mark.parametrize(
        ("variable", "value", "message"),
        [
            ("POSTGRES_PORT", "x", "POSTGRES_PORT: 'x' is not a port number (1 to 65535)"),
            (
                "POSTGRES_PASSWORD",
                "hunter2",
                "POSTGRES_PASSWORD is set and POSTGRES_USER is not: set both or neither",
            ),
            ("DORIS_HOST", "http://fe", "DORIS_HOST holds a URL"),
            ("DBINT_IN_KUBERNETES", "maybe", "DBINT_IN_KUBERNETES is 'maybe'"),
        ],
    )
    def test_a_wrong_variable_is_one_line(
        self, no_stack: dict[str, str], variable: str, value: str, message: str
    ) -> None:
        answer = run("check", environ={**no_stack, variable: value})
        assert answer.returncode == 2
        assert answer.stderr.startswith(f"manage.py: {message}")
        assert answer.stderr.count("\n") == 1
        assert "hunter2" not in answer.stderr

    def test_a_damaged_state_file_is_a_check_error(self, no_stack: dict[str, str], tmp_path: Path) -> None:
        (tmp_path / "state.json").write_text("{")
        answer = run("check", environ=no_stack)
        assert answer.returncode == 1
        assert answer.stderr.count("dbint.E010") == 1
        assert "Traceback" not in answer.stderr

    def test_vault_that_is_not_read_is_said(self, no_stack: dict[str, str]) -> None:
        answer = run("check", environ={**no_stack, "VAULT_ADDR": "http://127.0.0.1:8200"})
        assert answer.returncode == 0
        assert "dbint.W013" in answer.stderr

    def test_a_server_that_is_away(self, no_stack: dict[str, str]) -> None:
        answer = run("migrate_databases", "--database", "default", environ={**no_stack, "POSTGRES_PORT": "1"})
        assert answer.returncode == 1
        assert "Connection refused" in answer.stderr
        assert "CommandError: not migrated: default" in answer.stderr
        assert "Traceback" not in answer.stderr

    def test_an_unknown_alias(self, no_stack: dict[str, str]) -> None:
        answer = run("migrate_databases", "--database", "nowhere", environ=no_stack)
        assert answer.returncode == 2
        assert "invalid choice: 'nowhere' (choose from 'default', 'agent_db', 'doris')" in answer.stderr


class TestWithServers:
    def test_migrations_are_complete(self, postgres: Endpoint, doris: Endpoint) -> None:
        answer = run("makemigrations", "--check", "--dry-run")
        assert answer.returncode == 0, answer.stdout + answer.stderr

    def test_migrate_databases(self, postgres: Endpoint, doris: Endpoint) -> None:
        plan = run("migrate_databases", "--plan")
        assert plan.returncode == 0, plan.stderr
        first = run("migrate_databases")
        assert first.returncode == 0, first.stderr
        second = run("migrate_databases")
        assert second.stdout.splitlines() == [
            f"{alias}: up to date" for alias in ("default", "agent_db", "doris")
        ]

    def test_the_others_are_migrated_when_one_is_away(self, postgres: Endpoint) -> None:
        user = {"DORIS_USER": "root", "DORIS_PASSWORD": "x"}
        answer = run(
            "migrate_databases", environ={"DORIS_HOST": "127.0.0.1", "DORIS_QUERY_PORT": "1", **user}
        )
        assert answer.returncode == 1
        assert answer.stdout.startswith("default: ")
        assert "agent_db: " in answer.stdout
        assert "CommandError: not migrated: doris" in answer.stderr

    def test_check_with_databases(self, postgres: Endpoint, doris: Endpoint) -> None:
        answer = run(
            "check", *(word for alias in ("default", "agent_db", "doris") for word in ("--database", alias))
        )
        assert answer.returncode == 0, answer.stderr

    def test_the_projects_own_tests(self, postgres: Endpoint, doris: Endpoint) -> None:
        answer = run("test", "--noinput", "apps.python_agent")
        assert answer.returncode == 0, answer.stderr
        assert "OK" in answer.stderr
        assert "skipped" not in answer.stderr


class TestVault:
    """The project's way to Vault: both ways to log in say that it is not configured."""

    PROGRAM = (
        "from agent_api.vault import VaultNotConfiguredError, vault_client as c, database_secrets as s\n"
        "for call in (c.authenticate_kubernetes, c.authenticate_token, s.configure_django_databases):\n"
        "    try: call()\n"
        "    except VaultNotConfiguredError as error: print(error)"
    )

    @pytest.mark.parametrize(
        ("environ", "message"),
        [
            ({}, "Vault is not configured (VAULT_ADDR is unset)"),
            (
                {"VAULT_ADDR": "http://127.0.0.1:8200"},
                "VAULT_ADDR is set, and this version reads no credentials",
            ),
        ],
    )
    def test_not_configured(self, no_stack: dict[str, str], environ: dict[str, str], message: str) -> None:
        answer = run("shell", "--no-imports", "-c", self.PROGRAM, environ={**no_stack, **environ})
        lines = answer.stdout.splitlines()
        assert len(lines) == 3, answer.stderr
        assert all(line.startswith(message) for line in lines)


def test_the_table_of_services_is_documented() -> None:
    documented = (ROOT / "docs" / "discovery.md").read_text()
    for service in discovery.SERVICES.values():
        row = next(line for line in documented.splitlines() if line.startswith(f"| {service.name} "))
        ports = [f"{role} {port.number}" for role, port in service.ports.items()]
        for word in (service.dns, *service.aliases, *ports, *service.variables(), service.health.path):
            assert word in row, f"{service.name}: {word}"
