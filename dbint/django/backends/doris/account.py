"""Who connects where: the entry of DATABASES, read."""

from collections.abc import Callable
from typing import Any, NamedTuple

from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from dbint.credentials import Credentials
from dbint.django.backends.doris.frontends import DEFAULT_PORT, Address, parse_addresses

DEFAULT_HOST, DEFAULT_USER = "127.0.0.1", "root"


class Account(NamedTuple):
    """A user and the password; the repr shows none."""

    username: str
    password: str

    def __repr__(self) -> str:
        return f"Account({self.username!r}, '********')"


def addresses_of(settings: dict[str, Any]) -> list[Address]:
    """HOST and PORT, and then ``OPTIONS["hosts"]``. Raises ImproperlyConfigured."""
    try:
        port = int(settings.get("PORT") or DEFAULT_PORT)
    except ValueError:
        raise ImproperlyConfigured("PORT is not a number") from None
    hosts = settings.get("OPTIONS", {}).get("hosts")
    first = [Address(settings["HOST"], port)] if settings.get("HOST") else []
    if not hosts:
        return first or [Address(DEFAULT_HOST, port)]
    try:
        further = parse_addresses(hosts)
    except (ValueError, AttributeError, TypeError) as error:
        raise ImproperlyConfigured(
            f'OPTIONS["hosts"] is "fe1:9030,fe2:9030" or a list of such: {error}'
        ) from None
    return list(dict.fromkeys([*first, *further]))


def account_of(settings: dict[str, Any]) -> Account:
    """USER and PASSWORD, or the answer of ``OPTIONS["credentials"]``, which is asked anew each time.

    That is a callable, or the dotted path of one. It gives dbint.credentials.Credentials, a pair of user and
    password, or None for USER and PASSWORD. Raises ImproperlyConfigured for anything else.
    """
    account = Account(settings.get("USER") or DEFAULT_USER, settings.get("PASSWORD") or "")
    source = settings.get("OPTIONS", {}).get("credentials")
    if source is None:
        return account
    answer = _callable(source)()
    if answer is None:
        return account
    if isinstance(answer, Credentials):
        return Account(answer.username or account.username, answer.password)
    if isinstance(answer, tuple) and len(answer) == 2 and all(isinstance(part, str) for part in answer):
        return Account(*answer)
    raise ImproperlyConfigured(
        'OPTIONS["credentials"] has to give Credentials, a pair of user and password, or None; it gave a '
        f"{type(answer).__name__}"
    )


def _callable(source: Any) -> Callable[[], Any]:
    if isinstance(source, str):
        try:
            source = import_string(source)
        except ImportError as error:
            raise ImproperlyConfigured(f'OPTIONS["credentials"]: {error}') from error
    if not callable(source):
        raise ImproperlyConfigured(
            f'OPTIONS["credentials"] is a callable, or the dotted path of one, not a {type(source).__name__}'
        )
    found: Callable[[], Any] = source
    return found
