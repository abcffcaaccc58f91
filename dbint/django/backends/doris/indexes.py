"""Secondary indexes of Doris as Django indexes.

They skip data while reading; none of them changes what a query answers. Doris' manual, table-design/index.
``models.Index`` of one field is an inverted index without properties.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from django.core.exceptions import ImproperlyConfigured
from django.db.models import Index

from dbint.django.backends.doris.partitions import Feature

_PARSERS = ("none", "english", "chinese", "unicode", "standard")
_NEW_PARSERS = ("basic", "icu", "ik")
_TEXT = ("CHAR", "VARCHAR", "STRING", "TEXT")


class DorisIndex(Index):
    """What the indexes of this module have in common: a kind, properties, and no conditions."""

    using: ClassVar[str] = ""
    comment = ""

    def __init__(self, *expressions: Any, comment: str = "", **options: Any) -> None:
        if expressions or any(options.get(name) for name in ("condition", "include", "opclasses")):
            raise ImproperlyConfigured(
                f"{type(self).__name__}: an index of Doris is on columns: fields=[…], no expressions or "
                "conditions"
            )
        self.comment = comment
        super().__init__(**options)

    def properties(self) -> dict[str, str]:
        """What stands in PROPERTIES."""
        return {}

    def features(self) -> list[Feature]:
        """What a server has to be new enough for."""
        return []

    def refuses(self, kind: str) -> str:
        """Why a column of the type ``kind`` (upper case) cannot have this index; "" if it can."""
        raise NotImplementedError

    def deconstruct(self) -> tuple[str, list[Any], dict[str, Any]]:
        _, arguments, given = super().deconstruct()
        if self.comment:
            given["comment"] = self.comment
        return f"dbint.django.backends.doris.{type(self).__name__}", list(arguments), given


class InvertedIndex(DorisIndex):
    """An inverted index: words of a text, or values of a column.

    ``parser`` cuts text into words (english, chinese, unicode, …); without it the whole value is indexed, for
    = and ranges. ``support_phrase`` keeps positions, for MATCH_PHRASE. ``properties`` are Doris' further
    ones: parser_mode, lower_case, ignore_above, stopwords, char_filter_…, and from 3.1 analyzer.
    """

    using = "INVERTED"
    suffix = "inv"
    KNOWN = (
        "analyzer",
        "char_filter_pattern",
        "char_filter_replacement",
        "char_filter_type",
        "ignore_above",
        "lower_case",
        "parser_mode",
        "stopwords",
    )

    def __init__(
        self,
        *,
        parser: str = "",
        support_phrase: bool | None = None,
        properties: Mapping[str, str] | None = None,
        **options: Any,
    ) -> None:
        self.parser, self.support_phrase = parser, support_phrase
        self.further = dict(properties or {})
        super().__init__(**options)
        if len(self.fields) != 1:
            raise ImproperlyConfigured("InvertedIndex: one field")
        if parser and parser not in (*_PARSERS, *_NEW_PARSERS):
            raise ImproperlyConfigured(
                f"InvertedIndex: parser is one of {', '.join((*_PARSERS, *_NEW_PARSERS))}, not {parser!r}"
            )
        if unknown := self.further.keys() - {*self.KNOWN}:
            raise ImproperlyConfigured(
                f"InvertedIndex: unknown properties {sorted(unknown)}; known are {', '.join(self.KNOWN)}"
            )
        if "parser_mode" in self.further and parser not in ("chinese", "ik"):
            raise ImproperlyConfigured("InvertedIndex: parser_mode is of the parsers chinese and ik")

    def properties(self) -> dict[str, str]:
        found = {"parser": self.parser} if self.parser else {}
        if self.support_phrase is not None:
            found["support_phrase"] = str(self.support_phrase).lower()
        return {**found, **self.further}

    def features(self) -> list[Feature]:
        if self.parser in _NEW_PARSERS or "analyzer" in self.further:
            return [(f"the analyzer or parser of the index {self.name}", (3, 1))]
        return []

    def refuses(self, kind: str) -> str:
        if kind.startswith(("JSON", "MAP", "STRUCT", "ARRAY<ARRAY", "FLOAT", "DOUBLE")):
            return f"an inverted index cannot be on {kind}"
        text = kind.startswith((*_TEXT, "VARIANT")) or (
            kind.startswith("ARRAY<") and kind[6:].startswith(_TEXT)
        )
        if self.parser not in ("", "none") and not text:
            return f"a parser is for text, and the column is {kind}"
        return ""

    def deconstruct(self) -> tuple[str, list[Any], dict[str, Any]]:
        path, arguments, given = super().deconstruct()
        if self.parser:
            given["parser"] = self.parser
        if self.support_phrase is not None:
            given["support_phrase"] = self.support_phrase
        if self.further:
            given["properties"] = self.further
        return path, arguments, given


class NgramBloomFilterIndex(DorisIndex):
    """A bloom filter of pieces of ``gram_size`` characters, for LIKE '%…%' on text. ``bf_size`` is in bits
    per block of data, 64 to 65535.

    Doris uses it where the session variable ``enable_function_pushdown`` is on.
    """

    using = "NGRAM_BF"
    suffix = "ngram"

    def __init__(self, *, gram_size: int = 2, bf_size: int = 256, **options: Any) -> None:
        self.gram_size, self.bf_size = gram_size, bf_size
        super().__init__(**options)
        if len(self.fields) != 1:
            raise ImproperlyConfigured("NgramBloomFilterIndex: one field")
        for name, low, high in (("gram_size", 1, 255), ("bf_size", 64, 65535)):
            value = getattr(self, name)
            if type(value) is not int or not low <= value <= high:
                raise ImproperlyConfigured(
                    f"NgramBloomFilterIndex: {name} is a number from {low} to {high}, not {value!r}"
                )

    def properties(self) -> dict[str, str]:
        return {"gram_size": str(self.gram_size), "bf_size": str(self.bf_size)}

    def refuses(self, kind: str) -> str:
        return "" if kind.startswith(_TEXT) else f"pieces of text are not in a column of {kind}"

    def deconstruct(self) -> tuple[str, list[Any], dict[str, Any]]:
        path, arguments, given = super().deconstruct()
        return path, arguments, {**given, "gram_size": self.gram_size, "bf_size": self.bf_size}


class BloomFilterIndex(DorisIndex):
    """Bloom filters on columns, one for each, for = and IN on values of which there are many.

    In Doris they have no name: they are the table's property ``bloom_filter_columns``.
    """

    suffix = "bloom"

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        if self.comment:
            raise ImproperlyConfigured("BloomFilterIndex has no comment: Doris knows no name for it")

    def refuses(self, kind: str) -> str:
        wrong = kind.startswith(("TINYINT", "BOOLEAN", "FLOAT", "DOUBLE", "JSON", "ARRAY", "MAP", "STRUCT"))
        return f"a bloom filter cannot be on {kind}" if wrong else ""


def bloom_filter_fields(indexes: Any) -> list[str]:
    """Names of the fields that the model's BloomFilterIndex name, each once."""
    names = [name for index in indexes if isinstance(index, BloomFilterIndex) for name in index.fields]
    return list(dict.fromkeys(names))
