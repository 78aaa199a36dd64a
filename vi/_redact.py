"""The one place that hides secrets: keys and the query strings of signed URLs, in any text that people may see."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_KEY = re.compile(r"dtvi_[A-Za-z0-9_-]{4,}")
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}")
_QUERY = re.compile(r"(?i)(\bhttps?://[^\s?\"'<>\\]+)\?[^\s\"'<>\\)\]}]*")
_USERINFO = re.compile(r"(?i)(\bhttps?://)[^\s/@\"']+@")
_SIGNATURE = re.compile(r"(?i)((?:x-[a-z0-9-]*signature|x-amz-credential|sig|signature)=)[^&\s\"']+")


def redact(text: str) -> str:
    """Return *text* with keys, credentials and signed query strings replaced."""
    # Functions, for a template would be compiled at need, and nothing can be imported when the interpreter ends.
    text = _KEY.sub(lambda _: "dtvi_***", text)
    text = _BEARER.sub(lambda found: f"{found[1]} ***", text)
    text = _USERINFO.sub(lambda found: f"{found[1]}***@", text)
    text = _QUERY.sub(lambda found: f"{found[1]}?***", text)
    return _SIGNATURE.sub(lambda found: f"{found[1]}***", text)


def redact_value(value: Any) -> Any:
    """Redact every text inside a JSON-like *value*."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {str(k): redact_value(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [redact_value(v) for v in value]
    return value
