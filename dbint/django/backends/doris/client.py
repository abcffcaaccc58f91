"""``manage.py dbshell``: the mysql command line client, which Doris accepts."""

from collections.abc import Iterable
from typing import Any

from django.db.backends.base.client import BaseDatabaseClient


class DatabaseClient(BaseDatabaseClient):
    executable_name = "mysql"

    @classmethod
    def settings_to_cmd_args_env(
        cls, settings_dict: dict[str, Any], parameters: Iterable[str]
    ) -> tuple[list[str], dict[str, str] | None]:
        args = [cls.executable_name, "--default-character-set=utf8mb4"]
        for option, key in (("--host", "HOST"), ("--port", "PORT"), ("--user", "USER")):
            if settings_dict.get(key):
                args.append(f"{option}={settings_dict[key]}")
        args += parameters
        if settings_dict.get("NAME"):
            args.append(settings_dict["NAME"])
        # The password goes through the environment: command lines are visible to every user of the machine.
        password = settings_dict.get("PASSWORD")
        return args, {"MYSQL_PWD": password} if password else None
