"""DBINT["FLOWS"] and models as what a flow is made of; nothing connects."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.apps.registry import Apps
from django.db import models
from django.db.utils import ConnectionHandler
from django.test import override_settings
from django.test.utils import isolate_apps

from dbint.django import checks, flows
from dbint.django.backends.doris import AutoRange, DorisTable
from dbint.errors import ConfigurationError
from dbint.flow.config import TableOptions

DATABASES: dict[str, Any] = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "shop",
        "USER": "app",
        "PASSWORD": "secret-1",
        "HOST": "db",
        "PORT": 6432,
        "OPTIONS": {"sslmode": "require", "pool": {"max_size": 3}},
    },
    "doris": {
        "ENGINE": "dbint.django.backends.doris",
        "NAME": "facts",
        "USER": "root",
        "PASSWORD": "secret-2",
        "HOST": "fe1",
        "PORT": 9031,
        "OPTIONS": {
            "hosts": ["fe2"],
            "http_port": 8031,
            "replication_num": 2,
            "stream_load": {"allowed_hosts": [".be.internal"], "https": True},
        },
    },
}
FLOW = {"SOURCE": "default", "TARGET": "doris", "TABLES": ["public.orders"]}


@pytest.fixture(autouse=True)
def aliases(monkeypatch: pytest.MonkeyPatch) -> ConnectionHandler:
    handler = ConnectionHandler(DATABASES)
    monkeypatch.setattr(flows, "connections", handler)
    return handler


def configured(**all_flows: Any) -> override_settings:
    return override_settings(DBINT={"FLOWS": all_flows})


def test_a_flow_has_addresses_credentials_and_defaults(aliases: ConnectionHandler) -> None:
    with configured(orders=FLOW | {"BATCH_SECONDS": 0.5, "MODE": "cdc_only"}):
        config = flows.flow_config()
    assert (config.name, config.slot, config.publication, config.prefix) == (
        "orders",
        "dbint_orders",
        "dbint_orders",
        "orders",
    )
    assert (config.batch_seconds, config.mode, config.topic("public.orders")) == (
        0.5,
        "cdc_only",
        "orders.public.orders",
    )
    parameters = config.source.parameters()
    assert parameters == {
        "connect_timeout": "10",
        "sslmode": "require",
        "dbname": "shop",
        "user": "app",
        "password": "secret-1",
        "host": "db",
        "port": "6432",
    }
    target = config.target
    assert target.sql_addresses == [("fe1", 9031), ("fe2", 9030)]
    assert target.http_urls == ["https://fe1:8031", "https://fe2:8031"]
    assert (target.database, target.replication_num, list(target.allowed_hosts)) == (
        "facts",
        2,
        [".be.internal"],
    )
    assert "secret" not in repr(config)
    # Rotated credentials are taken up by the next connection.
    aliases["default"].settings_dict["PASSWORD"] = "secret-3"
    aliases["doris"].settings_dict["PASSWORD"] = "secret-4"
    assert config.source.parameters()["password"] == "secret-3"
    assert target.credentials() == ("root", "secret-4")


@pytest.mark.parametrize(
    ("flow", "message"),
    [
        (FLOW | {"SOURCE": "nowhere"}, "SOURCE is 'nowhere', and DATABASES has no such alias"),
        (FLOW | {"SOURCE": "doris"}, "SOURCE is 'doris', which is no PostgreSQL but doris"),
        (FLOW | {"TARGET": "default"}, "TARGET is 'default', which is no Doris but postgresql"),
        (FLOW | {"MODELS": ("shop.Nothing",)}, "MODELS names shop.Nothing, and no installed app has it"),
        (FLOW | {"SLOT": "Slot-1"}, "slot is not up to 63 of a-z, 0-9 and _"),
        (FLOW | {"TABLES": {"a.b": {}, "a.ö": {}, "a.ü": {}}}, "a.ö and a.ü both make topic orders.a._"),
        (FLOW | {"LAG_DROP_BYTES": 1}, "lag_drop_bytes is not above lag_warning_bytes"),
    ],
)
def test_what_cannot_work_is_refused_by_its_key(flow: Any, message: str) -> None:
    with configured(orders=flow):
        with pytest.raises(ConfigurationError) as refused:
            flows.flow_config("orders")
        assert [found.id for found in checks.check_flows()] == ["dbint.E060"]
    assert 'DBINT["FLOWS"]["orders"]' in str(refused.value)
    assert message in str(refused.value)


def test_which_flow_is_meant() -> None:
    with configured(a=FLOW, b=FLOW):
        assert flows.flow_names() == ["a", "b"]
        with pytest.raises(ConfigurationError, match=r"name a flow: which of a, b\?"):
            flows.flow_config()
        with pytest.raises(ConfigurationError, match="has no flow 'c'; there is a, b"):
            flows.flow_config("c")
    with override_settings(DBINT={}), pytest.raises(ConfigurationError, match="has none"):
        flows.flow_config()


def test_two_flows_share_nothing() -> None:
    with configured(a=FLOW | {"SLOT": "same"}, b=FLOW | {"SLOT": "same", "PREFIX": "a"}):
        found = checks.check_flows()
    assert [message.id for message in found] == ["dbint.E061", "dbint.E061"]
    assert "a and b have the same slot 'same'" in found[0].msg
    with configured(a=FLOW, b=FLOW):
        assert checks.check_flows() == []


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[Apps]:
    with isolate_apps("django.contrib.contenttypes") as registry:
        monkeypatch.setattr(flows, "apps", registry)
        yield registry


def model(name: str, table: DorisTable | None = None, **fields: Any) -> Any:
    options = {"app_label": "contenttypes", "db_table": name.lower(), **({"doris": table} if table else {})}
    return type(name, (models.Model,), {"__module__": __name__, "Meta": type("Meta", (), options), **fields})


def test_a_model_says_partitions_distribution_and_properties(registry: Apps) -> None:
    visit = model(
        "Visit",
        DorisTable(
            partition_by=AutoRange("day", "month"),
            key=("id",),
            buckets=3,
            properties={"compression": "zstd"},
        ),
        id=models.BigAutoField(primary_key=True),
        day=models.DateField(),
        visitor=models.UUIDField(),
    )
    assert visit
    assert flows.model_options("contenttypes.Visit", "default") == (
        "public.visit",
        TableOptions(
            types={"visitor": "VARCHAR(32)"},
            partition_by="AUTO RANGE(date_trunc(`day`, 'month')) ()",
            buckets=3,
            properties={"compression": "zstd"},
        ),
    )


def test_a_model_of_another_shape_is_refused(registry: Apps) -> None:
    keeps_all = model("Hit", DorisTable(key_model="DUPLICATE"), id=models.BigAutoField(primary_key=True))
    other_key = model(
        "Seen",
        DorisTable(key=("day",)),
        id=models.BigAutoField(primary_key=True),
        day=models.DateField(),
    )
    assert keeps_all
    assert other_key
    with pytest.raises(ConfigurationError, match="a DUPLICATE table"):
        flows.model_options("contenttypes.Hit", "default")
    with pytest.raises(ConfigurationError, match=r"has the key \(day\), the primary key is \(id\)"):
        flows.model_options("contenttypes.Seen", "default")


def test_what_tables_says_wins_over_the_model(registry: Apps) -> None:
    assert model("Order", id=models.UUIDField(primary_key=True))
    tables = {"public.order": {"target": "sales"}}
    with configured(orders={**FLOW, "TABLES": tables, "MODELS": ["contenttypes.Order"]}):
        config = flows.flow_config()
    assert config.tables == ("public.order",)
    assert config.table_options("public.order") == TableOptions(target="sales")
