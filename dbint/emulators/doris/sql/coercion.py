"""What Doris converts unasked in arithmetic and comparisons, where DuckDB converts otherwise or not at all.

Where the type of an operand is not known from the text, a guard macro of functions.py looks at it when DuckDB
has bound it. Source: "Type Conversion" in the Doris SQL manual.
"""

import re
from typing import TYPE_CHECKING

from sqlglot import exp

from dbint.emulators.doris.errors import NotEmulatedError
from dbint.emulators.doris.sql import calls, inference
from dbint.emulators.doris.sql.functions import PREFIX
from dbint.emulators.doris.tables.types import DorisType

if TYPE_CHECKING:
    from dbint.emulators.doris.sql.translate import _Translator

_NUMBER = re.compile(r"\s*([+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)\s*")
_SHORT_YEAR = re.compile(r"\s*\d{2}[-/]")
_INTEGERS = ("TINYINT", "SMALLINT", "INT", "BIGINT")
_FLOATS = ("FLOAT", "DOUBLE")
_NUMBERS = (*_INTEGERS, "LARGEINT", "DECIMAL", *_FLOATS)
_DOUBLE = DorisType("DOUBLE")
_GUARDS: dict[type[exp.Expr], str] = {exp.Div: f"{PREFIX}divisible", exp.IntDiv: f"{PREFIX}whole"}


def arithmetic(translator: "_Translator", node: exp.Expr) -> exp.Expr:
    """``+ - * / DIV %`` on numbers. Raises NotEmulatedError for dates."""
    result = inference.known(node)
    operands = [node.this, node.args["expression"]]
    numbers = [inference.as_decimal(translator.type_of(operand)) for operand in operands]
    if result is not None and result.name == "DECIMAL" and numbers[0] and numbers[1]:
        if isinstance(node, exp.Div):
            return calls.quotient((operands[0], numbers[0]), (operands[1], numbers[1]), result)
        if isinstance(node, exp.Mul) and result.args[1] != numbers[0][1] + numbers[1][1]:
            raise NotEmulatedError("a product of DECIMAL that loses digits (its precision is above 38)")
    if isinstance(node, exp.Div) and any(isinstance(operand, exp.Null) for operand in operands):
        return exp.Null()
    kinds = [_operand(translator, node, operand) for operand in operands]
    names = [kind.name if kind else "" for kind in kinds]
    widens = isinstance(node, exp.Add | exp.Sub | exp.Mul) and all(name in _INTEGERS for name in names)
    if widens and "BIGINT" not in names:  # the result of Doris has the next larger type
        for operand in operands:
            operand.replace(exp.cast(operand.copy(), "BIGINT"))
    if isinstance(node, exp.Div):
        node.meta.setdefault("doris_type", _DOUBLE)
    return node


def _operand(translator: "_Translator", node: exp.Expr, operand: exp.Expr) -> DorisType | None:
    """The type that an operand has in the computation, after it has been converted or guarded."""
    kind = translator.type_of(operand)
    if (kind is not None and kind.is_string) or (isinstance(operand, exp.Literal) and operand.is_string):
        operand.replace(calls.cast(translator, operand.copy(), _DOUBLE))  # as Doris computes with text
        kind = _DOUBLE
    elif kind is None and not isinstance(operand, exp.Literal | exp.Null):
        guard = _GUARDS.get(type(node), f"{PREFIX}number")
        operand.replace(exp.Anonymous(this=guard, expressions=[operand.copy()]))
    name = kind.name if kind else ""
    if name in ("DATE", "DATETIME"):
        raise NotEmulatedError("arithmetic with a DATE or DATETIME")
    if isinstance(node, exp.Div) and name == "DECIMAL" and inference.known(node) is None:
        raise NotEmulatedError("the division of DECIMAL and a number whose type is not known")
    if isinstance(node, exp.IntDiv) and name in ("DECIMAL", *_FLOATS):
        raise NotEmulatedError("DIV of a number with a fraction")
    return kind


def comparison(translator: "_Translator", node: exp.Expr) -> exp.Expr:
    """``= <> < <= > >= <=> IN BETWEEN``: text is compared with a number as a number, a DATE with a moment as
    a moment; DuckDB would round the text to the column's type first.
    """
    if isinstance(node, exp.Between):
        operands = [node.this, node.args["low"], node.args["high"]]
    else:
        operands = [node.this, *(node.expressions or [node.args.get("expression")])]
    operands = [operand for operand in operands if operand is not None]
    kinds = [translator.type_of(operand) for operand in operands]
    names = [kind.name if kind else "" for kind in kinds]
    if "ARRAY" in names:
        raise NotEmulatedError("the comparison of an ARRAY")
    texts = [operand for operand in operands if isinstance(operand, exp.Literal) and operand.is_string]
    moments = "DATETIME" in names or not all(calls.is_date(translator, text) for text in texts)
    if {"DATE", "DATETIME"} & set(names) and any(_SHORT_YEAR.match(text.name) for text in texts):
        raise NotEmulatedError("a year of two digits in a comparison")
    for operand, kind in zip(operands, kinds, strict=True):
        if kind is not None and kind.name == "DATE" and moments:
            operand.replace(exp.cast(operand.copy(), "TIMESTAMP"))
        if not any(name in _NUMBERS for name in names):
            continue
        if kind is not None and kind.is_string:
            operand.replace(calls.cast(translator, operand.copy(), _DOUBLE))
        number = _NUMBER.fullmatch(operand.name) if operand in texts else None
        if number:
            operand.replace(calls.raw(number[1]))
    return node
