"""The development stack's state file: read, or refused with the file's name and the mend."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from dbint.discovery import DiscoveryError, locate
from dbint.errors import ConfigurationError
from dbint.state import SIZE_LIMIT, read_state, stack_directory
from stack import paths as stack_paths

POSTGRES = {
    "host": "127.0.0.1",
    "ports": {"sql": 41235},
    "version": "15.20",
    "emulated": False,
    "pid": 4711,
    "credentials": {
        "username": "dbint",
        "password": "hunter2",
        "database": "agent_runtime",
        "databases": ["a", "b"],
    },
}
DORIS = {
    "host": "127.0.0.1",
    "ports": {"query": 41237, "http": 41238, "be_http": 41239},
    "version": "4.0.2",
    "emulated": True,
    "pid": 4713,
    "credentials": {},
}


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"DBINT_STACK_DIR": str(tmp_path), "DBINT_IN_KUBERNETES": "0"}


def write(directory: Path, content: Any) -> Path:
    path = directory / "state.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    path.chmod(0o600)
    return path


def state(**services: Any) -> dict[str, Any]:
    return {"format": 1, "profile": "light", "services": services}


def test_it_says_where_the_servers_are(tmp_path: Path, environ: dict[str, str]) -> None:
    path = write(tmp_path, state(postgres=POSTGRES, doris=DORIS))
    endpoint = locate("postgres", environ=environ)
    assert (endpoint.host, endpoint.port(), endpoint.database) == ("127.0.0.1", 41235, "agent_runtime")
    assert endpoint.source == f"state file {path}"
    assert (endpoint.version, endpoint.emulated) == ("15.20", False)
    doris = locate("doris", environ=environ)
    assert doris.ports == {"query": 41237, "http": 41238, "be_http": 41239}
    assert (doris.version, doris.emulated) == ("4.0.2", True)


def test_a_service_that_is_not_in_it_has_its_default(tmp_path: Path, environ: dict[str, str]) -> None:
    write(tmp_path, state(doris=DORIS))
    assert locate("postgres", environ=environ).source == "default"


def test_no_file_is_no_stack(environ: dict[str, str]) -> None:
    assert read_state(environ) is None


def test_a_host_from_elsewhere_leaves_the_stack_out(tmp_path: Path, environ: dict[str, str]) -> None:
    write(tmp_path, state(postgres=POSTGRES))
    endpoint = locate("postgres", environ={**environ, "POSTGRES_HOST": "db.example"})
    assert (endpoint.port(), endpoint.database, endpoint.version) == (5432, None, None)


def test_a_port_from_elsewhere_does_not(tmp_path: Path, environ: dict[str, str]) -> None:
    path = write(tmp_path, state(postgres=POSTGRES))
    endpoint = locate("postgres", environ={**environ, "POSTGRES_PORT": "6432"})
    assert (endpoint.host, endpoint.port()) == ("127.0.0.1", 6432)
    assert endpoint.source == f"state file {path}, port: environment variable POSTGRES_PORT"


def test_inside_kubernetes_it_is_not_read(tmp_path: Path, environ: dict[str, str]) -> None:
    write(tmp_path, "{")
    assert (
        locate("postgres", environ={**environ, "DBINT_IN_KUBERNETES": "1"}).source
        == "cluster DNS, port: default"
    )


def test_passwords_are_in_no_repr(tmp_path: Path, environ: dict[str, str]) -> None:
    write(tmp_path, state(postgres=POSTGRES))
    assert "hunter2" not in repr(read_state(environ))
    assert "hunter2" not in repr(locate("postgres", environ=environ))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is damaged"),
        ("{", "is damaged"),
        ("[" * 100_000, "is damaged"),
        ("\udcff".encode("utf-8", "surrogateescape").decode("latin-1"), "is damaged"),
        ([], "its content is not a JSON object"),
        ({}, "has format None"),
        ({"format": 2, "services": {}}, "has format 2, this version of dbint reads format 1"),
        ({"format": 1}, '"services" is not a JSON object'),
        (state(postgres=[]), "service 'postgres': the entry is not a JSON object"),
        (state(postgres={**POSTGRES, "host": None}), "service 'postgres': host is not a text"),
        (state(postgres={**POSTGRES, "host": ""}), "service 'postgres': host is empty"),
        (state(postgres={**POSTGRES, "ports": {"sql": "41235"}}), "port 'sql' is not a port number"),
        (state(postgres={**POSTGRES, "ports": {"sql": True}}), "port 'sql' is not a port number"),
        (state(postgres={**POSTGRES, "ports": {"sql": 70000}}), "port 'sql' is not a port number"),
        (state(postgres={**POSTGRES, "emulated": "no"}), "emulated is not a boolean"),
        (state(postgres={**POSTGRES, "credentials": None}), "credentials is not a JSON object"),
        ("x" * (SIZE_LIMIT + 1), "is larger than"),
    ],
)
def test_damage_is_named(tmp_path: Path, environ: dict[str, str], content: Any, message: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(DiscoveryError, match=message) as raised:
        read_state(environ)
    assert str(path) in str(raised.value)
    assert "python -m stack" in str(raised.value)
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_may_write_is_refused(tmp_path: Path, environ: dict[str, str], mode: int) -> None:
    path = write(tmp_path, state(postgres=POSTGRES))
    path.chmod(mode)
    with pytest.raises(DiscoveryError, match=f"may be written by other users: chmod 600 {path}"):
        read_state(environ)


def test_a_file_of_another_user_is_refused(
    tmp_path: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, state(postgres=POSTGRES))
    if os.geteuid() == 0:
        os.chown(path, 12345, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(DiscoveryError, match=r"belongs to user \d+, who could send your passwords anywhere"):
        read_state(environ)


def test_a_pipe_in_its_place_does_not_hang(tmp_path: Path, environ: dict[str, str]) -> None:
    os.mkfifo(tmp_path / "state.json")
    with pytest.raises(DiscoveryError, match="is not a regular file"):
        read_state(environ)


def test_a_directory_in_its_place(tmp_path: Path, environ: dict[str, str]) -> None:
    (tmp_path / "state.json").mkdir()
    with pytest.raises(DiscoveryError, match=r"is not a regular file|cannot be"):
        read_state(environ)


class TestDirectory:
    def test_is_chosen_by_variable(self) -> None:
        assert stack_directory({"DBINT_STACK_DIR": "/srv/x/../stack"}) == Path("/srv/stack")

    def test_must_be_absolute(self) -> None:
        with pytest.raises(ConfigurationError, match="DBINT_STACK_DIR must be an absolute path, not 'here'"):
            stack_directory({"DBINT_STACK_DIR": "here"})

    def test_of_root_is_where_user_postgres_can_go(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        assert stack_directory({}) == Path("/var/lib/dbint/stack")

    def test_of_others_follows_xdg(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        assert stack_directory({"HOME": "/home/ann"}) == Path("/home/ann/.local/state/dbint/stack")
        assert stack_directory({"XDG_STATE_HOME": "/s", "HOME": "/home/ann"}) == Path("/s/dbint/stack")
        assert stack_directory({"XDG_STATE_HOME": "s", "HOME": "/h"}) == Path("/h/.local/state/dbint/stack")

    @pytest.mark.parametrize("user", [0, 1000])
    @pytest.mark.parametrize(
        "environ", [{}, {"DBINT_STACK_DIR": "/srv/stack"}, {"XDG_STATE_HOME": "/s"}, {"XDG_STATE_HOME": "s"}]
    )
    def test_is_the_one_that_the_stack_writes_to(
        self, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], user: int
    ) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: user)
        for variable in ("DBINT_STACK_DIR", "XDG_STATE_HOME"):
            monkeypatch.delenv(variable, raising=False)
        for variable, value in environ.items():
            monkeypatch.setenv(variable, value)
        assert stack_directory() == stack_paths.stack_directory()
