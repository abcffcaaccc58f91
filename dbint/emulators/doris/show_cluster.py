"""SHOW of what belongs to the cluster and not to a table: its nodes, its connections, its constants."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from dbint.emulators.doris.lexer import Cursor
from dbint.emulators.doris.results import Result, text_result
from dbint.emulators.doris.variables import VERSION_COMMENT

if TYPE_CHECKING:
    from dbint.emulators.doris.show import ShowContext

Handler = Callable[["ShowContext", Cursor, bool], Result]
VERSION = VERSION_COMMENT.removeprefix("Doris version ")
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
    row = (
        "fe_emulator",
        "127.0.0.1",
        "-1",
        str(context.http_port),
        str(context.query_port),
        "-1",
        "-1",
        "FOLLOWER",
        "true",
        "1",
        "true",
        "true",
        "1",
        context.started,
        context.started,
        "true",
        "",
        VERSION,
        "Yes",
    )
    return text_result(_FRONTEND, [row])


def _backends(context: "ShowContext", _cursor: Cursor, _full: bool) -> Result:
    rows = [
        (
            str(10001 + n),
            "127.0.0.1",
            "-1",
            "-1",
            str(context.be_http_port),
            "-1",
            "-1",
            context.started,
            context.started,
            "true",
            "false",
            str(len(context.storage.tables())),
            "0.000 ",
            "0.000 ",
            "1.000 GB",
            "1.000 GB",
            "0.00 %",
            "0.00 %",
            "0.000 ",
            '{"location" : "default"}',
            "",
            VERSION,
            '{"lastSuccessReportTabletsTime":"N/A","isQueryDisabled":false,"isLoadDisabled":false}',
            "0",
            "mix",
            "1",
            "1.000 GB",
        )
        for n in range(context.backends)
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
