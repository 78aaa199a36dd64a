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


def check_no_secret(text: str, secret_key: str) -> None:
    """Fail when a key or the signature of a URL has been printed."""
    assert secret_key not in text
    assert not re.search(r"dtvi_[A-Za-z0-9_-]{4}", text)
    assert not re.search(r"(?i)(signature|sig|token)=(?!\*\*\*)", text)
