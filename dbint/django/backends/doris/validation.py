"""Field checks of ``check --database`` and ``migrate``: what the tables of Doris cannot hold."""

from typing import Any

from django.core import checks
from django.db import NotSupportedError
from django.db.backends.base.validation import BaseDatabaseValidation

from dbint.django.backends.doris.types import MAX_VARCHAR

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
        if field_type == f"VARCHAR({MAX_VARCHAR})":
            found.append(
                checks.Warning(
                    f"A VARCHAR of Doris holds {MAX_VARCHAR} bytes, which may be fewer than the "
                    f"{field.max_length} characters of the field; a longer text is refused when it is saved.",
                    obj=field,
                    hint="Lower max_length, or make it a TextField.",
                    id="dbint.doris.W002",
                )
            )
        return found

    def check_field(self, field: Any, **kwargs: Any) -> list[checks.CheckMessage]:
        try:
            return super().check_field(field, **kwargs)
        except NotSupportedError as error:
            return [checks.Error(str(error), obj=field, id="dbint.doris.E002")]
