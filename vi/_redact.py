"""The one place that hides secrets, bounds foreign text and escapes its controls, in anything that people may see.

Every pattern here takes time linear in its input, so that no answer can hold up the process: a URL is matched whole,
with or without a query, and nothing is scanned twice. What comes from a service is cut before it is looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

MESSAGE_LENGTH = 4000
"""How many characters of a message or path are kept."""
WORD_LENGTH = 200
"""How many characters of a code, an id or a name are kept."""
BRIEF_LENGTH = 60
"""How many characters of a refused value are shown."""
DETAIL_LENGTH = 1000
DETAIL_DEPTH = 20
DETAIL_VALUES = 200
CUT = "..."

_KEY = re.compile(r"dtvi_[A-Za-z0-9_-]{4,}")
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s++[A-Za-z0-9._~+/=-]{8,}")
_URL = re.compile(r"(?i)(\bhttps?://)([^\s/?#\"'<>\\]*@)?+([^\s?\"'<>\\]*+)(\?[^\s\"'<>\\)\]}]*+)?+")
_SIGNATURE = re.compile(r"(?i)((?:signature|credential|security-token|sig)(?:=|%3d))[^&\s\"']+")

_HELD_LENGTH = 16
_COMPARED = 64
_HELD_KEYS = 64
_HELD_SIGNATURES = 8192
_RUN = re.compile(r"[A-Za-z0-9]{16,}")

# In the order in which they came; the oldest go first. Clients of several threads may add to them.
_keys: dict[str, None] = {}
_signatures: dict[str, None] = {}
_starts: dict[str, str] = {}
"""The first letters of each signature, by the first few of them."""


def brief(value: object) -> str:
    """Return a value as an error shows it: its repr, cut so that the sentence stays one."""
    shown = repr(value)
    return shown if len(shown) <= BRIEF_LENGTH else f"{shown[:BRIEF_LENGTH]}{CUT}"


def printable(text: str, keep: str = "") -> str:
    """Return *text* from others, such as a name, without what would control a terminal: it is written as an escape."""
    return "".join(c if c.isprintable() or c in keep else ascii(c)[1:-1] for c in text)


def expressible(text: str, stream: object) -> str:
    """Return *text* with escapes for the characters that the encoding of *stream* lacks."""
    # Not the encoding that an error names: for most code pages of Windows that is "charmap", which takes others.
    encoding: Any = getattr(stream, "encoding", None)
    try:
        return text.encode(encoding, "backslashreplace").decode(encoding)
    except (LookupError, TypeError, ValueError):  # a stand-in may say anything
        return text.encode("ascii", "backslashreplace").decode("ascii")


def hold_key(key: str) -> None:
    """Hide *key* from now on, also without its prefix, wherever a text repeats it."""
    body = key.removeprefix("dtvi_")
    if len(body) >= _HELD_LENGTH:
        _hold(_keys, body, _HELD_KEYS)


def hold_signatures(query: str) -> None:
    """Hide the signatures in the *query* of a signed URL from now on; the newest few thousand are known."""
    for match in _SIGNATURE.finditer(query):
        for run in _RUN.findall(match[0], match.end(1) - match.start()):
            _hold(_signatures, run, _HELD_SIGNATURES)
            if len(_starts) >= 2 * _HELD_SIGNATURES:
                _starts.clear()
                _starts.update((one[:_HELD_LENGTH], one[:_COMPARED]) for one in list(_signatures))
            _starts[run[:_HELD_LENGTH]] = run[:_COMPARED]


def _hold(held: dict[str, None], secret: str, most: int) -> None:
    if secret not in held:
        while len(held) >= most:
            held.pop(next(iter(held)), None)
        held[secret] = None


def redact(text: str) -> str:
    """Return *text* with keys, credentials and signed query strings replaced."""
    # Functions, for a template would be compiled at need, and nothing can be imported when the interpreter ends.
    text = _KEY.sub(lambda _: "dtvi_***", text)
    for key in list(_keys):
        text = text.replace(key, "***")
    text = _BEARER.sub(lambda found: f"{found[1]} ***", text)
    text = _URL.sub(_without_secrets, text)
    text = _SIGNATURE.sub(lambda found: f"{found[1]}***", text)
    return _RUN.sub(_unless_held, text) if _signatures else text


def _without_secrets(match: re.Match[str]) -> str:
    scheme, user, place, query = match.groups()
    return f"{scheme}{'***@' if user else ''}{place}{'?***' if query else ''}"


def _unless_held(match: re.Match[str]) -> str:
    run = match[0]
    if run in _signatures:
        return "***"
    for at in range(len(run) - _HELD_LENGTH + 1):  # other letters may stand around it
        start = _starts.get(run[at : at + _HELD_LENGTH])
        if start is not None and run.startswith(start, at):
            return f"{run[:at]}***"
    return run


def limited(text: str, length: int = MESSAGE_LENGTH) -> str:
    """Return *text* redacted and at most *length* characters long; no more than four times that is looked at."""
    text = redact(text[: 4 * length])
    return text if len(text) <= length else text[: length - len(CUT)] + CUT


def limited_value(value: Any) -> Any:
    """Return a JSON-like *value* with its texts and keys redacted, bounded in depth, in values and in length."""
    return _limited(value, DETAIL_DEPTH, iter(range(DETAIL_VALUES)))


def _limited(value: Any, depth: int, places: Iterator[int]) -> Any:
    if isinstance(value, str):
        return limited(value, DETAIL_LENGTH)
    if isinstance(value, Mapping):
        if depth == 0:
            return CUT
        found: dict[str, Any] = {}
        for key, inner in value.items():
            if next(places, None) is None:
                found[CUT] = f"{len(value) - len(found)} more"
                break
            found[limited(str(key), WORD_LENGTH)] = _limited(inner, depth - 1, places)
        return found
    if isinstance(value, (list, tuple)):
        if depth == 0:
            return CUT
        items: list[Any] = []
        for inner in value:
            if next(places, None) is None:
                items.append(f"{CUT} {len(value) - len(items)} more")
                break
            items.append(_limited(inner, depth - 1, places))
        return items
    if isinstance(value, int) and value.bit_length() > 1024:
        return CUT  # it could not even be written as text
    return value
