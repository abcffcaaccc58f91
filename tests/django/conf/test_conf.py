"""The setting DBINT: what is read, and how what is wrong is named."""

from typing import Any, get_type_hints

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from dbint.django import conf
from dbint.django.conf import get_settings, parse
from dbint.flow.config import FlowConfig, TableOptions


def only_problem(value: Any) -> conf.Problem:
    _, problems = parse(value)
    assert len(problems) == 1, problems
    return problems[0]


def test_nothing_set_means_defaults() -> None:
    parsed, problems = parse({})
    assert problems == []
    assert parsed == conf.Settings()
    assert parsed.verify.topic_prefix == "dbint-verify"


def test_everything_is_read() -> None:
    parsed, problems = parse(
        {
            "SERVICES": {
                "postgres": {"host": "db", "port": 6432},
                "dragonfly": {"url": "redis://cache:6379/1"},
            },
            "CREDENTIALS": {"providers": ["environment", "file"], "path": "/run/secrets"},
            "KAFKA": {"client_id": "c", "security_protocol": "SASL_SSL", "producer": {"linger.ms": 5}},
            "DORIS": {"replication_num": 3, "connect_timeout": 2, "allowed_hosts": [".doris.internal"]},
            "VERIFY": {
                "deadlines": {"connection:default": 3},
                "samples": 7,
                "budgets": {"kafka": {"produce": {"p99_ms": 20}}},
                "produce_messages_per_s": 1000,
            },
            "ROUTING": {"apps": {"sales": "doris"}, "models": {"shop.Order": "default"}},
        }
    )
    assert problems == []
    assert set(parsed.services) == {"postgres", "redis"}
    assert parsed.credentials.as_mapping() == {"providers": ("environment", "file"), "path": "/run/secrets"}
    assert parsed.kafka.producer == {"linger.ms": 5}
    assert parsed.doris == conf.DorisSettings(3, 2.0, {}, (".doris.internal",))
    assert parsed.verify.deadlines == {"connection:default": 3.0}
    assert parsed.verify.budgets == {"kafka": {"produce": {"p99_ms": 20.0}}}
    assert parsed.routing.models == {"shop.order": "default"}


@pytest.mark.parametrize(
    ("section", "typed", "parsed"),
    [
        ("CREDENTIALS", conf.CredentialsDict, conf.CredentialsSettings),
        ("KAFKA", conf.KafkaDict, conf.KafkaSettings),
        ("DORIS", conf.DorisDict, conf.DorisSettings),
        ("VERIFY", conf.VerifyDict, conf.VerifySettings),
        ("ROUTING", conf.RoutingDict, conf.RoutingSettings),
    ],
)
def test_the_type_for_users_has_the_keys_that_are_read(section: str, typed: type, parsed: type) -> None:
    assert set(get_type_hints(typed)) == set(conf._KEYS[section]) == set(get_type_hints(parsed))


@pytest.mark.parametrize(
    ("topics", "least"),
    [
        (["orders", "a.b_c-d"], {"orders": 1, "a.b_c-d": 1}),
        ({"orders": {"partitions": 6}, "refunds": {}}, {"orders": 6, "refunds": 1}),
        ([], {}),
    ],
)
def test_topics_are_a_list_or_a_mapping(topics: Any, least: dict[str, int]) -> None:
    parsed, problems = conf.parse({"KAFKA": {"topics": topics}})
    assert not problems
    assert parsed.kafka.topics == least


def test_a_flow_has_the_keys_of_its_type() -> None:
    assert set(get_type_hints(conf.FlowDict)) == set(conf._FLOW_KEYS)
    assert set(get_type_hints(conf.FlowTableDict)) == set(conf._FLOW_TABLE_KEYS)
    own = {"source", "target", "tables", "models", "name", "kafka", "options"}
    fields = set(get_type_hints(FlowConfig)) - own
    assert {key.lower() for key in conf._FLOW_KEYS} - own == fields
    assert set(conf._FLOW_TABLE_KEYS) == set(get_type_hints(TableOptions))


def test_flows_are_read() -> None:
    flow = {"SOURCE": "default", "TARGET": "doris"}
    parsed, problems = parse(
        {
            "FLOWS": {
                "a": {**flow, "TABLES": ["public.orders"], "BATCH_SECONDS": 2},
                "b": {**flow, "TABLES": {"s.t": {"exclude": ["x"], "buckets": 3}}, "MODELS": ["shop.Order"]},
            }
        }
    )
    assert problems == []
    assert parsed.flows["a"]["TABLES"] == {"public.orders": {}}
    assert parsed.flows["a"]["BATCH_SECONDS"] == 2.0
    assert parsed.flows["b"]["TABLES"] == {"s.t": {"exclude": ("x",), "buckets": 3}}
    assert parsed.flows["b"]["MODELS"] == ("shop.Order",)


FLOW = {"SOURCE": "default", "TARGET": "doris", "TABLES": ["public.t"]}


@pytest.mark.parametrize(
    ("flow", "message"),
    [
        ([], "is not a dict"),
        ({"TARGET": "doris", "TABLES": ["a.b"]}, "has no SOURCE"),
        ({"TABLES": ["a.b"]}, "has no SOURCE and no TARGET"),
        ({"SOURCE": "default", "TARGET": "doris"}, "has neither TABLES nor MODELS"),
        (FLOW | {"TABLES": ["orders"]}, '["TABLES"] is not a list of schema.table'),
        (
            FLOW | {"TABLES": {"a.b": {"bucket": 1}}},
            '["TABLES"]["a.b"]["bucket"] is not a key: known are target',
        ),
        (FLOW | {"TABLES": {"a.b": {"buckets": 0}}}, '["TABLES"]["a.b"]["buckets"] is not a whole number'),
        (FLOW | {"MODELS": ["Order"]}, '["MODELS"][0] is not a model, written as app_label.Model'),
        (FLOW | {"MODE": "cdc"}, '["MODE"] is not one of full_load_only, cdc_only, full_load_and_cdc'),
        (FLOW | {"PARTITIONS": 0}, '["PARTITIONS"] is not a whole number above 0'),
        (FLOW | {"TABELS": []}, "has an unknown key 'TABELS'"),
    ],
)
def test_what_is_wrong_with_a_flow_names_its_place(flow: Any, message: str) -> None:
    problem = only_problem({"FLOWS": {"orders": flow}})
    assert 'DBINT["FLOWS"]["orders"]' in problem.message
    assert message in problem.message


def test_the_type_of_the_whole_has_its_sections() -> None:
    assert set(get_type_hints(conf.DbintDict)) == set(conf._SECTIONS)
    assert set(get_type_hints(conf.ServiceDict)) == set(conf._SERVICE_KEYS)


@pytest.mark.parametrize(
    ("value", "message", "hint"),
    [
        ({"VERFY": {}}, "DBINT has an unknown key 'VERFY'", "Did you mean 'VERIFY'?"),
        ({"verify": {}}, "DBINT has an unknown key 'verify'", "Did you mean 'VERIFY'?"),
        ({5: {}}, "DBINT has an unknown key 5", None),
        (
            {"VERIFY": {"sample": 5}},
            "DBINT[\"VERIFY\"] has an unknown key 'sample'",
            "Did you mean 'samples'?",
        ),
        (
            {"SERVICES": {"postgre": {}}},
            "DBINT[\"SERVICES\"] has an unknown key 'postgre'",
            "Did you mean 'postgres'?",
        ),
        (
            {"SERVICES": {"doris": {"hosst": "a"}}},
            'DBINT["SERVICES"]["doris"] has an unknown key \'hosst\'',
            "Did you mean 'host'?",
        ),
    ],
)
def test_unknown_keys(value: Any, message: str, hint: str | None) -> None:
    problem = only_problem(value)
    assert (problem.id, problem.message) == ("E001", message)
    assert hint is None or problem.hint == hint


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "DBINT is a list"),
        (None, "DBINT is a NoneType"),
        ({"VERIFY": []}, 'DBINT["VERIFY"] is not a dict'),
        ({"VERIFY": {"samples": 0}}, 'DBINT["VERIFY"]["samples"] is not a whole number above 0'),
        ({"VERIFY": {"samples": True}}, 'DBINT["VERIFY"]["samples"] is not a whole number above 0'),
        ({"VERIFY": {"deadline": float("nan")}}, 'DBINT["VERIFY"]["deadline"] is not a number above 0'),
        ({"VERIFY": {"deadline": float("inf")}}, 'DBINT["VERIFY"]["deadline"] is not a number above 0'),
        ({"VERIFY": {"deadline": "5"}}, 'DBINT["VERIFY"]["deadline"] is not a number above 0'),
        (
            {"VERIFY": {"deadlines": {"crud": -1}}},
            'DBINT["VERIFY"]["deadlines"]["crud"] is not a number above 0',
        ),
        (
            {"VERIFY": {"budgets": {"default": {"read": {"p50": 1}}}}},
            '["budgets"]["default"]["read"]["p50"] is not a key: known are p50_ms, p95_ms, p99_ms',
        ),
        (
            {"VERIFY": {"table_prefix": "a-b"}},
            'DBINT["VERIFY"]["table_prefix"] is not a name of up to 32 letters, digits and underscores',
        ),
        (
            {"VERIFY": {"topic_prefix": "a/b"}},
            '["topic_prefix"] is not a topic prefix of up to 100 letters, digits, dots and hyphens',
        ),
        (
            {"KAFKA": {"security_protocol": "TLS"}},
            'DBINT["KAFKA"]["security_protocol"] is not one of PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL',
        ),
        (
            {"KAFKA": {"options": {"a": []}}},
            'DBINT["KAFKA"]["options"]["a"] is not a text, a number or a boolean',
        ),
        ({"KAFKA": {"topics": "orders"}}, 'DBINT["KAFKA"]["topics"] is not a list'),
        ({"KAFKA": {"topics": [5]}}, 'DBINT["KAFKA"]["topics"][0] is not a text with something in it'),
        (
            {"KAFKA": {"topics": ["a b"]}},
            "'a b' is no name of 1 to 249 letters, digits, dots, hyphens and underscores",
        ),
        (
            {"KAFKA": {"topics": {"orders": {"partitions": 0}}}},
            '["topics"]["orders"]["partitions"] is not a whole number above 0',
        ),
        (
            {"KAFKA": {"topics": {"orders": {"replicas": 3}}}},
            '["topics"]["orders"]["replicas"] is not a key: known are partitions',
        ),
        ({"DORIS": {"allowed_hosts": "a"}}, 'DBINT["DORIS"]["allowed_hosts"] is not a list'),
        (
            {"DORIS": {"allowed_hosts": ["a", 5]}},
            'DBINT["DORIS"]["allowed_hosts"][1] is not a text with something in it',
        ),
        ({"CREDENTIALS": {"path": ""}}, 'DBINT["CREDENTIALS"]["path"] is not a text with something in it'),
        (
            {"ROUTING": {"models": {"Order": "doris"}}},
            'DBINT["ROUTING"]["models"] is not a dict from "app_label.Model" to an alias: it has \'Order\'',
        ),
        (
            {"SERVICES": {"kafka": {"port": "x"}}},
            '["ports"]["bootstrap"]: \'x\' is not a port number (1 to 65535)',
        ),
        ({"SERVICES": {"kafka": 5}}, 'DBINT["SERVICES"]["kafka"] is not a dict'),
    ],
)
def test_wrong_values(value: Any, message: str) -> None:
    problem = only_problem(value)
    assert problem.id == "E002"
    assert problem.message.endswith(message)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"CREDENTIALS": {"providers": ["environment"], "path": "/x"}}, '"providers" leave "file" out'),
        ({"KAFKA": {"sasl_mechanism": "PLAIN", "security_protocol": "SSL"}}, "SSL does no SASL"),
        ({"KAFKA": {"options": {"bootstrap.servers": "a:1"}}}, "has 'bootstrap.servers'"),
        ({"KAFKA": {"producer": {"sasl.password": "hunter2"}}}, "has 'sasl.password'"),
        ({"SERVICES": {"redis": {"host": "a"}, "dragonfly": {"host": "b"}}}, "describe the same service"),
    ],
)
def test_contradictions(value: Any, message: str) -> None:
    problem = only_problem(value)
    assert problem.id == "E003"
    assert message in problem.message
    assert "hunter2" not in f"{problem}"


def test_a_wrong_section_leaves_the_others_alone() -> None:
    parsed, problems = parse({"VERIFY": {"samples": "x", "rows": 5}, "DORIS": {"replication_num": 1}})
    assert len(problems) == 1
    assert (parsed.verify.samples, parsed.verify.rows, parsed.doris.replication_num) == (50, 5, 1)


class TestGetSettings:
    def test_follows_the_settings(self) -> None:
        with override_settings(DBINT={"VERIFY": {"samples": 3}}):
            assert get_settings().verify.samples == 3
        with override_settings(DBINT={"VERIFY": {"samples": 4}}):
            assert get_settings().verify.samples == 4

    def test_raises_for_what_can_only_be_wrong(self) -> None:
        with (
            override_settings(DBINT={"VERIFY": {"samples": 0}, "DORIS": []}),
            pytest.raises(
                ImproperlyConfigured, match=r'DBINT\["DORIS"\] is not a dict; .*\["samples"\] is not'
            ),
        ):
            get_settings()

    def test_leaves_an_unknown_key_to_the_system_check(self) -> None:
        with override_settings(DBINT={"NEXT_VERSION": {}}):
            assert get_settings() == conf.Settings()
