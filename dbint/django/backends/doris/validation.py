"""Field checks of ``check --database`` and ``migrate``: what the tables of Doris cannot hold."""

from typing import Any

from django.core import checks
from django.db import NotSupportedError
from django.db.backends.base.validation import BaseDatabaseValidation

_MAX_DECIMAL_DIGITS = 38


class DatabaseValidation(BaseDatabaseValidation):
    def check_field_type(self, field: Any, field_type: str) -> list[checks.CheckMessage]:
        found: list[checks.CheckMessage] = []
        if field_type.startswith("DECIMAL") and (field.max_digits or 0) > _MAX_DECIMAL_DIGITS:
            found.append(
                checks.Error(
                    f"Doris' decimals have at most {_MAX_DECIMAL_DIGITS} digits.",
                    obj=field,
                    hint="Lower max_digits.",
                    id="dbint.doris.E001",
                )
            )
        return found

    def check_field(self, field: Any, **kwargs: Any) -> list[checks.CheckMessage]:
        try:
            return super().check_field(field, **kwargs)
        except NotSupportedError as error:
            return [checks.Error(str(error), obj=field, id="dbint.doris.E002")]
