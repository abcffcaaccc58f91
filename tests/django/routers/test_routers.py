"""Which database a model lives in, and what may be there."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.apps.registry import Apps
from django.db import migrations, models, router
from django.db.migrations.state import AppConfigStub, ModelState, ProjectState
from django.test import override_settings
from django.test.utils import isolate_apps

import dbint.django.apps  # noqa: F401 - makes Meta.database an option
from dbint.django import routers
from dbint.django.routers import DatabaseRouter, home, homes


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[Apps]:
    """A registry of the test's own, which the router looks into."""
    with isolate_apps("django.contrib.contenttypes") as registry:
        for label in ("shop", "agents", "other"):
            config = AppConfigStub(label)
            config.apps, config.models = registry, registry.all_models[label]
            registry.app_configs[label] = config
        monkeypatch.setattr(routers, "apps", registry)
        homes.cache_clear()
        yield registry
    homes.cache_clear()


def make(
    name: str, *, label: str = "shop", meta: dict[str, Any] | None = None, **attributes: Any
) -> type[models.Model]:
    options = type("Meta", (), {"app_label": label, **(meta or {})})
    return type(name, (models.Model,), {"__module__": __name__, "Meta": options, **attributes})


class ToAgentDb:
    """A project's router, behind dbint's."""

    def db_for_read(self, model: type[models.Model], **_: Any) -> str | None:
        return "agent_db" if model._meta.app_label == "agents" else None

    db_for_write = db_for_read


ROUTERS = override_settings(DATABASE_ROUTERS=[DatabaseRouter(), ToAgentDb()])


class TestHome:
    def test_nobody_says(self, registry: Apps) -> None:
        assert home(make("Order")) is None

    def test_meta(self, registry: Apps) -> None:
        assert home(make("Order", meta={"database": "doris"})) == "doris"

    def test_attribute(self, registry: Apps) -> None:
        assert home(make("Order", database="doris")) == "doris"

    def test_a_field_of_that_name_is_a_field(self, registry: Apps) -> None:
        assert home(make("Connection", database=models.CharField(max_length=63))) is None
        assert home(make("Pipeline", meta={"database": "doris"}, database=models.TextField())) == "doris"

    def test_settings(self, registry: Apps) -> None:
        order, item = make("Order"), make("Item")
        with override_settings(DBINT={"ROUTING": {"apps": {"shop": "a"}, "models": {"shop.Order": "b"}}}):
            assert (home(order), home(item)) == ("b", "a")
            assert home(make("Fact", meta={"database": "doris"})) == "doris"
            assert homes() == {"a", "b", "doris"}

    def test_abstract_parent(self, registry: Apps) -> None:
        base = make("Base", meta={"abstract": True, "database": "doris"})
        meta = type("Meta", (base.Meta,), {"app_label": "shop"})  # type: ignore[attr-defined]
        assert home(type("Fact", (base,), {"__module__": __name__, "Meta": meta})) == "doris"

    def test_proxy_lives_with_its_table(self, registry: Apps) -> None:
        order = make("Order", meta={"database": "doris"})
        meta = type("Meta", (), {"app_label": "other", "proxy": True})
        proxy = type("Proxy", (order,), {"__module__": __name__, "Meta": meta})
        assert home(proxy) == "doris"

    def test_the_table_between_two_models_lives_with_the_first(self, registry: Apps) -> None:
        item = make("Item", meta={"database": "doris"})
        order = make("Order", meta={"database": "doris"}, items=models.ManyToManyField(item))
        assert home(order.items.through) == "doris"  # type: ignore[attr-defined]


class TestRouting:
    def test_no_opinion(self, registry: Apps) -> None:
        order, one = make("Order"), DatabaseRouter()
        assert one.db_for_read(order) is None
        assert one.db_for_write(order) is None
        assert one.allow_relation(order(), order()) is None
        assert one.allow_migrate("default", "shop", "order") is None

    def test_reads_and_writes_go_home(self, registry: Apps) -> None:
        fact = make("Fact", meta={"database": "doris"})
        with ROUTERS:
            assert router.db_for_read(fact) == router.db_for_write(fact) == "doris"
            assert router.db_for_write(make("Order")) == "default"
            assert router.db_for_write(make("Agent", label="agents")) == "agent_db"

    def test_relations_stay_in_one_database(self, registry: Apps) -> None:
        fact = make("Fact", label="agents", meta={"database": "doris"})
        metric = make("Metric", label="agents", meta={"database": "doris"})
        here = make("Here", label="agents", meta={"database": "agent_db"})
        agent, order = make("Agent", label="agents"), make("Order")
        with ROUTERS:
            assert DatabaseRouter().allow_relation(fact(), metric()) is True
            # One has a home, the other lives where the router behind says.
            assert DatabaseRouter().allow_relation(here(), agent()) is True
            assert DatabaseRouter().allow_relation(fact(), agent()) is False
            assert DatabaseRouter().allow_relation(order(), fact()) is False
            assert DatabaseRouter().allow_relation(agent(), order()) is None


class TestMigrations:
    @pytest.mark.parametrize("how", [{"meta": {"database": "doris"}}, {"database": "doris"}])
    def test_a_model_migrates_at_home_alone(self, registry: Apps, how: dict[str, Any]) -> None:
        make("Fact", **how)
        assert DatabaseRouter().allow_migrate("doris", "shop", "fact") is True
        assert DatabaseRouter().allow_migrate("default", "shop", "fact") is False

    def test_a_home_takes_no_stranger(self, registry: Apps) -> None:
        make("Fact", meta={"database": "doris"})
        make("Order")
        assert DatabaseRouter().allow_migrate("doris", "shop", "order") is False
        assert DatabaseRouter().allow_migrate("doris", "auth", "user") is False
        assert DatabaseRouter().allow_migrate("default", "shop", "order") is None

    def test_default_takes_everybody(self, registry: Apps) -> None:
        make("Order", meta={"database": "default"})
        assert DatabaseRouter().allow_migrate("default", "auth", "user") is None

    def test_models_of_migrations_know_their_home(self, registry: Apps) -> None:
        """Meta.database survives into the migration: even a model removed since is made at home alone."""
        fact = make("Fact", meta={"database": "doris"})
        state = ProjectState()
        state.add_model(ModelState.from_model(fact))
        historical = state.apps.get_model("shop", "Fact")
        registry.all_models["shop"].clear()
        registry.clear_cache()
        assert home(historical) == "doris"
        assert DatabaseRouter().allow_migrate("default", "shop", "fact", model=historical) is False

    def test_the_writer_writes_it(self, registry: Apps) -> None:
        fact = make("Fact", meta={"database": "doris"})
        operation = migrations.CreateModel("Fact", [], ModelState.from_model(fact).options)
        assert operation.deconstruct()[2]["options"] == {
            "database": "doris",
            "indexes": [],
            "constraints": [],
        }

    def test_an_attribute_is_looked_up_on_the_model_of_today(self, registry: Apps) -> None:
        state = ProjectState()
        state.add_model(ModelState.from_model(make("Fact", database="doris")))
        assert home(state.apps.get_model("shop", "Fact")) == "doris"

    @pytest.mark.parametrize(
        ("db", "hints", "expected"),
        [
            ("doris", {"database": "doris"}, True),
            ("default", {"database": "doris"}, False),
            ("doris", {"model_name": "fact"}, True),
            ("default", {"model_name": "fact"}, False),
            # No hint: data migrations are for the other databases.
            ("doris", {}, False),
            ("default", {}, None),
        ],
    )
    def test_run_python(self, registry: Apps, db: str, hints: dict[str, str], expected: bool | None) -> None:
        make("Fact", meta={"database": "doris"})
        assert DatabaseRouter().allow_migrate(db, "shop", **hints) is expected

    def test_run_python_goes_where_its_app_goes(self, registry: Apps) -> None:
        with override_settings(DBINT={"ROUTING": {"apps": {"sales": "doris"}}}):
            assert DatabaseRouter().allow_migrate("doris", "sales") is True
            assert DatabaseRouter().allow_migrate("default", "sales") is False
