"""Connections in MySQL's protocol, by PyMySQL."""

import ssl
from typing import TYPE_CHECKING, Any

from pymysql import connections

if TYPE_CHECKING:
    _Connection = connections.Connection[Any]
else:
    _Connection = connections.Connection


class Connection(_Connection):
    """PyMySQL's connection, which is made in a tenth of the time.

    Without a setting of TLS PyMySQL takes it where the server offers it, and verifies nothing; yet it reads
    all certificates of the system for every connection.
    """

    def _create_ssl_ctx(self, sslp: Any) -> ssl.SSLContext:
        if sslp:
            context: ssl.SSLContext = super()._create_ssl_ctx(sslp)  # type: ignore[misc]  # PyMySQL's own
            return context
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
