"""``manage.py dbshell``: the mysql command line client, which Doris accepts."""

from collections.abc import Iterable
from typing import Any

from django.db.backends.base.client import BaseDatabaseClient

from dbint.django.backends.doris.account import account_of, addresses_of


class DatabaseClient(BaseDatabaseClient):
    executable_name = "mysql"

    @classmethod
    def settings_to_cmd_args_env(
        cls, settings_dict: dict[str, Any], parameters: Iterable[str]
    ) -> tuple[list[str], dict[str, str] | None]:
        address, account = addresses_of(settings_dict)[0], account_of(settings_dict)
        args = [
            cls.executable_name,
            "--default-character-set=utf8mb4",
            f"--host={address.host}",
            f"--port={address.port}",
            f"--user={account.username}",
            *parameters,
        ]
        if settings_dict.get("NAME"):
            args.append(settings_dict["NAME"])
        # The password goes through the environment: command lines are visible to every user of the machine.
        return args, {"MYSQL_PWD": account.password} if account.password else None
