"""System variables: those that clients ask for, and those that change what the emulator does."""

from dbint.emulators.doris.errors import UNKNOWN_VARIABLE, WRONG_VALUE_FOR_VARIABLE, DorisError

DORIS_VERSION = "4.0.2"
MYSQL_VERSION = "5.7.99"
ALTER_SECONDS = 0.1  # how long a schema change takes that rewrites rows, unless told otherwise

_READ_ONLY: dict[str, str | int] = {
    "version": MYSQL_VERSION,
    "version_comment": "",  # set for each session: see Variables
    "license": "Apache License, Version 2.0",
    "lower_case_table_names": 0,
    "performance_schema": "false",
    "system_time_zone": "UTC",
    "have_query_cache": "false",
}
_DEFAULTS: dict[str, str | int] = {
    **_READ_ONLY,
    "auto_increment_increment": 1,
    "autocommit": 1,
    "character_set_client": "utf8mb4",
    "character_set_connection": "utf8mb4",
    "character_set_database": "utf8mb4",
    "character_set_results": "utf8mb4",
    "character_set_server": "utf8mb4",
    "collation_connection": "utf8mb4_0900_bin",
    "collation_database": "utf8mb4_0900_bin",
    "collation_server": "utf8mb4_0900_bin",
    "default_storage_engine": "olap",
    "default_tmp_storage_engine": "olap",
    "delete_without_partition": "false",
    "enable_insert_strict": "true",
    "enable_nereids_planner": "true",
    "enable_unique_key_partial_update": "false",
    "event_scheduler": "OFF",
    "exec_mem_limit": 100147483648,
    "group_commit": "off_mode",
    "init_connect": "",
    "insert_timeout": 14400,
    "interactive_timeout": 3600,
    "max_allowed_packet": 16777216,
    "max_execution_time": 900000,
    "net_buffer_length": 16384,
    "net_read_timeout": 600,
    "net_write_timeout": 600,
    "parallel_pipeline_task_num": 0,
    "partial_update_new_key_behavior": "APPEND",
    "query_cache_size": 1048576,
    "query_cache_type": 0,
    "query_timeout": 900,
    "sql_auto_is_null": "false",
    "sql_mode": "ONLY_FULL_GROUP_BY",
    "sql_safe_updates": 0,
    "sql_select_limit": 9223372036854775807,
    "time_zone": "UTC",
    "transaction_isolation": "READ-COMMITTED",
    "transaction_read_only": "false",
    "tx_isolation": "READ-COMMITTED",
    "tx_read_only": "false",
    "unique_key_update_mode": "UPSERT",
    "wait_timeout": 28800,
}
_BOOLEANS = frozenset(name for name, value in _DEFAULTS.items() if value in ("true", "false")) | {
    "autocommit"
}
_TRUE, _FALSE = ("1", "true", "on"), ("0", "false", "off")


def build(version: str) -> str:
    """The name of the build of a release, which says that it is the emulator."""
    return f"doris-{version}-dbint (dbint emulator)"


class Variables:
    """The variables of one session. GLOBAL sets the session's too: the emulator keeps no global ones."""

    def __init__(self, version: str = DORIS_VERSION) -> None:
        self._values = {**_DEFAULTS, "version_comment": f"Doris version {build(version)}"}

    def get(self, name: str) -> str | int:
        """Raises DorisError 1193 for a variable that Doris (here: the emulator) does not have."""
        lower = name.lower()
        if lower not in self._values:
            raise DorisError(f"Unknown system variable '{name}'", UNKNOWN_VARIABLE)
        return self._values[lower]

    def set(self, name: str, value: str | int | None, *, force: bool = False) -> None:
        """Set a variable; None sets its default. Raises DorisError for an unknown, read-only or wrong one."""
        lower = name.lower()
        current = self.get(lower)
        if lower in _READ_ONLY and not force:
            raise DorisError(f"Variable '{name}' is a read only variable")
        if value is None:
            value = _DEFAULTS[lower]
        if lower in _BOOLEANS:
            text = str(value).lower()
            if text not in (*_TRUE, *_FALSE):
                raise DorisError(
                    f"Variable '{name}' can't be set to the value of '{value}'", WRONG_VALUE_FOR_VARIABLE
                )
            value = "true" if text in _TRUE else "false"
            if lower == "autocommit":
                value = int(value == "true")
        elif lower == "partial_update_new_key_behavior":
            value = str(value).upper()
            if value not in ("APPEND", "ERROR"):
                raise DorisError(
                    "partial_update_new_key_behavior should be one of {'APPEND', 'ERROR'}, but found"
                    f" {value}",
                    WRONG_VALUE_FOR_VARIABLE,
                )
        elif isinstance(current, int):
            if not str(value).lstrip("-").isdigit():
                raise DorisError(f"Incorrect argument type to variable '{name}'", WRONG_VALUE_FOR_VARIABLE)
            value = int(value)
        self._values[lower] = value

    def is_on(self, name: str) -> bool:
        return self.get(name) in ("true", 1)

    def items(self) -> list[tuple[str, str]]:
        return [(name, str(value)) for name, value in sorted(self._values.items())]
