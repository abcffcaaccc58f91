"""SHOW of what belongs to the cluster and not to a table: its nodes, its connections, its constants."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from dbint.emulators.doris.results import Result, text_result
from dbint.emulators.doris.sql.lexer import Cursor
from dbint.emulators.doris.variables import build

if TYPE_CHECKING:
    from dbint.emulators.doris.show.statements import ShowContext

Handler = Callable[["ShowContext", Cursor, bool], Result]
_FRONTEND = (
    "Name Host EditLogPort HttpPort QueryPort RpcPort ArrowFlightSqlPort Role IsMaster ClusterId Join "
    "Alive ReplayedJournalId LastStartTime LastHeartbeat IsHelper ErrMsg Version CurrentConnected"
)
_BACKEND = (
    "BackendId Host HeartbeatPort BePort HttpPort BrpcPort ArrowFlightSqlPort LastStartTime "
    "LastHeartbeat Alive SystemDecommissioned TabletNum DataUsedCapacity TrashUsedCapacity "
    "AvailCapacity TotalCapacity UsedPct MaxDiskUsedPct RemoteUsedCapacity Tag ErrMsg Version Status "
    "HeartbeatFailureCounter NodeRole CpuCores Memory"
)


def _frontends(context: "ShowContext", _cursor: Cursor, _full: bool) -> Result:
    master = context.nodes.master
    rows = [
        (
            f"fe_emulator_{node.number}",
            node.host,
            "-1",
            str(node.ports["http"]),
            str(node.ports["query"]),
            "-1",
            "-1",
            "FOLLOWER",
            "true" if node is master else "false",
            "1",
            "true",
            "true" if node.is_alive else "false",
            "1",
            node.started,
            node.started,
            "true",
            "" if node.is_alive else f"java.net.ConnectException: Connection refused ({node.host})",
            build(context.version),
            "Yes" if node is context.frontend else "No",
        )
        for node in context.nodes.frontends
    ]
    return text_result(_FRONTEND, rows)


def _backends(context: "ShowContext", _cursor: Cursor, _full: bool) -> Result:
    tablets = sum(not t.is_view for t in context.storage.tables())
    rows = [
        (
            str(10000 + node.number),
            node.host,
            "-1",
            "-1",
            str(node.ports["http"]),
            "-1",
            "-1",
            node.started,
            node.started,
            "true" if node.is_alive else "false",
            "false",
            str(tablets),
            "0.000 ",
            "0.000 ",
            "1.000 GB",
            "1.000 GB",
            "0.00 %",
            "0.00 %",
            "0.000 ",
            '{"location" : "default"}',
            "" if node.is_alive else "java.net.ConnectException: Connection refused (Connection refused)",
            build(context.version),
            '{"lastSuccessReportTabletsTime":"N/A","isQueryDisabled":false,"isLoadDisabled":false}',
            "0" if node.is_alive else "1",
            "mix",
            "1",
            "1.000 GB",
        )
        for node in context.nodes.backends
    ]
    return text_result(_BACKEND, rows)


def _processlist(context: "ShowContext", _cursor: Cursor, _full: bool) -> Result:
    names = (
        "CurrentConnected Id User Host LoginTime Catalog Db Command Time State QueryId Info FE CloudCluster"
    )
    rows = [
        (
            "Yes",
            str(i),
            user,
            host,
            "",
            "internal",
            database or "",
            "Query",
            "0",
            "OK",
            "",
            "",
            "127.0.0.1",
            "",
        )
        for i, user, host, database in context.connections()
    ]
    return text_result(names, rows)


def _empty(names: str) -> Handler:
    return lambda _context, _cursor, _full: text_result(names.split(), [])


def _engines(_context: "ShowContext", _cursor: Cursor, _full: bool) -> Result:
    names = ["Engine", "Support", "Comment", "Transactions", "XA", "Savepoints"]
    return text_result(names, [("Olap", "YES", "Default storage engine of Doris", "NO", "NO", "NO")])


def _collation(_context: "ShowContext", _cursor: Cursor, _full: bool) -> Result:
    names = ["Collation", "Charset", "Id", "Default", "Compiled", "Sortlen"]
    return text_result(names, [("utf8mb4_0900_bin", "utf8mb4", "309", "Yes", "Yes", "1")])


def _charset(_context: "ShowContext", _cursor: Cursor, _full: bool) -> Result:
    names = ["Charset", "Description", "Default collation", "Maxlen"]
    return text_result(names, [("utf8mb4", "UTF-8 Unicode", "utf8mb4_0900_bin", "4")])


CLUSTER_HANDLERS: dict[str, Handler] = {
    "FRONTENDS": _frontends,
    "BACKENDS": _backends,
    "PROCESSLIST": _processlist,
    "WARNINGS": _empty("Level Code Message"),
    "ERRORS": _empty("Level Code Message"),
    "STATUS": _empty("Variable_name Value"),
    "ENGINES": _engines,
    "COLLATION": _collation,
    "CHARSET": _charset,
    "CHARACTER SET": _charset,
}
