"""The result of a contract check: one row for each question, safe to share as it is.

Nothing of an answer is copied. A row holds the question as a path template, the contract's own words, and of what came
only types, numbers, lengths, status codes and words of letters that occur in none of the client's secrets.
"""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import attrs

from .._version import __version__

Outcome = Literal["holds", "differs", "skipped", "measured"]
Meaning = Literal["", "harmless", "handled", "risk"]

_WORD = re.compile(r"[A-Za-z][A-Za-z/-]{0,39}")
_SHARED = 6
"""A word that has this many letters in a row in common with a secret is not shown."""


@attrs.frozen
class Finding:
    """One row: what was asked, what the contract says, what came, and what that means for users.

    *rule* names the check and *section* the part of the wire contract that it holds the service to. *means* is empty
    where the contract holds; else ``harmless`` (nothing depends on it), ``handled`` (the client copes) or ``risk``
    (*feature* may fail or work differently).
    """

    rule: str
    section: str
    asked: str
    expected: str
    came: str
    outcome: Outcome
    means: Meaning = ""
    feature: str = ""

    def to_dict(self) -> dict[str, str]:
        """Return the row as plain text values."""
        return attrs.asdict(self)


@attrs.frozen
class Report:
    """Everything that a check of the contract found."""

    findings: tuple[Finding, ...]
    seconds: float
    wrote: bool
    left: str | None = None
    """What could not be removed after a writing check, and how to remove it."""

    @property
    def ok(self) -> bool:
        """Whether no row is a risk and nothing was left behind."""
        return self.left is None and not any(one.means == "risk" for one in self.findings)

    def differing(self) -> list[Finding]:
        """Return the rows in which the service differs from the contract."""
        return [one for one in self.findings if one.outcome == "differs"]

    def counts(self) -> dict[str, int]:
        """Return how many rows hold, differ (by meaning), were skipped or only measured."""
        found = {"holds": 0, "harmless": 0, "handled": 0, "risk": 0, "skipped": 0, "measured": 0}
        for one in self.findings:
            found[one.means if one.outcome == "differs" and one.means else one.outcome] += 1
        return found

    def summary(self) -> str:
        """Return one line for people."""
        counts = self.counts()
        told = [f"{counts[name]} {words}" for name, words in _WORDS.items() if counts[name]]
        return f"Contract: {', '.join(told) or 'nothing was checked'} ({self.seconds:.1f} s)."

    def lines(self) -> Iterator[str]:
        """Yield the report as JSON lines: the surroundings, then the rows, then the counts."""
        yield json.dumps({"report": "vi contract", **surroundings(), "wrote": self.wrote})
        for one in self.findings:
            yield json.dumps(one.to_dict())
        yield json.dumps({"counts": self.counts(), "seconds": round(self.seconds, 3), "left": self.left})

    def markdown(self) -> str:
        """Return a short summary for a bug report: the surroundings and every row that differs."""
        about = surroundings()
        rows = self.differing()
        head = [
            "# Check of the Vi wire contract",
            "",
            f"vi {about['vi']}, Python {about['python']}, {about['platform']}; "
            f"{'reading and writing' if self.wrote else 'reading only'}",
            "",
            self.summary(),
        ]
        if self.left:
            head += ["", self.left]
        if not rows:
            return "\n".join([*head, ""])
        table = ["", "| Rule | Section | Asked | Expected | Came | Means | Feature |", "|---|---|---|---|---|---|---|"]
        table += [
            "| " + " | ".join(_cell(text) for text in (one.rule, one.section, one.asked, one.expected, one.came,
                                                        one.means, one.feature)) + " |"
            for one in rows
        ]  # fmt: skip
        return "\n".join([*head, *table, ""])


_WORDS = {
    "holds": "hold",
    "harmless": "differ harmlessly",
    "handled": "differ and are handled",
    "risk": "are a risk",
    "skipped": "were skipped",
    "measured": "were measured",
}


def surroundings() -> dict[str, str]:
    """Return versions and platform; no name of a host, a user or a service."""
    return {"vi": __version__, "python": platform.python_version(), "platform": f"{platform.system()} {os.name}"}


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


class Safe:
    """Describes values of an answer without copying what could be private."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = [one.lower() for one in secrets if one]

    def __call__(self, value: Any) -> str:
        """Describe a value: numbers and truth values as they are, text only where it is a plain word."""
        match value:
            case None:
                return "nothing"
            case bool():
                return "true" if value else "false"
            case int() | float():
                return f"{value:.6g}" if isinstance(value, float) else f"number of {len(str(abs(value)))} digits"
            case str():
                return self.word(value)
            case list():
                return f"list of {len(value)}"
            case dict():
                return f"object of {len(value)} fields"
            case _:
                return type(value).__name__

    def word(self, text: str) -> str:
        """Return *text* where it is a plain word that occurs in no secret, else its length."""
        if _WORD.fullmatch(text) and not self._is_in_a_secret(text.lower()):
            return text
        return f"text of {len(text)} characters"

    def _is_in_a_secret(self, text: str) -> bool:
        parts = {text[at : at + _SHARED] for at in range(max(1, len(text) - _SHARED + 1))}
        return any(part in secret for secret in self._secrets for part in parts)
