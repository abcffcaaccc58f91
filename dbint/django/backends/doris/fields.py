"""Model fields for what Doris has and other databases lack: ARRAY, VARIANT, LARGEINT, DATETIME(p).

Doris' manual, sql-manual/basic-element/sql-data-types. On other databases they raise NotSupportedError.
"""

# ruff: noqa: ARG002 - these signatures are Django's

import datetime as dt
import decimal
import json
from collections.abc import Callable, Iterator
from typing import Any

from django.core import checks, exceptions
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import DataError, NotSupportedError, models
from django.db.models.fields.mixins import CheckFieldDefaultMixin
from django.db.models.lookups import Lookup, Transform

MAX_DEPTH = 9  # levels of arrays in arrays
LARGEINT_RANGE = (-(2**127), 2**127 - 1)
_NO_ELEMENTS = ("JSON", "VARIANT")


class _OfDoris:
    """A field that has a type on Doris alone."""

    def db_type(self, connection: Any) -> str:
        """The column's type. Raises NotSupportedError on another database."""
        if connection.vendor != "doris":
            raise NotSupportedError(
                f"{self}: a {type(self).__name__} is for Apache Doris, and this is {connection.display_name}"
            )
        return self.doris_type(connection)

    def doris_type(self, connection: Any) -> str:
        raise NotImplementedError

    def rel_db_type(self, connection: Any) -> str:
        return self.db_type(connection)

    def cast_db_type(self, connection: Any) -> str:
        return self.db_type(connection)

    def deconstruct(self) -> Any:
        name, _, arguments, given = super().deconstruct()  # type: ignore[misc]  # the field behind it
        return name, f"dbint.django.backends.doris.{type(self).__name__}", arguments, given


class LargeIntegerField(_OfDoris, models.IntegerField):  # type: ignore[type-arg]  # generic in the stubs
    """LARGEINT: a whole number of 128 bits with sign."""

    description = "Integer of 128 bits"

    def doris_type(self, connection: Any) -> str:
        return "LARGEINT"

    def get_internal_type(self) -> str:
        return "LargeIntegerField"

    @property
    def validators(self) -> list[Any]:
        low, high = LARGEINT_RANGE
        own: list[Any] = self._validators  # type: ignore[attr-defined]  # of Field
        return [*self.default_validators, *own, MinValueValidator(low), MaxValueValidator(high)]

    def get_prep_value(self, value: Any) -> Any:
        value = super().get_prep_value(value)
        low, high = LARGEINT_RANGE
        if isinstance(value, int) and not low <= value <= high:
            raise exceptions.ValidationError(f"{self.name}: {value} takes more than 128 bits")
        return value

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        """Doris sends numbers of this size as text."""
        return value if value is None else int(value)


class DateTimeField(_OfDoris, models.DateTimeField):  # type: ignore[type-arg]  # generic in the stubs
    """DATETIME(precision), 0 to 6 digits of a second. What is finer is cut off, also in the object that is
    saved, so that it holds what Doris keeps (Doris itself would round).

    Django's own field is DATETIME(6).
    """

    def __init__(self, *args: Any, precision: int = 6, **options: Any) -> None:
        if type(precision) is not int or not 0 <= precision <= 6:
            raise exceptions.ImproperlyConfigured(f"precision is a number from 0 to 6, not {precision!r}")
        self.precision = precision
        super().__init__(*args, **options)

    def doris_type(self, connection: Any) -> str:
        return f"DATETIME({self.precision})"

    def deconstruct(self) -> Any:
        name, path, arguments, given = super().deconstruct()
        if self.precision != 6:
            given["precision"] = self.precision
        return name, path, arguments, given

    def _cut(self, value: Any) -> Any:
        if not isinstance(value, dt.datetime):
            return value
        unit = 10 ** (6 - self.precision)
        return value.replace(microsecond=value.microsecond // unit * unit)

    def to_python(self, value: Any) -> Any:
        return self._cut(super().to_python(value))

    def pre_save(self, model_instance: models.Model, add: bool) -> Any:
        value = self._cut(super().pre_save(model_instance, add))
        setattr(model_instance, self.attname, value)
        return value

    def get_prep_value(self, value: Any) -> Any:
        return self._cut(super().get_prep_value(value))


class VariantField(_OfDoris, models.JSONField):
    """VARIANT: JSON whose paths Doris keeps as columns of their own, which makes reading a few of them fast.

    ``JSONField`` gives back what it was given; VARIANT may not: the order of members changes, members that
    are null disappear, a JSON null is NULL, and a path that has been a number and a text becomes text. Use it
    for documents that are searched, and JSONField for those that are kept.
    """

    description = "A JSON document in sub-columns"

    def doris_type(self, connection: Any) -> str:
        return "VARIANT"

    def get_internal_type(self) -> str:
        return "VariantField"

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        if isinstance(value, models.Value) or hasattr(value, "as_sql"):
            return super().get_db_prep_value(value, connection, prepared)
        return None if value is None else json.dumps(value, cls=self.encoder)

    def get_lookup(self, lookup_name: str) -> Any:
        if lookup_name == "isnull":
            return super().get_lookup(lookup_name)
        return self._refuse(lookup_name)

    def get_transform(self, lookup_name: str) -> Any:
        return self._refuse(lookup_name)

    def _refuse(self, lookup_name: str) -> Any:
        raise NotSupportedError(
            f"{self}: {lookup_name} does not look into a VARIANT. A path in it has the type that its values "
            "happen to have, so say the one that is meant: "
            f"RawSQL(\"CAST({self.column}['path'] AS STRING)\", [])"
        )


class ArrayValue(list[Any]):
    """An array on its way to the database; the connection writes it as ``[a, b]``."""

    __slots__ = ()


class ArrayField(_OfDoris, CheckFieldDefaultMixin, models.Field):  # type: ignore[type-arg]  # the same
    """ARRAY<T>: a list of values of ``base_field``; None is allowed among them.

    Lookups: ``has`` (this element), ``contains`` (all of these), ``overlap`` (one of these at least),
    ``len``, and ``field__0`` for the first element. It cannot be in a key.

    Doris shows text in an array without escapes, so an element with a double quote could not be told from
    two: saving one raises ValidationError.
    """

    empty_strings_allowed = False
    description = "Array"
    _default_hint = ("list", "[]")

    def __init__(self, base_field: Any, **options: Any) -> None:
        self.base_field = base_field
        super().__init__(**options)

    # -- definition

    @property
    def model(self) -> Any:
        try:
            return self.__dict__["model"]
        except KeyError:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute 'model'") from None

    @model.setter
    def model(self, model: Any) -> None:
        self.__dict__["model"] = model
        self.base_field.model = model

    def set_attributes_from_name(self, name: str) -> None:
        super().set_attributes_from_name(name)
        self.base_field.set_attributes_from_name(name)

    @property
    def depth(self) -> int:
        """Levels of arrays; 1 for an array of plain values."""
        return 1 + (self.base_field.depth if isinstance(self.base_field, ArrayField) else 0)

    def check(self, **options: Any) -> list[checks.CheckMessage]:
        found: list[checks.CheckMessage] = super().check(**options)
        if self.base_field.remote_field is not None:
            found.append(
                checks.Error("An array holds values, not relations.", obj=self, id="dbint.doris.E016")
            )
            return found
        if isinstance(self.base_field, models.JSONField):
            found.append(
                checks.Error("Doris has no arrays of JSON or VARIANT.", obj=self, id="dbint.doris.E016")
            )
        if self.depth > MAX_DEPTH:
            found.append(checks.Error(f"Arrays go {MAX_DEPTH} levels deep.", obj=self, id="dbint.doris.E016"))
        found += [
            checks.CheckMessage(
                message.level,
                f"Base field of the array: {message.msg}",
                hint=message.hint,
                obj=self,
                id=message.id,
            )
            for message in self.base_field.check()
        ]
        return found

    def deconstruct(self) -> Any:
        name, path, arguments, given = super().deconstruct()
        return name, path, arguments, {**given, "base_field": self.base_field.clone()}

    def get_internal_type(self) -> str:
        return "ArrayField"

    def doris_type(self, connection: Any) -> str:
        inner = self.base_field.db_type(connection)
        if inner is None or inner.startswith(_NO_ELEMENTS):
            raise NotSupportedError(
                f"{self}: Doris has no ARRAY of {inner or type(self.base_field).__name__}"
            )
        return f"ARRAY<{inner}>"

    # -- values

    def to_python(self, value: Any) -> Any:
        if isinstance(value, str):  # fixtures
            value = json.loads(value)
        if value is None:
            return None
        if not isinstance(value, list | tuple):
            raise exceptions.ValidationError(f"{self.name}: a list is expected, not {value!r}")
        return [None if item is None else self.base_field.to_python(item) for item in value]

    def value_to_string(self, obj: models.Model) -> str:
        value = self.value_from_object(obj)
        return json.dumps(
            value if value is None else [_text(item) for item in value], default=str, ensure_ascii=False
        )

    def validate(self, value: Any, model_instance: models.Model | None) -> None:
        super().validate(value, model_instance)
        for at, item in enumerate(value):
            if item is None:
                continue
            try:
                self.base_field.clean(item, model_instance)
            except exceptions.ValidationError as error:
                raise exceptions.ValidationError(
                    [f"Item {at + 1}: {message}" for message in error.messages]
                ) from error

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        if value is None or hasattr(value, "as_sql"):
            return value
        if not isinstance(value, list | tuple):
            raise exceptions.ValidationError(f"{self.name}: a list is expected, not {value!r}")
        return ArrayValue(self._element(item, connection) for item in value)

    def _element(self, item: Any, connection: Any) -> Any:
        if item is None:
            return None
        prepared = self.base_field.get_db_prep_value(self.base_field.get_prep_value(item), connection)
        if isinstance(prepared, str) and '"' in prepared:
            raise exceptions.ValidationError(
                f"{self.name}: {prepared!r} has a double quote, which Doris shows without an escape in an "
                "array: it could not be read back"
            )
        return prepared

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        """The list that Doris shows as text."""
        if value is None or isinstance(value, list):
            return value
        return self.read(value, connection)

    def read(self, text: str, connection: Any) -> list[Any]:
        """The elements of ``text``, such as ``[1, null]`` or ``["a", "b"]``. Raises DataError."""
        elements, convert = split_array(text), self._converter(connection)
        return [None if item is None else convert(item) for item in elements]

    def _converter(self, connection: Any) -> Callable[[Any], Any]:
        base = self.base_field
        if isinstance(base, ArrayField):
            return lambda text: base.read(text, connection)
        shape = models.Value(None, output_field=base)
        converters = [*connection.ops.get_db_converters(shape), *base.get_db_converters(connection)]
        raw = _RAW.get(base.get_internal_type(), str)

        def convert(text: str) -> Any:
            value: Any = raw(text)
            for converter in converters:
                value = converter(value, shape, connection)
            return value

        return convert

    # -- lookups

    def get_transform(self, name: str) -> Any:
        transform = super().get_transform(name)
        if transform is not None or not name.isdigit():
            return transform
        return _ElementAt.factory(int(name), self.base_field)

    def formfield(self, **options: Any) -> Any:  # type: ignore[override]  # as the fields of Django
        """A form shows it as JSON text."""
        from django import forms

        return super().formfield(**{"form_class": forms.JSONField, **options})


def _text(item: Any) -> Any:
    if isinstance(item, list):
        return [_text(part) for part in item]
    return item if item is None or isinstance(item, bool | int | float | str) else str(item)


def _truth(text: str) -> bool:
    return text.lower() in ("1", "true")


# What the driver would have made of an element, were it a column.
_RAW: dict[str, Callable[[str], Any]] = {
    "AutoField": int,
    "BigAutoField": int,
    "BigIntegerField": int,
    "BooleanField": _truth,
    "DateField": lambda text: dt.date.fromisoformat(text[:10]),
    "DateTimeField": dt.datetime.fromisoformat,
    "DecimalField": decimal.Decimal,
    "DurationField": int,
    "FloatField": float,
    "IntegerField": int,
    "LargeIntegerField": int,
    "PositiveBigIntegerField": int,
    "PositiveIntegerField": int,
    "PositiveSmallIntegerField": int,
    "SmallIntegerField": int,
}


def split_array(text: str) -> list[str | None]:
    """The elements of an array as Doris shows it; arrays in it stay text. Raises DataError."""
    if not (text.startswith("[") and text.endswith("]")):
        raise DataError(f"not an array of Doris: {text[:80]!r}")
    return list(_elements(text[1:-1], text))


def _elements(inner: str, whole: str) -> Iterator[str | None]:
    at, end = 0, len(inner)
    while at < end:
        if inner[at] == '"':
            close = inner.find('"', at + 1)
            after = inner[close + 1 : close + 2]
            if close < 0 or after not in ("", ","):
                raise DataError(
                    f"an element of the array {whole[:80]!r} has a double quote, which Doris shows without "
                    "an escape: read it with array functions"
                )
            yield inner[at + 1 : close]
            at = close + 1
        elif inner[at] == "[":
            close = _closing(inner, at, whole)
            yield inner[at : close + 1]
            at = close + 1
        else:
            close = inner.find(",", at)
            close = end if close < 0 else close
            word = inner[at:close].strip()
            yield None if word.lower() == "null" else word
            at = close
        if at < end:
            at += 1  # the comma
            while at < end and inner[at] == " ":
                at += 1


def _closing(text: str, at: int, whole: str) -> int:
    depth, in_quotes = 0, False
    for place in range(at, len(text)):
        mark = text[place]
        if mark == '"':
            in_quotes = not in_quotes
        elif not in_quotes:
            depth += {"[": 1, "]": -1}.get(mark, 0)
            if depth == 0:
                return place
    raise DataError(f"a bracket is not closed in the array {whole[:80]!r}")


class _ArrayLookup(Lookup):  # type: ignore[type-arg]  # generic in the stubs alone
    """A lookup whose right-hand side is a list of elements; ``template`` is its SQL."""

    template = ""

    def get_prep_lookup(self) -> Any:
        return self.rhs

    def elements(self, compiler: Any, connection: Any) -> tuple[str, list[Any]]:
        """The right-hand side as an array of the column's type."""
        value = self.rhs
        if hasattr(value, "as_sql"):
            sql, params = compiler.compile(value)
            return sql, list(params)
        field: Any = self.lhs.output_field
        return f"CAST(%s AS {field.db_type(connection)})", [field.get_db_prep_value(value, connection)]

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, list[Any]]:
        left, params = self.process_lhs(compiler, connection)
        right, right_params = self.elements(compiler, connection)
        return self.template.format(left=left, right=right), [*params, *right_params]


@ArrayField.register_lookup
class _Contains(_ArrayLookup):
    """All of these elements are in the array, in any order."""

    lookup_name = "contains"

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, list[Any]]:
        left, left_params = self.process_lhs(compiler, connection)
        if hasattr(self.rhs, "as_sql"):
            raise NotSupportedError("contains= on an array takes a list of values on Doris, no expression")
        field: Any = self.lhs.output_field
        wanted = field.get_db_prep_value(self.rhs, connection)
        if not wanted:
            return f"{left} IS NOT NULL", list(left_params)
        conditions, params = [], []
        for item in wanted:
            conditions.append(f"ARRAY_CONTAINS({left}, %s)")
            params += [*left_params, item]
        return "(" + " AND ".join(conditions) + ")", params


@ArrayField.register_lookup
class _Has(_ArrayLookup):
    """This element is in the array."""

    lookup_name = "has"

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, list[Any]]:
        left, params = self.process_lhs(compiler, connection)
        if hasattr(self.rhs, "as_sql"):
            right, right_params = compiler.compile(self.rhs)
            return f"ARRAY_CONTAINS({left}, {right})", [*params, *right_params]
        field: Any = self.lhs.output_field
        (item,) = field.get_db_prep_value([self.rhs], connection)
        return f"ARRAY_CONTAINS({left}, %s)", [*params, item]


@ArrayField.register_lookup
class _Overlap(_ArrayLookup):
    """At least one of these elements is in the array."""

    lookup_name = "overlap"
    template = "ARRAYS_OVERLAP({left}, {right})"


@ArrayField.register_lookup
class _ArrayExact(_ArrayLookup):
    """The same elements in the same order."""

    lookup_name = "exact"
    template = "{left} = {right}"


@ArrayField.register_lookup
class _Length(Transform):
    """How many elements there are."""

    lookup_name = "len"
    function = "ARRAY_SIZE"
    output_field = models.IntegerField()


class _ElementAt(Transform):
    """One element, counted from 0 as in Python; NULL where there is none."""

    def __init__(self, position: int, base_field: Any, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.position, self.base_field = position, base_field

    @classmethod
    def factory(cls, position: int, base_field: Any) -> Callable[..., "_ElementAt"]:
        return lambda *args, **options: cls(position, base_field, *args, **options)

    def as_sql(self, compiler: Any, connection: Any, *_: Any, **__: Any) -> Any:
        sql, params = compiler.compile(self.lhs)
        return f"ELEMENT_AT({sql}, {self.position + 1})", list(params)

    @property
    def output_field(self) -> Any:
        return self.base_field
