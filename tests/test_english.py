"""The words of the project are the field's: phrases that a reader must translate do not come back."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

PHRASES = {
    r"g(?:o|oes|one|oing) on with": "resume",
    r"(?:come|comes|came|coming) to (?:its|their) end": "finish",
    r"(?:bear|bears|bore) (?:a|its|their|the final|the wire) names?": "have a name",
    r"le(?:t|ts|tting) go of": "release, close",
    r"is no (?:image|picture|file|option|regular file|instruction|plan|page|failure|error here)": "is not a ...",
    r"half-written": "partly written",
    r"is told of|are told of|told of (?:requests|every|what)": "is called, is reported",
    r"the greatest first": "in descending order",
    r"for good\b": "permanently",
    r"do not mind": "ignore",
    r"there is no such": "does not exist",
    r"passing reason": "transient",
    r"taken? leave of": "exit",
    r"who runs the service": "the service operator",
    r"make room|room is made": "free space",
    r"again and again": "repeatedly",
    r"\b(?:go|goes|going|gone|went) on\b(?! (?:the|a|an|every|which)\b)": "continue, resume",
    r"\bmeanwhile\b": "during ...",
    r"\b(?:told apart|tells? (?:them|two|it) apart)": "are distinct, differ",
    r"\bfor want of\b": "without",
    r"(?<!there )\bis no (?:time|URL|number|text|asset|dataset)\b": "is not a ...",
    r"\bthe far side\b": "the worker, the service",
    r"\bdead (?:run|download|upload)": "interrupted",
    r"\bmend(?:s|ed|ing)?\b": "fix",
    r"\bwhoever (?:runs|has|can)\b": "anyone who, the operator",
    r"\bstands? there\b|\bstands? in the way\b": "is, limits",
    r"\bstraight (?:to|from|into)\b": "directly",
    r"\bof one name\b": "with the same name",
}
"""What is not written, and what is written instead."""


def texts() -> Iterator[tuple[Path, str]]:
    for pattern in (
        "README.md",
        "CHANGELOG.md",
        "docs/**/*.md",
        "docs/**/*.rst",
        "docs/**/*.ipynb",
        "vi/**/*.py",
        "vi/**/*.js",
    ):
        for path in sorted(ROOT.glob(pattern)):
            if "_build" not in path.parts:
                yield path.relative_to(ROOT), path.read_text("utf-8")


TEXTS = dict(texts())


@pytest.mark.parametrize("phrase", PHRASES)
def test_a_phrase_that_must_be_translated_is_not_there(phrase: str) -> None:
    found = [
        f"{path}:{number}: {line.strip()[:120]}"
        for path, text in TEXTS.items()
        for number, line in enumerate(text.splitlines(), 1)
        if re.search(phrase, line, flags=re.IGNORECASE)
    ]
    assert found == [], f"write: {PHRASES[phrase]}"


def test_the_search_reads_the_project() -> None:
    assert len(TEXTS) > 200
