"""Credentials: each provider, the chain, and that no password is shown."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dbint.credentials import (
    ChainProvider,
    CredentialProvider,
    Credentials,
    EnvironmentProvider,
    FileProvider,
    StackProvider,
    default_chain,
)
from dbint.discovery import DiscoveryError
from dbint.errors import ConfigurationError

OUTSIDE = {"DBINT_IN_KUBERNETES": "0", "DBINT_STACK_DIR": "/nonexistent"}
INSIDE = {**OUTSIDE, "DBINT_IN_KUBERNETES": "1"}


def private(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    path.chmod(0o600)
    return path


class TestCredentials:
    def test_repr_and_str_show_no_password(self) -> None:
        credentials = Credentials("ann", "hunter2", "a test")
        for text in (repr(credentials), str(credentials), f"{credentials}", repr([credentials])):
            assert "hunter2" not in text
            assert "ann" in text

    def test_expiry(self) -> None:
        now = datetime(2026, 1, 1, tzinfo=UTC)
        lease = Credentials("ann", "x", "a test", expires_at=now)
        assert lease.expired(now)
        assert not lease.expired(now - timedelta(seconds=1))
        assert lease.expired()
        assert not Credentials("ann", "x", "a test").expired()


class TestEnvironment:
    def test_user_and_password(self) -> None:
        environ = {"POSTGRES_USER": "ann", "POSTGRES_PASSWORD": " with spaces ", "POSTGRES_DATABASE": "d"}
        found = EnvironmentProvider(environ).get("postgres")
        assert found == Credentials(
            "ann", " with spaces ", "environment variables POSTGRES_USER and POSTGRES_PASSWORD", "d"
        )

    def test_nothing_set(self) -> None:
        assert EnvironmentProvider({}).get("postgres") is None
        assert EnvironmentProvider({"POSTGRES_DATABASE": "d"}).get("postgres") is None

    def test_a_user_alone_may_have_a_server_that_trusts_him(self) -> None:
        found = EnvironmentProvider({"POSTGRES_USER": "ann"}).get("postgres")
        assert found == Credentials("ann", "", "environment variable POSTGRES_USER")

    def test_a_password_alone(self) -> None:
        with pytest.raises(
            ConfigurationError, match="POSTGRES_PASSWORD is set and POSTGRES_USER is not"
        ) as raised:
            EnvironmentProvider({"POSTGRES_PASSWORD": "hunter2"}).get("postgres")
        assert "hunter2" not in str(raised.value)

    @pytest.mark.parametrize(("service", "variable"), [("redis", "REDIS_PASSWORD"), ("vault", "VAULT_TOKEN")])
    def test_a_password_alone_where_there_are_no_users(self, service: str, variable: str) -> None:
        found = EnvironmentProvider({variable: "t"}).get(service)
        assert found == Credentials("", "t", f"environment variable {variable}")

    def test_from_files(self, tmp_path: Path) -> None:
        environ = {
            "POSTGRES_USER": "ann",
            "POSTGRES_PASSWORD_FILE": str(private(tmp_path / "password", "hunter2\n")),
        }
        found = EnvironmentProvider(environ).get("postgres")
        assert found is not None
        assert found.password == "hunter2"
        assert found.source == "environment variables POSTGRES_USER and POSTGRES_PASSWORD_FILE"

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "is empty"),
            (b"\n", "is empty"),
            (b"\xff", "is not UTF-8"),
            (b"x" * 100_000, "is larger than 65536 bytes"),
            (None, "cannot be read: No such file"),
        ],
    )
    def test_bad_files(self, tmp_path: Path, content: bytes | None, message: str) -> None:
        path = tmp_path / "password"
        if content is not None:
            path.write_bytes(content)
        environ = {"POSTGRES_USER": "ann", "POSTGRES_PASSWORD_FILE": str(path)}
        with pytest.raises(ConfigurationError, match=f"POSTGRES_PASSWORD_FILE: {path} {message}"):
            EnvironmentProvider(environ).get("postgres")

    def test_a_value_and_its_file(self, tmp_path: Path) -> None:
        environ = {"POSTGRES_PASSWORD": "hunter2", "POSTGRES_PASSWORD_FILE": str(tmp_path)}
        with pytest.raises(
            ConfigurationError, match="POSTGRES_PASSWORD and POSTGRES_PASSWORD_FILE are both set"
        ):
            EnvironmentProvider(environ).get("postgres")

    def test_two_names_that_differ(self) -> None:
        environ = {"REDIS_PASSWORD": "hunter2", "DRAGONFLY_PASSWORD": "hunter3"}
        with pytest.raises(
            ConfigurationError, match="REDIS_PASSWORD and DRAGONFLY_PASSWORD are set and differ"
        ) as raised:
            EnvironmentProvider(environ).get("redis")
        assert "hunter" not in str(raised.value)

    def test_empty(self) -> None:
        with pytest.raises(ConfigurationError, match="POSTGRES_PASSWORD is empty"):
            EnvironmentProvider({"POSTGRES_USER": "ann", "POSTGRES_PASSWORD": ""}).get("postgres")

    def test_from_a_url(self) -> None:
        environ = {"DATABASE_URL": "postgresql://cdc_user:p%40ss%2F%3A@db:5434/cdc_management"}
        found = EnvironmentProvider(environ).get("cdc")
        assert found == Credentials(
            "cdc_user", "p@ss/:", "environment variable DATABASE_URL", "cdc_management"
        )

    def test_a_url_without_a_user(self) -> None:
        assert EnvironmentProvider({"DATABASE_URL": "postgresql://db/cdc_management"}).get("cdc") is None

    def test_variables_win_over_the_url(self) -> None:
        environ = {
            "DATABASE_URL": "postgresql://a:b@db/x",
            "CDC_DATABASE_USER": "ann",
            "CDC_DATABASE_PASSWORD": "p",
        }
        found = EnvironmentProvider(environ).get("cdc")
        assert found is not None
        assert found.username == "ann"


class TestDirectory:
    def test_mounted_secret(self, tmp_path: Path) -> None:
        private(tmp_path / "postgres/username", "ann\n")
        private(tmp_path / "postgres/password", "hunter2")
        found = FileProvider(tmp_path, OUTSIDE).get("postgres")
        assert found == Credentials("ann", "hunter2", f"file {tmp_path / 'postgres'}")

    def test_other_services_are_unknown(self, tmp_path: Path) -> None:
        assert FileProvider(tmp_path, OUTSIDE).get("postgres") is None

    def test_a_rotated_secret_has_a_higher_generation(self, tmp_path: Path) -> None:
        private(tmp_path / "postgres/username", "ann")
        password = private(tmp_path / "postgres/password", "one")
        provider = FileProvider(tmp_path, OUTSIDE)

        def generation() -> int:
            found = provider.get("postgres")
            assert found is not None
            assert found.password == password.read_text()
            return found.generation

        assert [generation(), generation()] == [0, 0]
        password.write_text("two")
        assert [generation(), generation()] == [1, 1]
        password.write_text("one")
        assert generation() == 2

    def test_readable_by_others(self, tmp_path: Path) -> None:
        private(tmp_path / "postgres/username", "ann")
        password = private(tmp_path / "postgres/password", "hunter2")
        password.chmod(0o604)
        with pytest.raises(
            ConfigurationError, match=f"other users may read or write it: chmod 600 {password}"
        ):
            FileProvider(tmp_path, OUTSIDE).get("postgres")

    def test_kubernetes_mounts_are_readable(self, tmp_path: Path) -> None:
        """The kubelet's default mode is 0644, and the files are links into a directory that it swaps."""
        private(tmp_path / "..2026/username", "ann").chmod(0o644)
        (tmp_path / "postgres").symlink_to("..2026")
        found = FileProvider(tmp_path, INSIDE).get("postgres")
        assert found is not None
        assert found.username == "ann"

    def test_no_username(self, tmp_path: Path) -> None:
        private(tmp_path / "postgres/password", "hunter2")
        with pytest.raises(ConfigurationError, match="has no username for PostgreSQL"):
            FileProvider(tmp_path, OUTSIDE).get("postgres")

    def test_missing_directory(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match="nowhere is not there"):
            FileProvider(tmp_path / "nowhere", OUTSIDE).get("postgres")


class TestFile:
    def test_json(self, tmp_path: Path) -> None:
        path = private(
            tmp_path / "c.json", json.dumps({"doris": {"username": "root", "password": "x", "database": "d"}})
        )
        assert FileProvider(path, OUTSIDE).get("doris") == Credentials("root", "x", f"file {path}", "d")
        assert FileProvider(path, OUTSIDE).get("postgres") is None

    def test_toml(self, tmp_path: Path) -> None:
        path = private(tmp_path / "c.toml", '[vault]\npassword = "t"\n')
        assert FileProvider(path, OUTSIDE).get("vault") == Credentials("", "t", f"file {path}")

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("c.json", '{"doris": {"password": "hunter2"', "is not valid JSON"),
            ("c.json", "[" * 100_000, "is not valid JSON"),
            ("c.toml", 'doris = "hunter2', "is not valid TOML"),
            ("c.json", '"hunter2"', "the entry of 'doris' is not"),
            ("c.json", '{"doris": "hunter2"}', "the entry of 'doris' is not"),
            ("c.json", '{"doris": {"username": "a", "password": 5}}', "the entry of 'doris' is not"),
            (
                "c.json",
                '{"doris": {"user": "a", "password": "hunter2"}}',
                "has no 'user': did you mean 'username'",
            ),
            ("c.json", '{"doris": {"password": "hunter2"}}', "has no username"),
        ],
    )
    def test_bad_content(self, tmp_path: Path, name: str, content: str, message: str) -> None:
        path = private(tmp_path / name, content)
        with pytest.raises(ConfigurationError, match=message) as raised:
            FileProvider(path, OUTSIDE).get("doris")
        assert "hunter2" not in str(raised.value)
        assert str(path) in str(raised.value)

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match=r"c\.json cannot be read: No such file"):
            FileProvider(tmp_path / "c.json", OUTSIDE).get("doris")

    def test_readable_by_others(self, tmp_path: Path) -> None:
        path = private(tmp_path / "c.json", "{}")
        path.chmod(0o644)
        with pytest.raises(ConfigurationError, match="chmod 600"):
            FileProvider(path, OUTSIDE).get("doris")


class TestStack:
    @pytest.fixture
    def environ(self, tmp_path: Path) -> dict[str, str]:
        entry = {
            "host": "127.0.0.1",
            "ports": {"sql": 1},
            "credentials": {"username": "dbint", "password": "p"},
        }
        kafka = {"host": "127.0.0.1", "ports": {"bootstrap": 2}, "credentials": {}}
        document = {"format": 1, "services": {"postgres": entry, "kafka": kafka}}
        private(tmp_path / "state.json", json.dumps(document))
        return {"DBINT_STACK_DIR": str(tmp_path), "DBINT_IN_KUBERNETES": "0"}

    def test_answers(self, environ: dict[str, str]) -> None:
        found = StackProvider(environ=environ).get("postgres")
        source = f"state file {environ['DBINT_STACK_DIR']}/state.json"
        assert found == Credentials("dbint", "p", source)

    def test_knows_no_others(self, environ: dict[str, str]) -> None:
        assert StackProvider(environ=environ).get("kafka") is None
        assert StackProvider(environ=environ).get("doris") is None

    def test_sends_its_password_to_no_other_server(self, environ: dict[str, str]) -> None:
        elsewhere = {**environ, "POSTGRES_HOST": "db.example"}
        assert StackProvider(environ=elsewhere).get("postgres") is None
        assert StackProvider({"postgres": {"host": "db.example"}}, environ).get("postgres") is None

    def test_is_silent_in_kubernetes(self, environ: dict[str, str]) -> None:
        assert StackProvider(environ={**environ, "DBINT_IN_KUBERNETES": "1"}).get("postgres") is None

    def test_a_damaged_file(self, environ: dict[str, str]) -> None:
        Path(environ["DBINT_STACK_DIR"], "state.json").write_text("{")
        with pytest.raises(DiscoveryError, match="is damaged"):
            StackProvider(environ=environ).get("postgres")


class Fixed:
    """A provider with one answer."""

    def __init__(self, *answer: Credentials | None) -> None:
        self.answer = answer[0] if answer else Credentials("own", "p", "a test")

    def get(self, service: str) -> Credentials | None:
        return self.answer


class TestChain:
    def test_the_first_answer_wins(self) -> None:
        first, second = Credentials("a", "", "1"), Credentials("b", "", "2")
        assert ChainProvider([Fixed(None), Fixed(first), Fixed(second)]).get("kafka") is first
        assert ChainProvider([Fixed(None)]).get("kafka") is None
        assert ChainProvider([]).get("kafka") is None

    def test_every_provider_keeps_the_interface(self, tmp_path: Path) -> None:
        for provider in (
            EnvironmentProvider(),
            FileProvider(tmp_path),
            StackProvider(),
            ChainProvider([]),
            Fixed(),
        ):
            assert isinstance(provider, CredentialProvider)

    def test_default_order(self, tmp_path: Path) -> None:
        path = private(
            tmp_path / "c.json", json.dumps({"postgres": {"username": "file"}, "doris": {"username": "file"}})
        )
        environ = {**OUTSIDE, "POSTGRES_USER": "environment"}
        chain = default_chain({"path": str(path)}, environ=environ)
        names = [found.username for service in ("postgres", "doris") if (found := chain.get(service))]
        assert names == ["environment", "file"]

    def test_the_path_may_come_from_the_environment(self, tmp_path: Path) -> None:
        path = private(tmp_path / "c.json", '{"doris": {"username": "file"}}')
        found = default_chain(environ={**OUTSIDE, "DBINT_CREDENTIALS": str(path)}).get("doris")
        assert found is not None
        assert found.source == f"file {path}"

    def test_own_providers(self) -> None:
        chain = default_chain(
            {"providers": [f"{__name__}.Fixed", "environment"]}, environ={"POSTGRES_USER": "e"}
        )
        found = chain.get("postgres")
        assert found is not None
        assert found.username == "own"

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"providers": ["enviroment"]}, "has no 'enviroment': did you mean 'environment'"),
            ({"providers": ["nowhere.Provider"]}, "'nowhere.Provider' cannot be imported"),
            ({"providers": ["json.Provider"]}, "'json.Provider' cannot be imported"),
            ({"providers": ["builtins.list"]}, r"'builtins.list' made no provider: it has no method get\(\)"),
            ({"providers": ["builtins.divmod"]}, "'builtins.divmod' cannot be called without arguments"),
            ({"providers": ["environment"], "path": "/x"}, 'leave out "file"'),
        ],
    )
    def test_bad_settings(self, settings: dict[str, Any], message: str) -> None:
        with pytest.raises(ConfigurationError, match=message):
            default_chain(settings, environ=OUTSIDE)
