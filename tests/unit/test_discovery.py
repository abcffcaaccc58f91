"""The table of services, and the precedence of what says where one is."""

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from dbint import discovery
from dbint.discovery import SERVICES, is_running_in_kubernetes, locate
from dbint.errors import ConfigurationError

OUTSIDE = {"DBINT_IN_KUBERNETES": "0", "DBINT_STACK_DIR": "/nonexistent"}
INSIDE = {**OUTSIDE, "DBINT_IN_KUBERNETES": "1"}


class TestTable:
    def test_holds_the_services_of_the_project(self) -> None:
        assert set(SERVICES) == {
            "postgres", "supabase", "cdc", "doris", "kafka", "kafka_connect", "redis", "ragflow", "rocketmq",
            "vault", "mongodb", "neo4j",
        }  # fmt: skip

    def test_says_nothing_twice(self) -> None:
        """Two services must not read one variable or share a DNS name or an alias."""
        names = Counter(list(SERVICES))
        names.update(alias for service in SERVICES.values() for alias in service.aliases)
        variables = Counter(name for service in SERVICES.values() for name in service.variables())
        dns = Counter(
            (service.namespace, name)
            for service in SERVICES.values()
            for name in {service.dns, *(port.dns for port in service.ports.values() if port.dns)}
        )
        for counted in (names, variables, dns):
            assert [name for name, times in counted.items() if times > 1] == []

    @pytest.mark.parametrize("service", SERVICES.values(), ids=lambda service: service.name)
    def test_each_row_is_whole(self, service: discovery.Service) -> None:
        numbers = [port.number for port in service.ports.values()]
        assert numbers
        assert len(set(numbers)) == len(numbers)
        assert all(0 < number < 65536 for number in numbers)
        assert service.health.port in service.ports
        assert service.host_variables
        assert service.health.kind != "http" or service.health.path.startswith("/")
        # Every row can be found with nothing set, and by each variable of its host.
        assert locate(service.name, environ=OUTSIDE).host == "localhost"
        for variable in service.host_variables:
            assert locate(service.name, environ={**OUTSIDE, variable: "db.example"}).host == "db.example"

    def test_an_alias_is_another_name(self) -> None:
        assert discovery.service("dragonfly") is SERVICES["redis"]

    def test_an_unknown_service_gets_the_nearest_name(self) -> None:
        with pytest.raises(ConfigurationError, match=r"no service 'postgre': did you mean 'postgres'\?"):
            locate("postgre", environ=OUTSIDE)


class TestPrecedence:
    settings = {"postgres": {"host": "from-settings", "port": 6001, "database": "s"}}

    def test_environment_wins_over_settings_value_by_value(self) -> None:
        endpoint = locate("postgres", self.settings, {**INSIDE, "POSTGRES_HOST": "from-environment"})
        assert (endpoint.host, endpoint.port()) == ("from-environment", 6001)
        assert endpoint.sources == {
            "host": "environment variable POSTGRES_HOST", "port.sql": "settings", "database": "settings"
        }  # fmt: skip
        assert endpoint.source == "environment variable POSTGRES_HOST, port: settings"

    def test_settings_win_over_cluster_dns(self) -> None:
        assert locate("postgres", self.settings, INSIDE).source == "settings"

    def test_cluster_dns_inside_kubernetes(self) -> None:
        endpoint = locate("supabase", environ=INSIDE)
        assert endpoint.host == "supabase-db.default.svc.cluster.local"
        assert endpoint.sources["host"] == "cluster DNS"

    def test_another_namespace(self) -> None:
        endpoint = locate("kafka", {"kafka": {"namespace": "streams"}}, INSIDE)
        assert endpoint.bootstrap() == "kafka.streams.svc.cluster.local:9092"

    def test_default_outside(self) -> None:
        endpoint = locate("doris", environ=OUTSIDE)
        assert endpoint.ports == {"query": 9030, "http": 8030, "be_http": 8040}
        assert endpoint.source == "default"

    def test_doris_backends_have_a_name_of_their_own_in_the_cluster(self) -> None:
        endpoint = locate("doris", environ=INSIDE)
        assert str(endpoint.address("http")) == "doris-fe.default.svc.cluster.local:8030"
        assert str(endpoint.address("be_http")) == "doris-be.default.svc.cluster.local:8040"

    def test_backends_stand_beside_a_frontend_that_was_named(self) -> None:
        endpoint = locate("doris", environ={**INSIDE, "DORIS_HOST": "10.1.2.3"})
        assert endpoint.address("be_http").host == "10.1.2.3"
        endpoint = locate("doris", environ={**INSIDE, "DORIS_HOST": "10.1.2.3", "DORIS_BE_HOST": "10.1.2.4"})
        assert endpoint.address("be_http").host == "10.1.2.4"

    def test_settings_know_an_alias(self) -> None:
        assert locate("redis", {"dragonfly": {"host": "cache"}}, OUTSIDE).host == "cache"


class TestAddresses:
    def test_bootstrap_list(self) -> None:
        endpoint = locate("kafka", environ={**OUTSIDE, "KAFKA_BOOTSTRAP_SERVERS": "a:1, b ,[::1]:3"})
        assert endpoint.bootstrap() == "a:1,b:9092,[::1]:3"
        assert str(endpoint.address()) == "a:1"

    def test_listener_names_are_dropped(self) -> None:
        environ = {**OUTSIDE, "KAFKA_BOOTSTRAP_SERVERS": "PLAINTEXT://a:1,SASL_SSL://b:2"}
        assert locate("kafka", environ=environ).bootstrap() == "a:1,b:2"

    def test_database_url(self) -> None:
        url = "postgresql://cdc_user:p%40ss@db.example:5434/cdc_management?sslmode=require"
        endpoint = locate("cdc", environ={**OUTSIDE, "DATABASE_URL": url})
        assert (endpoint.host, endpoint.port(), endpoint.database) == ("db.example", 5434, "cdc_management")
        assert endpoint.options == {"sslmode": "require"}
        assert "p@ss" not in repr(endpoint)
        assert "p%40ss" not in repr(endpoint)

    @pytest.mark.parametrize(
        ("name", "variable", "url", "expected"),
        [
            ("vault", "VAULT_ADDR", "https://vault.example", "https://vault.example:443"),
            ("vault", "VAULT_ADDR", "http://vault.example:8200", "http://vault.example:8200"),
            ("kafka_connect", "KAFKA_CONNECT_URL", "http://localhost:8083", "http://localhost:8083"),
            ("ragflow", "RAGFLOW_URL", "http://[::1]:9380/", "http://[::1]:9380"),
        ],
    )
    def test_urls_of_http_services(self, name: str, variable: str, url: str, expected: str) -> None:
        assert locate(name, environ={**OUTSIDE, variable: url}).url() == expected

    def test_url_of_a_path(self) -> None:
        assert (
            locate("doris", environ=OUTSIDE).url("http", "api/health") == "http://localhost:8030/api/health"
        )

    def test_tls_by_scheme(self) -> None:
        assert locate("redis", environ={**OUTSIDE, "REDIS_URL": "rediss://cache:6380/0"}).tls

    def test_unix_domain_socket_for_postgresql_alone(self) -> None:
        assert (
            locate("postgres", environ={**OUTSIDE, "POSTGRES_HOST": "/run/postgresql"}).host
            == "/run/postgresql"
        )
        with pytest.raises(ConfigurationError, match="KAFKA_HOST"):
            locate("kafka", environ={**OUTSIDE, "KAFKA_HOST": "/run/kafka"})

    def test_an_unknown_port_gets_the_nearest_name(self) -> None:
        with pytest.raises(ConfigurationError, match="has no port 'htp': did you mean 'http'"):
            locate("doris", environ=OUTSIDE).port("htp")

    def test_kubernetes_service_links_are_not_ports(self) -> None:
        """A Service named "kafka" gives the pods of its namespace KAFKA_PORT=tcp://..."""
        assert locate("kafka", environ={**INSIDE, "KAFKA_PORT": "tcp://10.96.0.7:9092"}).port() == 9092


@pytest.mark.parametrize(
    ("environ", "service", "message"),
    [
        ({"POSTGRES_PORT": "http"}, "postgres", "POSTGRES_PORT: 'http' is not a port number"),
        ({"POSTGRES_PORT": "0"}, "postgres", "POSTGRES_PORT"),
        ({"POSTGRES_PORT": "65536"}, "postgres", "POSTGRES_PORT"),
        ({"POSTGRES_PORT": "५४३२"}, "postgres", "POSTGRES_PORT"),
        ({"POSTGRES_HOST": ""}, "postgres", "POSTGRES_HOST is empty"),
        ({"POSTGRES_HOST": "  "}, "postgres", "POSTGRES_HOST is empty"),
        ({"POSTGRES_HOST": "postgresql://db"}, "postgres", "POSTGRES_HOST holds a URL"),
        ({"POSTGRES_HOST": "db:5432"}, "postgres", "POSTGRES_HOST holds a host with a port"),
        ({"POSTGRES_HOST": "two words"}, "postgres", "POSTGRES_HOST is not a host name"),
        (
            {"POSTGRES_DATABASE": "a", "POSTGRES_DB": "b"},
            "postgres",
            "POSTGRES_DATABASE and POSTGRES_DB .* differ",
        ),
        ({"KAFKA_BOOTSTRAP_SERVERS": ","}, "kafka", "KAFKA_BOOTSTRAP_SERVERS names no server"),
        ({"KAFKA_BOOTSTRAP_SERVERS": "a:x"}, "kafka", "KAFKA_BOOTSTRAP_SERVERS: 'x' is not a port number"),
        ({"KAFKA_BOOTSTRAP_SERVERS": ":9092"}, "kafka", "not of the form host:port"),
        ({"KAFKA_BOOTSTRAP_SERVERS": "a:1", "KAFKA_HOST": "b"}, "kafka", "different hosts of Apache Kafka"),
        (
            {"VAULT_ADDR": "vault:8200"},
            "vault",
            "VAULT_ADDR is not a URL of HashiCorp Vault: write http://host:port",
        ),
        ({"DATABASE_URL": "mysql://u:hunter2@h/d"}, "cdc", "DATABASE_URL is not a URL of CDC"),
        (
            {"DATABASE_URL": "postgresql://u:hunter2@h:port/d"},
            "cdc",
            "DATABASE_URL: 'port' is not a port number",
        ),
        ({"DATABASE_URL": "postgresql://u:hunter2@[h/d"}, "cdc", "DATABASE_URL is not a valid URL"),
    ],
)
def test_bad_variables_are_named(environ: Mapping[str, str], service: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as raised:
        locate(service, environ={**OUTSIDE, **environ})
    assert "hunter2" not in str(raised.value)
    assert raised.value.__cause__ is None


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"host": ""}, r'DBINT\["SERVICES"\]\["kafka"\]\["host"\]'),
        ({"host": 5}, r'\["host"\] is not a text'),
        ({"port": "x"}, r"'x' is not a port number"),
        ({"ports": {"sql": 1}}, r"has no 'sql': known are bootstrap"),
        ({"ports": 9092}, r'\["ports"\] is not a dict'),
        ({"hosts": "a"}, r'\["hosts"\] is not a dict'),
        ({"port": 1, "ports": {"bootstrap": 2}}, "twice"),
        ({"host": "a", "addresses": ["b:1"]}, "both 'addresses' and 'host'"),
        ({"addresses": "b:1"}, "not a list"),
        ({"addresses": []}, "not a list"),
        ([], "is not a dict"),
    ],
)
def test_bad_settings_are_named(entry: object, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        locate("kafka", {"kafka": entry}, OUTSIDE)  # type: ignore[dict-item]


class TestKubernetes:
    @pytest.fixture(autouse=True)
    def no_token(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
        token = tmp_path / "token"
        monkeypatch.setattr(discovery, "SERVICE_ACCOUNT_TOKEN", token)
        return token

    def test_outside(self) -> None:
        assert not is_running_in_kubernetes({})

    def test_by_variable(self) -> None:
        assert is_running_in_kubernetes({"KUBERNETES_SERVICE_HOST": "10.96.0.1"})

    def test_by_service_account(self, no_token: Path) -> None:
        no_token.write_text("ey")
        assert is_running_in_kubernetes({})

    def test_by_hand(self, no_token: Path) -> None:
        no_token.write_text("ey")
        assert not is_running_in_kubernetes(
            {"DBINT_IN_KUBERNETES": "0", "KUBERNETES_SERVICE_HOST": "10.96.0.1"}
        )
        no_token.unlink()
        assert is_running_in_kubernetes({"DBINT_IN_KUBERNETES": "1"})

    def test_by_hand_takes_0_and_1_alone(self) -> None:
        with pytest.raises(ConfigurationError, match="DBINT_IN_KUBERNETES is 'yes': set it to 0 or 1"):
            is_running_in_kubernetes({"DBINT_IN_KUBERNETES": "yes"})


def test_the_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "POSTGRES_HOST", "from-the-process")
    assert locate("postgres").host == "from-the-process"
