"""What producer, consumer and admin client have in common: their options, statistics and tokens."""

import json
import os
import threading
import weakref
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypedDict

from dbint._core import KafkaClient
from dbint.errors import ConfigurationError, InterfaceError

Property = str | int | float | bool | None


@dataclass(frozen=True, slots=True, repr=False)
class OAuthToken:
    """An OAUTHBEARER token. ``expires_at`` is in seconds since 1970, ``principal`` whom it stands for."""

    value: str
    expires_at: float
    principal: str

    def __repr__(self) -> str:
        return f"OAuthToken(value='********', expires_at={self.expires_at!r}, principal={self.principal!r})"


class ClientOptions(TypedDict, total=False):
    """The options of every Kafka client.

    ``config`` holds any property of librdkafka under its own name; it wins over the options, and a value of
    None leaves the property out.
    """

    client_id: str
    username: str
    """SASL user; with it goes ``password``, and ``mechanism`` (default SCRAM-SHA-512)."""
    password: str
    mechanism: str
    tls: bool | str | os.PathLike[str]
    """True, or the path of a file with the certificates of trusted authorities."""
    oauth_token: Callable[[], OAuthToken]
    """Called on a thread of its own whenever a token is needed; the mechanism is OAUTHBEARER."""
    stats_interval: float
    """Seconds between statistics; 0, the default, means none."""
    config: Mapping[str, Property]


def client_properties(
    bootstrap: str | Sequence[str] | None, own: Mapping[str, Property], options: ClientOptions
) -> dict[str, str]:
    """librdkafka's properties for a client.

    Without ``bootstrap``, address and credentials are those of the service "kafka": environment, development
    stack, or the defaults (dbint.discovery, dbint.credentials). Raises ConfigurationError for an unknown
    option and for options that contradict each other.
    """
    if unknown := set(options) - set(ClientOptions.__annotations__):
        raise ConfigurationError(f"a Kafka client has no option {min(unknown)!r}")
    username, password = options.get("username"), options.get("password")
    config = options.get("config", {})
    if bootstrap is None and "bootstrap.servers" not in config:
        bootstrap, found = _discovered()
        if username is None and found is not None:
            username, password = found
    elif bootstrap is not None and not isinstance(bootstrap, str):
        bootstrap = ",".join(bootstrap)

    properties: dict[str, Property] = {
        "bootstrap.servers": bootstrap,
        "client.id": options.get("client_id", "dbint"),
        "statistics.interval.ms": milliseconds("stats_interval", options.get("stats_interval", 0)),
        **_security(username, password, options),
        **own,
        **config,
    }
    return {name: _text(name, value) for name, value in properties.items() if value is not None}


def _discovered() -> tuple[str, tuple[str, str] | None]:
    # Imported here: with an address given, none of it is needed.
    from dbint import discovery
    from dbint.credentials import default_chain

    credentials = default_chain().get("kafka")
    known = credentials is not None and credentials.username
    return (
        discovery.locate("kafka").bootstrap(),
        (credentials.username, credentials.password) if credentials is not None and known else None,
    )


def _security(username: str | None, password: str | None, options: ClientOptions) -> dict[str, Property]:
    tls, oauth = options.get("tls", False), "oauth_token" in options
    if oauth and username is not None:
        raise ConfigurationError("oauth_token and username exclude each other")
    if (username is None) != (password is None):
        raise ConfigurationError("username and password go together")
    sasl = oauth or username is not None
    properties: dict[str, Property] = {}
    if sasl:
        default = "OAUTHBEARER" if oauth else "SCRAM-SHA-512"
        properties["sasl.mechanisms"] = options.get("mechanism", default)
        properties["sasl.username"] = username
        properties["sasl.password"] = password
    if sasl or tls:
        properties["security.protocol"] = ("SASL_" if sasl else "") + ("SSL" if tls else "PLAINTEXT")
    if tls and tls is not True:
        properties["ssl.ca.location"] = os.fspath(tls)
    return properties


def milliseconds(name: str, seconds: float) -> int:
    """``seconds`` in ms. Raises ConfigurationError, which names the option, for what is no time."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < 1e9:
        raise ConfigurationError(f"{name} must be a number of seconds, 0 or more, not {seconds!r}")
    return round(seconds * 1000)


def _text(name: str, value: Property) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    raise ConfigurationError(
        f"Kafka property {name!r} must be str, int, float, bool or None, not {type(value).__name__}"
    )


@dataclass(frozen=True, slots=True)
class BrokerStatistics:
    """One broker, as the client sees it. Times are in seconds, over the last interval."""

    state: str
    waiting_requests: int
    rtt_average: float
    rtt_p99: float


@dataclass(frozen=True, slots=True)
class Statistics:
    """librdkafka's statistics, what is asked for most; ``document`` has the rest (its STATISTICS.md)."""

    time: float
    queued_messages: int
    queued_bytes: int
    sent_messages: int
    sent_bytes: int
    received_messages: int
    received_bytes: int
    brokers: Mapping[str, BrokerStatistics]
    document: Mapping[str, Any]


class Client(KafkaClient):
    """Base of the three clients' fronts."""

    @classmethod
    def from_env(cls, **options: Any) -> Self:
        """A client of the service "kafka" as the environment or the development stack describes it."""
        return cls(None, **options)  # type: ignore[call-arg]  # each front has an __init__ of its own

    @abstractmethod
    def close(self) -> Any:
        """Ends the client; every later call raises ClosedError."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def stats(self) -> Statistics | None:
        """The latest statistics, or None: there are none before the first ``stats_interval`` has passed."""
        if (text := self.stats_json()) is None:
            return None
        document = json.loads(text)
        brokers = {
            name: BrokerStatistics(
                state=broker["state"],
                waiting_requests=broker["waitresp_cnt"],
                rtt_average=broker["rtt"]["avg"] / 1e6,
                rtt_p99=broker["rtt"]["p99"] / 1e6,
            )
            for name, broker in document["brokers"].items()
        }
        return Statistics(
            time=document["time"],
            queued_messages=document["msg_cnt"],
            queued_bytes=document["msg_size"],
            sent_messages=document["txmsgs"],
            sent_bytes=document["txmsg_bytes"],
            received_messages=document["rxmsgs"],
            received_bytes=document["rxmsg_bytes"],
            brokers=brokers,
            document=document,
        )

    def _serve_tokens(self, options: ClientOptions) -> None:
        """Starts the thread that answers requests for OAUTHBEARER tokens, where the options ask for it."""
        if (source := options.get("oauth_token")) is not None:
            threading.Thread(
                target=_answer_tokens, args=(weakref.ref(self), source), name="dbint-kafka-token", daemon=True
            ).start()


def _answer_tokens(reference: "weakref.ref[Client]", source: Callable[[], OAuthToken]) -> None:
    """Runs until the client is closed, or gone: it is held only while a request is waited for."""
    while (client := reference()) is not None:
        try:
            if client.wait_token_request(1.0):
                _answer_token(client, source)
        except InterfaceError:
            return
        del client


def _answer_token(client: Client, source: Callable[[], OAuthToken]) -> None:
    try:
        token = source()
        client.set_token(token.value, round(token.expires_at * 1000), token.principal)
    except InterfaceError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever the application's function raises is an answer
        # Its text may hold a secret; the type says enough to find it.
        client.set_token_failure(f"the function that gives tokens raised {type(error).__name__}")
