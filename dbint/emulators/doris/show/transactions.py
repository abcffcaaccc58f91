"""SHOW TRANSACTION: what has become of the transaction behind a label.

Source: "SHOW TRANSACTION" of the Doris manual; TransProcDir and DatabaseTransactionMgr of apache/doris.
"""

from typing import TYPE_CHECKING

from dbint.emulators.doris.errors import DorisError
from dbint.emulators.doris.results import Result, text_result
from dbint.emulators.doris.sql.lexer import Cursor

if TYPE_CHECKING:
    from dbint.emulators.doris.show.statements import ShowContext

_COLUMNS = (
    "TransactionId Label Coordinator TransactionStatus LoadJobSourceType PrepareTime PreCommitTime "
    "CommitTime PublishTime FinishTime Reason ErrorReplicasCount ListenerId TimeoutMs ErrMsg"
)


def show_transaction(context: "ShowContext", cursor: Cursor, _full: bool) -> Result:
    """``SHOW TRANSACTION [FROM database] WHERE ID = n | LABEL = 'text'``. Raises DorisError."""
    database = context.database
    if cursor.accept("FROM") or cursor.accept("IN"):
        database = cursor.identifier()
    if database is None:
        raise DorisError("No database selected", code=1046)
    cursor.expect("WHERE")
    by_label = cursor.word() == "LABEL"
    cursor.expect("LABEL" if by_label else "ID")
    cursor.expect("=")
    wanted = cursor.string() if by_label else cursor.integer()
    cursor.end()
    found = context.cursor.execute(
        "SELECT txn_id, label, status, finished FROM meta.labels WHERE database = ? "
        "AND CASE WHEN ? THEN label ELSE CAST(txn_id AS VARCHAR) END = ?",
        [database, by_label, str(wanted)],
    ).fetchall()
    if not found:
        raise DorisError(f"transaction with {'label' if by_label else 'id'} {wanted} does not exist")
    txn_id, label, status, finished = found[0]
    held = context.cursor.execute(
        "SELECT count(*) FROM meta.held_loads WHERE txn_id = ? AND status = 'COMMITTED'", [txn_id]
    ).fetchall()[0][0]
    if held:
        status = "COMMITTED"  # its rows become visible a little later
    time = finished.strftime("%Y-%m-%d %H:%M:%S")
    seen = time if status == "VISIBLE" else r"\N"
    row = (str(txn_id), label, "BE: 127.0.0.1", status, "BACKEND_STREAMING")
    return text_result(_COLUMNS, [(*row, time, r"\N", time, seen, seen, "", "0", "-1", "600000", "")])
