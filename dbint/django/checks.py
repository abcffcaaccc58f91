"""System checks. docs/settings.md has the table of ids.

All but those tagged ``database`` read settings and models alone; ``manage.py check`` passes with no server
at all.
"""

import os
from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, router
from django.db.models import ForeignKey, Model
from django.db.utils import ConnectionHandler
from django.utils.connection import ConnectionDoesNotExist
from django.utils.module_loading import import_string

from dbint import discovery
from dbint.credentials import PROVIDERS
from dbint.django import conf, databases, routers
from dbint.errors import ConfigurationError
from dbint.state import read_state

TAG = "dbint"
ROUTER = "dbint.django.routers.DatabaseRouter"

# Passwords that stand in the documentation and examples of the servers: whoever reads those knows them.
KNOWN_PASSWORDS = frozenset(
    {
        "admin",
        "cdc_password",
        "changeme",
        "example",
        "mysecretpassword",
        "omninode-bridge-postgres-dev-2024",
        "password",
        "postgres",
        "root",
        "secret",
        "this_password_is_insecure_and_should_be_updated",
        "your-super-secret-and-long-postgres-password",
    }
)


def register() -> None:
    """Registers every check of this module."""
    for check in (
        check_settings,
        check_discovery,
        check_credentials,
        check_routers,
        check_routes,
        check_passwords,
        check_events,
        check_flows,
    ):
        checks.register(check, TAG)
    checks.register(check_servers, checks.Tags.database)


def check_settings(**_options: Any) -> list[checks.CheckMessage]:
    """E001 to E003: the keys and values of ``DBINT``."""
    _, problems = conf.parse(getattr(settings, "DBINT", {}))
    return [
        checks.Error(problem.message, hint=problem.hint, id=f"dbint.{problem.id}") for problem in problems
    ]


def check_discovery(**_options: Any) -> list[checks.CheckMessage]:
    """E010: the development stack's state file; E011: environment variables of the services."""
    found: list[checks.CheckMessage] = []
    try:
        if not discovery.is_running_in_kubernetes():
            read_state()
    except discovery.DiscoveryError as error:
        found.append(
            checks.Error(
                f"The development stack is left out: {error}",
                hint="The settings have default addresses and no credentials meanwhile.",
                id="dbint.E010",
            )
        )
    except ConfigurationError as error:
        return [checks.Error(str(error), id="dbint.E011")]
    parsed, _ = conf.parse(getattr(settings, "DBINT", {}))
    for name in discovery.SERVICES:
        try:
            discovery.locate(name, parsed.services, use_state=False)
        except ConfigurationError as error:
            found.append(checks.Error(str(error), id="dbint.E011"))
    return _once(found)


def check_credentials(**_options: Any) -> list[checks.CheckMessage]:
    """E012: the credential providers; W013: Vault is named and nobody asks it."""
    parsed, problems = conf.parse(getattr(settings, "DBINT", {}))
    if any(problem.id == conf.CONTRADICTION for problem in problems):
        return []
    found: list[checks.CheckMessage] = []
    try:
        chain = databases.make_provider(parsed)
    except ConfigurationError as error:
        return [checks.Error(str(error), id="dbint.E012")]
    for name in discovery.SERVICES:
        try:
            chain.get(name)
        except discovery.DiscoveryError:
            continue  # E010 has it
        except ConfigurationError as error:
            found.append(checks.Error(str(error), id="dbint.E012"))
    if os.environ.get("VAULT_ADDR") and set(parsed.credentials.providers or ()) <= set(PROVIDERS):
        found.append(
            checks.Warning(
                "VAULT_ADDR is set, and no credential provider reads Vault.",
                hint="Unset VAULT_ADDR: credentials come from environment, files or the development stack. "
                'Or add a provider of your own to DBINT["CREDENTIALS"]["providers"].',
                id="dbint.W013",
            )
        )
    return _once(found)


def check_routers(**_options: Any) -> list[checks.CheckMessage]:
    """E020: a router that cannot be imported; E021: dbint's router is missing; E022: it comes too late."""
    found: list[checks.CheckMessage] = []
    for entry in settings.DATABASE_ROUTERS:
        if isinstance(entry, str):
            try:
                import_string(entry)
            except ImportError as error:
                message = f"DATABASE_ROUTERS: {entry!r} cannot be imported: {error}"
                found.append(checks.Error(message, id="dbint.E020"))
    if found or not _settings_are_sound():
        return found
    hint = f"Put {ROUTER!r} first into DATABASE_ROUTERS."
    installed = any(isinstance(one, routers.DatabaseRouter) for one in router.routers)
    for model, alias in _models_with_home():
        landing = router.db_for_write(model)
        if not installed:
            message = (
                f"{model._meta.label} lives in {alias!r}, and DATABASE_ROUTERS has no router that knows."
            )
            return [checks.Error(message, hint=hint, obj=model, id="dbint.E021")]
        if landing != alias:
            message = (
                f"{model._meta.label} lives in {alias!r}, and an earlier router sends it to {landing!r}."
            )
            found.append(checks.Error(message, hint=hint, obj=model, id="dbint.E022"))
    return found


def check_routes(**_options: Any) -> list[checks.CheckMessage]:
    """E023 to E025, W026: rules, aliases and relations that do not fit each other."""
    if not _settings_are_sound() or check_routers():
        return []
    found = _once([*_rules_for_nothing(), *_rules_to_nowhere()])
    return found or [*_relations_that_cross(), *_aliases_without_models()]


def _settings_are_sound() -> bool:
    """False when E002 or E003 has something to say."""
    _, problems = conf.parse(getattr(settings, "DBINT", {}))
    return all(problem.id == conf.UNKNOWN_KEY for problem in problems)


def _models_with_home() -> list[tuple[type[Model], str]]:
    found = [(model, routers.home(model)) for model in apps.get_models(include_auto_created=True)]
    return [(model, alias) for model, alias in found if alias]


def _rules_for_nothing() -> Iterator[checks.CheckMessage]:
    routing = conf.get_settings().routing
    for kind, rules, known in (
        ("apps", routing.apps, {config.label for config in apps.get_app_configs()}),
        ("models", routing.models, {model._meta.label_lower for model in apps.get_models()}),
    ):
        for name in set(rules) - known:
            near = discovery.did_you_mean(name, sorted(known))
            message = f'DBINT["ROUTING"]["{kind}"] has a rule for {name!r}, which is not installed{near}'
            yield checks.Error(message, id="dbint.E023")


def _rules_to_nowhere() -> Iterator[checks.CheckMessage]:
    routing, aliases = conf.get_settings().routing, sorted(settings.DATABASES)
    said = [*routing.apps.items(), *routing.models.items()]
    said += [(model._meta.label, alias) for model, alias in _models_with_home()]
    for name, alias in said:
        if alias not in aliases:
            near = discovery.did_you_mean(alias, aliases)
            yield checks.Error(
                f"{name} lives in {alias!r}, and DATABASES has no such alias{near}", id="dbint.E024"
            )


def _relations_that_cross() -> Iterator[checks.CheckMessage]:
    for model in apps.get_models(include_auto_created=True):
        for field in model._meta.local_fields:
            if (
                not isinstance(field, ForeignKey)
                or not field.remote_field
                or not getattr(field, "db_constraint", True)
            ):
                continue
            here, there = router.db_for_write(model), router.db_for_write(field.remote_field.model)
            if here != there:
                message = (
                    f"{field} points from database {here!r} into {there!r}: no server holds that constraint."
                )
                yield checks.Error(
                    message,
                    hint="Keep the other row's key in a plain field, or set db_constraint=False.",
                    obj=field,
                    id="dbint.E025",
                )


def _aliases_without_models() -> Iterator[checks.CheckMessage]:
    used = {router.db_for_write(model) for model in apps.get_models(include_auto_created=True)}
    for alias, entry in settings.DATABASES.items():
        if alias not in used and alias != "default" and not entry.get("TEST", {}).get("MIRROR"):
            yield checks.Warning(
                f"No model lives in the database {alias!r}.",
                hint='Route an app or a model there (DBINT["ROUTING"], Meta.database), or remove the alias.',
                id="dbint.W026",
            )


def check_passwords(**_options: Any) -> list[checks.CheckMessage]:
    """E030 (in Kubernetes) or W030: a password that everybody knows; W031: a user without a password."""
    try:
        in_cluster = discovery.is_running_in_kubernetes()
    except ConfigurationError as error:
        return [checks.Error(str(error), id="dbint.E011")]
    found: list[checks.CheckMessage] = []
    for alias, entry in settings.DATABASES.items():
        user, password = entry.get("USER"), entry.get("PASSWORD")
        if password and str(password).lower() in KNOWN_PASSWORDS:
            kind, number = (checks.Error, "E030") if in_cluster else (checks.Warning, "W030")
            found.append(
                kind(
                    f"The password of the database {alias!r} (user {user!r}) is one from public examples.",
                    hint="Change it on the server, then where the application gets it.",
                    id=f"dbint.{number}",
                )
            )
        elif user and not password and not _has_other_authentication(entry):
            found.append(
                checks.Warning(
                    f"The database {alias!r} has the user {user!r} and no password.",
                    hint="Set the environment variable of the password, or mount a file of credentials. "
                    "Silence dbint.W031 when the server knows the user by other means.",
                    id="dbint.W031",
                )
            )
    return found


def _has_other_authentication(entry: dict[str, Any]) -> bool:
    options = entry.get("OPTIONS", {})
    socket = str(entry.get("HOST", "")).startswith("/") or not entry.get("HOST")
    return socket or any(
        options.get(key) for key in ("passfile", "service", "sslcert", "password", "read_default_file")
    )


def check_events(**_options: Any) -> list[checks.CheckMessage]:
    """E050: the layer of events cannot be configured as the settings and the environment say.

    W051: the database's user is called as the schema of the ledger, where PostgreSQL would then make tables.
    """
    if not apps.is_installed("dbint.django.observability") or not _settings_are_sound():
        return []
    from dbint.django.observability.config import database_config  # its models need the app

    try:
        user = database_config().user
    except ConfigurationError as error:
        message = f"The layer of events cannot be configured: {error}"
        return [checks.Error(message, hint="docs/events.md lists fields and variables.", id="dbint.E050")]
    except ConnectionDoesNotExist:
        return []  # E024 has it
    if user == "dbint":
        message = (
            'The database\'s user is called "dbint", as the schema of the ledger of events: '
            "PostgreSQL looks first into a schema of the user's own name, and makes new tables there."
        )
        hint = "Take another user, or: ALTER ROLE dbint SET search_path TO public."
        return [checks.Warning(message, hint=hint, id="dbint.W051")]
    return []


def check_flows(**_options: Any) -> list[checks.CheckMessage]:
    """E060: a flow that cannot work as the settings have it; E061: two flows that take the same for
    themselves.
    """
    if not _settings_are_sound():
        return []
    from dbint.django.flows import make_config  # what it needs is not needed by the others

    found: list[checks.CheckMessage] = []
    taken: dict[tuple[str, str, str], str] = {}
    for name, entry in conf.parse(getattr(settings, "DBINT", {}))[0].flows.items():
        try:
            config = make_config(name, entry)
        except ConfigurationError as error:
            found.append(
                checks.Error(str(error), hint="docs/flow.md says what a flow needs.", id="dbint.E060")
            )
            continue
        own = [
            (entry["SOURCE"], "slot", config.slot),
            (entry["SOURCE"], "publication", config.publication),
            ("Kafka", "prefix of topics", config.prefix),
        ]
        for where, what, value in own:
            if (other := taken.setdefault((where, what, value), name)) != name:
                found.append(
                    checks.Error(
                        f'DBINT["FLOWS"]: {other} and {name} have the same {what} {value!r}.',
                        hint="Each flow has one of its own: by default they are made of its name.",
                        id="dbint.E061",
                    )
                )
    return found


def check_servers(databases: Sequence[str] | None = None, **_options: Any) -> list[checks.CheckMessage]:
    """E040: a server that does not take our connection. Runs with ``check --database ALIAS`` alone."""
    found: list[checks.CheckMessage] = []
    for alias in databases or ():
        # A handler of our own, without a pool: a pool would answer "no connection within 10 s" and hide the
        # reason.
        entry = dict(connections.settings[alias])
        entry["OPTIONS"] = {key: value for key, value in entry["OPTIONS"].items() if key != "pool"}
        connection = ConnectionHandler({"default": entry})["default"]
        try:
            connection.ensure_connection()
        except ImproperlyConfigured as error:
            reason = str(error)
        except Exception as error:  # noqa: BLE001 - each driver has errors of its own; all mean the same here
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        else:
            continue
        finally:
            connection.close()
        found.append(
            checks.Error(
                f"The database {alias!r} at {entry['HOST']}:{entry['PORT']} cannot be used: {reason}",
                hint="Run 'manage.py verify_database_integration' for the reason and the next step.",
                id="dbint.E040",
            )
        )
    return found


def _once(messages: list[checks.CheckMessage]) -> list[checks.CheckMessage]:
    """Without repetition: one variable may serve several services."""
    return list({message.msg: message for message in messages}.values())
