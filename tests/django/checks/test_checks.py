"""The system checks, each by its id."""

import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.apps.registry import Apps
from django.conf import settings
from django.core.checks import CheckMessage
from django.db import models
from django.db.migrations.state import AppConfigStub
from django.test import override_settings
from django.test.utils import isolate_apps

import dbint.django.apps  # noqa: F401 - makes Meta.database an option
from dbint.django import checks, conf, routers
from dbint.django.routers import DatabaseRouter, homes
from stack import Endpoint

# The checks read the setting; nothing connects by it.
pytestmark = pytest.mark.filterwarnings("ignore:Overriding setting DATABASES")

DOCS = Path(__file__).resolve().parents[3] / "docs" / "settings.md"


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No stack, no cluster."""
    monkeypatch.setenv("DBINT_STACK_DIR", str(tmp_path))
    monkeypatch.setenv("DBINT_IN_KUBERNETES", "0")
    homes.cache_clear()
    yield
    homes.cache_clear()


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[Apps]:
    with isolate_apps("django.contrib.contenttypes") as registry:
        config = AppConfigStub("shop")
        config.apps, config.models = registry, registry.all_models["shop"]
        registry.app_configs["shop"] = config
        monkeypatch.setattr(routers, "apps", registry)
        monkeypatch.setattr(checks, "apps", registry)
        yield registry


def make(name: str, database: str | None = None, **fields: Any) -> type[models.Model]:
    options = {"app_label": "shop", **({"database": database} if database else {})}
    return type(name, (models.Model,), {"__module__": __name__, "Meta": type("Meta", (), options), **fields})


def ids(messages: list[CheckMessage]) -> list[str | None]:
    return [message.id for message in messages]


def project(**given: Any) -> override_settings:
    """Settings with our router and two aliases."""
    return override_settings(
        **{
            "DATABASES": {"default": {}, "doris": {}},
            "DATABASE_ROUTERS": ["dbint.django.routers.DatabaseRouter"],
            "DBINT": {},
            **given,
        }
    )


class ToDefault:
    """A router that sends everything to the default database."""

    def db_for_write(self, model: type[models.Model], **_: Any) -> str:
        return "default"

    db_for_read = db_for_write


class TestSettings:
    def test_ids_of_problems(self) -> None:
        dbint = {"VERFY": {}, "VERIFY": {"samples": 0}, "KAFKA": {"options": {"bootstrap.servers": "a"}}}
        with override_settings(DBINT=dbint):
            assert sorted(map(str, ids(checks.check_settings()))) == [
                "dbint.E001",
                "dbint.E002",
                "dbint.E003",
            ]

    def test_a_hint_names_the_nearest_key(self) -> None:
        with override_settings(DBINT={"VERFY": {}}):
            assert [message.hint for message in checks.check_settings()] == ["Did you mean 'VERIFY'?"]

    def test_other_checks_live_with_wrong_settings(self, registry: Apps) -> None:
        make("Fact", "doris")
        with project(DBINT={"VERIFY": {"samples": 0}}):
            assert checks.check_routers() == checks.check_routes() == checks.check_credentials() == []


class TestDiscovery:
    def test_no_problem(self) -> None:
        assert checks.check_discovery() == checks.check_credentials() == []

    def test_bad_variables_once_each(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("POSTGRES_PORT", "x")
        monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "")
        messages = checks.check_discovery()
        assert ids(messages) == ["dbint.E011", "dbint.E011"]
        assert "POSTGRES_PORT" in messages[0].msg

    def test_a_wrong_switch_is_one_message(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DBINT_IN_KUBERNETES", "maybe")
        assert ids(checks.check_discovery()) == ["dbint.E011"]
        assert ids(checks.check_passwords()) == ["dbint.E011"]

    def test_a_damaged_state_file(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        (tmp_path / "state.json").write_text("{")
        messages = checks.check_discovery()
        assert ids(messages) == ["dbint.E010"]
        assert f"{tmp_path / 'state.json'} is damaged" in messages[0].msg
        monkeypatch.setenv("DBINT_IN_KUBERNETES", "1")
        assert checks.check_discovery() == []


class TestCredentials:
    @pytest.mark.parametrize(
        "credentials",
        [{"providers": ["enviroment"]}, {"providers": ["no.such.Provider"]}, {"path": "/nonexistent"}],
    )
    def test_unusable_providers(self, credentials: dict[str, Any]) -> None:
        with override_settings(DBINT={"CREDENTIALS": credentials}):
            assert ids(checks.check_credentials()) == ["dbint.E012"]

    def test_half_a_pair(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("POSTGRES_PASSWORD", "hunter2")
        messages = checks.check_credentials()
        assert ids(messages) == ["dbint.E012"]
        assert "hunter2" not in f"{messages[0]}"

    def test_vault_that_nobody_asks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("VAULT_ADDR", "http://127.0.0.1:8200")
        assert ids(checks.check_credentials()) == ["dbint.W013"]
        with override_settings(DBINT={"CREDENTIALS": {"providers": [f"{__name__}.Own"]}}):
            assert checks.check_credentials() == []


class Own:
    def get(self, service: str) -> None:
        return None


class TestRouters:
    def test_all_is_well(self, registry: Apps) -> None:
        make("Fact", "doris")
        with project():
            assert checks.check_routers() == checks.check_routes() == []

    def test_cannot_be_imported(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # Without override_settings, which would import them itself.
        monkeypatch.setattr(settings, "DATABASE_ROUTERS", ["nowhere.Router"])
        messages = checks.check_routers()
        assert ids(messages) == ["dbint.E020"]
        assert "'nowhere.Router'" in messages[0].msg
        assert checks.check_routes() == []

    def test_missing(self, registry: Apps) -> None:
        make("Fact", "doris")
        with project(DATABASE_ROUTERS=[]):
            assert ids(checks.check_routers()) == ["dbint.E021"]

    def test_missing_and_not_needed(self, registry: Apps) -> None:
        make("Order")
        with project(DATABASE_ROUTERS=[]):
            assert checks.check_routers() == []

    def test_too_late(self, registry: Apps) -> None:
        make("Fact", "doris")
        with project(DATABASE_ROUTERS=[ToDefault(), DatabaseRouter()]):
            messages = checks.check_routers()
        assert ids(messages) == ["dbint.E022"]
        assert "shop.Fact lives in 'doris', and an earlier router sends it to 'default'" in messages[0].msg

    @pytest.mark.parametrize("routing", [{"apps": {"shopp": "doris"}}, {"models": {"shop.Facts": "doris"}}])
    def test_a_rule_for_nothing(self, registry: Apps, routing: dict[str, Any]) -> None:
        make("Fact")
        with project(DBINT={"ROUTING": routing}):
            messages = checks.check_routes()
        assert ids(messages) == ["dbint.E023"]
        assert "did you mean" in messages[0].msg

    def test_a_home_that_is_no_alias(self, registry: Apps) -> None:
        make("Fact", "dorris")
        with project():
            messages = checks.check_routes()
        assert ids(messages) == ["dbint.E024"]
        assert "did you mean 'doris'?" in messages[0].msg

    def test_a_relation_that_crosses(self, registry: Apps) -> None:
        order = make("Order")
        make("Fact", "doris", order=models.ForeignKey(order, models.CASCADE))
        with project():
            assert ids(checks.check_routes()) == ["dbint.E025"]

    def test_a_relation_without_constraint_may_cross(self, registry: Apps) -> None:
        order = make("Order")
        make("Fact", "doris", order=models.ForeignKey(order, models.CASCADE, db_constraint=False))
        with project():
            assert checks.check_routes() == []

    def test_an_alias_without_models(self, registry: Apps) -> None:
        make("Fact", "doris")
        aliases = {"default": {}, "doris": {}, "empty": {}, "replica": {"TEST": {"MIRROR": "default"}}}
        with project(DATABASES=aliases):
            messages = checks.check_routes()
        assert ids(messages) == ["dbint.W026"]
        assert "'empty'" in messages[0].msg


class TestPasswords:
    def check(self, **entry: Any) -> list[CheckMessage]:
        with override_settings(DATABASES={"default": {"HOST": "db", "USER": "ann", **entry}}):
            return checks.check_passwords()

    @pytest.mark.parametrize("password", sorted(checks.KNOWN_PASSWORDS))
    def test_known_passwords(self, monkeypatch: pytest.MonkeyPatch, password: str) -> None:
        messages = self.check(PASSWORD=password, USER="ann")
        assert ids(messages) == ["dbint.W030"]
        assert not re.search(rf"\b{password}\b", messages[0].msg.replace("The password of", ""))
        monkeypatch.setenv("DBINT_IN_KUBERNETES", "1")
        assert ids(self.check(PASSWORD=password)) == ["dbint.E030"]

    def test_own_passwords(self) -> None:
        assert self.check(PASSWORD="gXkqk0ZK") == []

    def test_no_password(self) -> None:
        assert ids(self.check()) == ["dbint.W031"]
        assert self.check(OPTIONS={"passfile": "/x"}) == []
        assert self.check(HOST="/run/postgresql") == []
        assert self.check(USER="") == []


class TestServers:
    def entry(self, port: int) -> dict[str, Any]:
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": "x",
            "USER": "ann",
            "PASSWORD": "hunter2",
            "HOST": "127.0.0.1",
            "PORT": port,
            "OPTIONS": {"connect_timeout": 2, "pool": {"timeout": 30}},
        }

    def check(self, monkeypatch: pytest.MonkeyPatch, entry: dict[str, Any]) -> list[CheckMessage]:
        from django.db.utils import ConnectionHandler

        monkeypatch.setattr(checks, "connections", ConnectionHandler({"default": {**entry}}))
        return checks.check_servers(databases=["default"])

    def test_nothing_asked(self) -> None:
        assert checks.check_servers(databases=None) == []

    def test_a_dead_port_says_why_without_waiting_for_the_pool(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            messages = self.check(monkeypatch, self.entry(closed.getsockname()[1]))
        assert ids(messages) == ["dbint.E040"]
        assert "refused" in messages[0].msg
        assert "hunter2" not in f"{messages[0]}"

    def test_a_wrong_password(self, monkeypatch: pytest.MonkeyPatch, postgres: Endpoint) -> None:
        user, database = postgres.credentials["username"], postgres.credentials["database"]
        messages = self.check(monkeypatch, {**self.entry(postgres.port), "USER": user, "NAME": database})
        assert ids(messages) == ["dbint.E040"]
        assert "password authentication failed" in messages[0].msg

    def test_a_live_server(self, monkeypatch: pytest.MonkeyPatch, postgres: Endpoint) -> None:
        found = {
            "USER": postgres.credentials["username"],
            "PASSWORD": postgres.credentials["password"],
            "NAME": postgres.credentials["database"],
        }
        assert self.check(monkeypatch, {**self.entry(postgres.port), **found}) == []


def test_the_documentation_has_every_id_and_no_other() -> None:
    source = Path(checks.__file__).read_text()
    used = set(re.findall(r'"(?:dbint\.)?([EW]0\d\d)"', source)) | {
        conf.UNKNOWN_KEY,
        conf.WRONG_VALUE,
        conf.CONTRADICTION,
    }
    documented = set(re.findall(r"^\| dbint\.([EW]\d\d\d) \|", DOCS.read_text(), re.MULTILINE))
    assert documented == used


def test_the_documentation_has_every_key_and_no_other() -> None:
    documented = set(re.findall(r'^\| `([A-Z]+)(?:\[name\])?\["(\w+)"\]` \|', DOCS.read_text(), re.MULTILINE))
    keys = {(section, key) for section, known in conf._KEYS.items() for key in known}
    keys |= {("SERVICES", key) for key in conf._SERVICE_KEYS} | {("FLOWS", key) for key in conf._FLOW_KEYS}
    assert documented == keys
