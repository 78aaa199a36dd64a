"""The language of ``metadataQuery`` (protocol section 8.2), as a tree.

    query      = and { "or" and }
    and        = not { "and" not }
    not        = "not" not | "(" query ")" | comparison
    comparison = key ( "==" | "!=" | "<" | "<=" | ">" | ">=" ) value  |  key ":" word
    key        = name | "text" | 'text'
    value      = "text" | 'text' | number | "true" | "false"

A comparison holds only where the key exists: ``!=`` means "exists and differs". Text compares with text, numbers with
numbers, and nothing else. A bare word after a colon (``camera_type:aerial``, ``lot:42``) matches as text, and also as
the number or truth value that it spells. ``not`` is plain negation, so it also matches assets without the key.
"""

from __future__ import annotations

import math
import re
from contextlib import suppress
from enum import StrEnum
from typing import NoReturn

import attrs

Scalar = str | int | float | bool

MAX_LENGTH = 8192
MAX_DEPTH = 32
MAX_COMPARISONS = 256


class QueryError(ValueError):
    """A filter or query that cannot be parsed; the message can be shown to the caller."""


class Operator(StrEnum):
    """How a value is compared."""

    EQUAL = "=="
    OTHER = "!="
    LESS = "<"
    AT_MOST = "<="
    MORE = ">"
    AT_LEAST = ">="


@attrs.frozen
class Comparison:
    """One key and the values that it may have; several only for a bare word after a colon."""

    key: str
    operator: Operator
    values: tuple[Scalar, ...]


@attrs.frozen
class Not:
    """What *part* does not match."""

    part: Expression


@attrs.frozen
class And:
    """What all parts match."""

    parts: tuple[Expression, ...]


@attrs.frozen
class Or:
    """What at least one part matches."""

    parts: tuple[Expression, ...]


Expression = Comparison | Not | And | Or


@attrs.frozen
class MetadataQuery:
    """A parsed ``metadataQuery``."""

    expression: Expression


def parse_metadata_query(text: str) -> MetadataQuery:
    """Parse a query; a `QueryError` names the column of the mistake."""
    if len(text) > MAX_LENGTH:
        raise QueryError(f"The metadata query has {len(text)} characters; at most {MAX_LENGTH} are read.")
    parser = _Parser(text)
    return MetadataQuery(parser.parse())


def check_text(text: str, what: str) -> str:
    """Return *text* when a database can hold it."""
    if "\0" in text:
        raise QueryError(f"{what} holds a NUL character.")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise QueryError(f"{what} holds half a surrogate pair.") from None
    return text


_TOKEN = re.compile(
    r"""\s*+(?:
        (?P<text>"(?:[^"\\]++|\\.)*+"|'(?:[^'\\]++|\\.)*+')
      | (?P<operator>==|!=|<=|>=|<|>)
      | (?P<mark>[():])
      | (?P<word>[^\s()"'=!<>:&|]+)
      | (?P<end>$)
    )""",
    re.VERBOSE | re.DOTALL,
)
_COLON_WORD = re.compile(r"""\s*+(?P<word>[^\s()"']+)""")
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_ESCAPES = {"n": "\n", "b": "\b", "f": "\f", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'", "/": "/"}
_RESERVED = frozenset({"and", "or", "not", "true", "false"})
_HINTS = {
    "=": "write == to compare",
    "&": "write and",
    "|": "write or",
    "!": "write not, or != to compare",
    '"': "the text has no closing quote",
    "'": "the text has no closing quote",
}


@attrs.frozen
class _Token:
    kind: str
    text: str
    at: int

    def __str__(self) -> str:
        return "the end" if self.kind == "end" else repr(self.text if len(self.text) <= 40 else self.text[:37] + "...")


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._depth = 0
        self._comparisons = 0
        self._token = self._read(_TOKEN, 0)

    def parse(self) -> Expression:
        if self._token.kind == "end":
            raise QueryError("The metadata query is empty.")
        expression = self._or()
        if self._token.kind != "end":
            self._fail("'and', 'or' or the end")
        return expression

    def _or(self) -> Expression:
        parts = [self._and()]
        while self._skip_word("or"):
            parts.append(self._and())
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def _and(self) -> Expression:
        parts = [self._not()]
        while self._skip_word("and"):
            parts.append(self._not())
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _not(self) -> Expression:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise QueryError(f"Column {self._token.at + 1}: nested deeper than {MAX_DEPTH} levels.")
        expression: Expression
        if self._skip_word("not"):
            expression = Not(self._not())
        elif self._skip_mark("("):
            expression = self._or()
            if not self._skip_mark(")"):
                self._fail("')', 'and' or 'or'")
        else:
            expression = self._comparison()
        self._depth -= 1
        return expression

    def _comparison(self) -> Comparison:
        self._comparisons += 1
        if self._comparisons > MAX_COMPARISONS:
            raise QueryError(f"Column {self._token.at + 1}: more than {MAX_COMPARISONS} comparisons.")
        key = self._key()
        if self._token.kind == "mark" and self._token.text == ":":
            return Comparison(key, Operator.EQUAL, self._colon_values())
        if self._token.kind != "operator":
            self._fail("a comparison such as == or :")
        operator = Operator(self._token.text)
        self._advance()
        value_at = self._token.at
        value = self._value()
        if isinstance(value, bool) and operator not in (Operator.EQUAL, Operator.OTHER):
            raise QueryError(f"Column {value_at + 1}: true and false have no order; compare them with == or !=.")
        return Comparison(key, operator, (value,))

    def _key(self) -> str:
        if self._token.kind == "text":
            key = self._unquoted()
        elif self._token.kind == "word" and self._token.text.lower() not in _RESERVED:
            key = check_text(self._token.text, "The metadata query")
            self._advance()
        else:
            self._fail("a key")
        return key

    def _value(self) -> Scalar:
        if self._token.kind == "text":
            return self._unquoted()
        values = _readings(self._token.text) if self._token.kind == "word" else ()
        if len(values) < 2:
            self._fail(
                "a value: text in quotes, a number, true or false"
                + (f' (for text write "{self._token.text}")' if values and len(self._token.text) <= 40 else "")
            )
        self._advance()
        return values[1]

    def _colon_values(self) -> tuple[Scalar, ...]:
        after = self._token.at + 1
        self._token = self._read(_TOKEN, after)
        if self._token.kind == "text":
            return (self._unquoted(),)
        if (match := _COLON_WORD.match(self._text, after)) is None:
            self._fail("a value after ':'")
        self._token = self._read(_TOKEN, match.end())
        return _readings(check_text(match["word"], "The metadata query"))

    def _unquoted(self) -> str:
        at, inside = self._token.at, self._token.text[1:-1]
        self._advance()

        def unescape(match: re.Match[str]) -> str:
            if match[1]:
                return chr(int(match[1], 16))
            if match[2] not in _ESCAPES:
                raise QueryError(f"Column {at + match.start() + 2}: unknown escape {match[0]!r} in a text.")
            return _ESCAPES[match[2]]

        text = _ESCAPE.sub(unescape, inside)
        with suppress(UnicodeDecodeError):  # JSON writes characters beyond the basic plane as two escapes
            text = text.encode("utf-16", "surrogatepass").decode("utf-16")
        return check_text(text, "The metadata query")

    def _skip_word(self, word: str) -> bool:
        if self._token.kind != "word" or self._token.text.lower() != word:
            return False
        self._advance()
        return True

    def _skip_mark(self, mark: str) -> bool:
        if self._token.kind != "mark" or self._token.text != mark:
            return False
        self._advance()
        return True

    def _advance(self) -> None:
        self._token = self._read(_TOKEN, self._token.at + len(self._token.text))

    def _read(self, pattern: re.Pattern[str], start: int) -> _Token:
        match = pattern.match(self._text, start)
        if match is None:
            at = start + len(self._text[start:]) - len(self._text[start:].lstrip())
            sign = self._text[at]
            hint = _HINTS.get(sign)
            raise QueryError(f"Column {at + 1}: unexpected {sign!r}" + (f"; {hint}." if hint else "."))
        kind = match.lastgroup or "end"
        return _Token(kind, match[kind], match.start(kind))

    def _fail(self, expected: str) -> NoReturn:
        raise QueryError(f"Column {self._token.at + 1}: expected {expected}, found {self._token}.")


def is_finite(number: float) -> bool:
    """Tell whether a database can compare with *number*, which may be an integer of any length."""
    try:
        return math.isfinite(number)
    except OverflowError:
        return False


def _readings(word: str) -> tuple[Scalar, ...]:
    """Return a bare word as text and, where it spells one, as the number or truth value."""
    if word.lower() in ("true", "false"):
        return word, word.lower() == "true"
    if _NUMBER.fullmatch(word):
        number = int(word) if word.lstrip("+-").isdigit() and len(word) <= 4000 else float(word)
        if not is_finite(number):
            raise QueryError(f"The number {word[:40]!r} is too large.")
        return word, number
    return (word,)
