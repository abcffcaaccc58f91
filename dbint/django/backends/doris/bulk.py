"""Large ``bulk_create`` calls by Stream Load, when ``OPTIONS["stream_load"]`` is set.

An INSERT of many rows is parsed as SQL by the frontend; a Stream Load goes to a backend as data. Every load
has a label of its own, so a lost answer is asked about again and never loads rows twice.
"""

import logging
import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import DataError, OperationalError
from django.db.utils import Error as DjangoDatabaseError

from dbint import errors
from dbint.django.backends.doris.account import account_of, addresses_of
from dbint.flow import LoadError, LoadOptions, StreamLoadClient, Tls, json_lines, make_label

log = logging.getLogger("dbint.django.backends.doris")

DEFAULT_HTTP_PORT = 8030
# From this release on a partial update is told what to do with a new key; strict mode told it before.
NEW_KEY_VERSION = (3, 1)
_OPTIONS = ("address_map", "allowed_hosts", "batch_size", "ca_file", "deadline", "https", "threshold")


class BulkLoader:
    """Loads rows into tables of one Django database.

    ``update_headers`` are sent with loads that update some columns of rows.
    """

    def __init__(
        self,
        client: StreamLoadClient,
        database: str,
        *,
        threshold: int,
        batch_size: int,
        update_headers: Mapping[str, str] | None = None,
    ) -> None:
        self._client = client
        self._database = database
        self.threshold = threshold
        self.batch_size = batch_size
        self._update_headers = update_headers

    def takes(self, objs: Sequence[Any], fields: Sequence[Any]) -> bool:
        """Whether these objects go by Stream Load: enough of them, and all values plain."""
        return len(objs) >= self.threshold and not any(
            hasattr(getattr(obj, field.attname), "resolve_expression") for obj in objs for field in fields
        )

    def load(
        self, table: str, rows: Iterable[Mapping[str, Any]], *, update_columns: Sequence[str] | None = None
    ) -> None:
        """Load all rows or none; with ``update_columns`` only these columns, of rows whose keys are there.

        Raises Django's DataError (a row is refused) and OperationalError.
        """
        label = make_label("django", self._database, table, secrets.token_hex(16))
        options: LoadOptions = {}
        headers = None
        if update_columns is not None:
            options = {
                "partial_columns": True,
                "columns": [f"`{name.replace('`', '``')}`" for name in update_columns],
            }
            headers = self._update_headers
        try:
            body = json_lines(rows)
        except errors.ConfigurationError as error:
            raise DataError(str(error)) from error
        try:
            result = self._client.load(self._database, table, body, label=label, headers=headers, **options)
        except LoadError as error:
            raise DataError(str(error)) from error
        except errors.Error as error:
            raise OperationalError(str(error)) from error
        if not result.visible:
            log.warning("rows loaded into %s are committed and will be visible a little later", table)


def update_headers(connection: Any) -> dict[str, str]:
    """Headers by which a load that updates columns fails for a key that is not there."""
    if connection.get_database_version() >= NEW_KEY_VERSION:
        return {"partial_update_new_key_behavior": "ERROR"}
    return {}  # strict_mode does it, which the client always sends


def loader_from_settings(connection: Any) -> BulkLoader | None:
    """The loader that ``OPTIONS["stream_load"]`` describes, None without it."""
    options = connection.option("stream_load")
    if options is None:
        return None
    return BulkLoader(
        stream_load_client(connection, options),
        connection.settings_dict["NAME"],
        threshold=options.get("threshold", 1000),
        batch_size=options.get("batch_size", 50_000),
        update_headers=update_headers(connection),
    )


def stream_load_client(connection: Any, options: Any) -> StreamLoadClient:
    """A client for loads into the database of ``connection``, with ``options`` as ``OPTIONS["stream_load"]``.

    Raises ImproperlyConfigured, naming the place, for options that cannot work.
    """
    where = f"DATABASES[{connection.alias!r}]['OPTIONS']['stream_load']"
    if not isinstance(options, Mapping) or (unknown := options.keys() - {*_OPTIONS}):
        detail = f"unknown {sorted(unknown)}" if isinstance(options, Mapping) else "not a dict"
        raise ImproperlyConfigured(f"{where}: {detail}; known are {', '.join(_OPTIONS)}")
    settings = connection.settings_dict
    scheme = "https" if options.get("https") else "http"
    port = connection.option("http_port", DEFAULT_HTTP_PORT)
    try:
        return StreamLoadClient(
            list(dict.fromkeys(f"{scheme}://{fe._replace(port=port)}" for fe in addresses_of(settings))),
            credentials=lambda: account_of(settings),
            allowed_hosts=[*options.get("allowed_hosts", ()), *_backend_hosts(connection)],
            address_map=options.get("address_map"),
            tls=Tls(ca_file=options.get("ca_file")),
            connect_timeout=connection.option("connect_timeout", 5.0),
            deadline=options.get("deadline", 120.0),
        )
    except errors.ConfigurationError as error:
        raise ImproperlyConfigured(f"{where}: {error}") from error


def _backend_hosts(connection: Any) -> list[str]:
    """The backends that the frontend names; a user who may not ask names them in the settings."""
    try:
        return [backend["Host"] for backend in connection.introspection.backends()]
    except DjangoDatabaseError:
        return []
