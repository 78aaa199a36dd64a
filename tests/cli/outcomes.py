"""What a command came to, and the check that holds for the output of every one."""

from __future__ import annotations

import json
import re
from typing import Any

import attrs


@attrs.frozen
class Outcome:
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    def json(self) -> Any:
        return json.loads(self.out)

    def json_lines(self) -> list[Any]:
        return [json.loads(line) for line in self.lines]


PART = 12
"""How many characters of a key in a row are a part of it."""


def check_no_secret(text: str, secret_key: str) -> None:
    """Fail when a key, a part of one, or the signed query of a URL has been printed."""
    secret = secret_key.removeprefix("dtvi_")
    assert not any(secret[at : at + PART] in text for at in range(len(secret) - PART + 1))
    assert not re.search(r"dtvi_[A-Za-z0-9_-]{4}", text)
    assert not re.search(r"(?i)(\b(signature|sig|token)|[?&]x-[a-z-]+)=(?!\*\*\*)", text)
