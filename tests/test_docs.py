"""Every block of the documentation runs, each page from its top, and every error has its place in it."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest

import vi
from tests.readme_blocks import ROOT, Section, check_printed, page
from vi.cli import exits
from vi.testing.faults import Faults

DOCS = ROOT / "docs"
PAGES = [
    page(str(path.relative_to(DOCS)), path.read_text("utf-8"))
    for path in sorted(DOCS.rglob("*.md"))
    if "_build" not in path.parts
]
ERRORS = (DOCS / "errors.md").read_text("utf-8")


@pytest.mark.timeout(300)  # a page is many commands
@pytest.mark.parametrize("whole", [one for one in PAGES if one.to_run], ids=lambda one: one.title)
def test_the_blocks_of_a_page_run_and_print_no_secret(
    whole: Section, reader: Callable[..., dict[str, Any]], capfd: pytest.CaptureFixture[str]
) -> None:
    reader(whole, whole.title)
    check_printed("".join(capfd.readouterr()))


def test_what_is_not_run_says_why_and_is_little() -> None:
    exempt = [(one.title, block.exempt) for one in PAGES for block in one.blocks if block.exempt is not None]
    assert [(title, reason) for title, reason in exempt if len(reason.split()) < 4] == []
    run = sum(len(one.to_run) for one in PAGES)
    assert run >= 50
    assert len(exempt) <= run // 4


def first_cells(name: str) -> list[str]:
    """The cells of the first column of a page's tables, as they are written."""
    return re.findall(r"^\| ([^|]+?) \|", (DOCS / name).read_text("utf-8"), flags=re.MULTILINE)


def test_exit_codes_limits_and_faults_are_all_there() -> None:
    assert {int(cell) for cell in first_cells("shell.md") if cell.isdecimal()} == {code for code, _ in exits.TABLE}
    limits = {field.name for field in attrs.fields(vi.TransferLimits)}
    assert {f"`{name}`" for name in limits} <= set(first_cells("large-files.md"))
    faults = {name for name in vars(Faults) if not name.startswith("_")} - {"aclose", "clear", "middleware"}
    assert {cell.strip("`").partition("(")[0] for cell in first_cells("testing.md") if "(" in cell} == faults


# The page of errors.


def entries() -> dict[str, str]:
    """The texts below the headings of the third and fourth level, by the first word of each."""
    _, *parts = re.split(r"^#{3,4} (.+)$", ERRORS, flags=re.MULTILINE)
    return {
        title.split()[0]: re.split(r"^## ", text, maxsplit=1, flags=re.MULTILINE)[0]
        for title, text in zip(parts[::2], parts[1::2], strict=True)
    }


def codes_in_the_source() -> set[str]:
    """Every word like ``ECORRUPT`` that the package has as a whole string."""
    found: set[str] = set()
    for path in (ROOT / "vi").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            value = node.value if isinstance(node, ast.Constant) else None
            if isinstance(value, str) and re.fullmatch(r"E[A-Z]{2,}", value):
                found.add(value)
    return found


def tree(cls: type[vi.ViError]) -> Iterator[str]:
    yield cls.__name__
    for below in cls.__subclasses__():
        if below.__module__ == "vi.errors":
            yield from tree(below)


def test_every_code_and_class_has_an_entry_and_no_other_is_there() -> None:
    codes = codes_in_the_source()
    assert len(codes) > 20, "the search for codes finds little"
    assert set(entries()) == codes | {str(code) for code in vi.ViErrorCode} | set(tree(vi.ViError))


@pytest.mark.parametrize("name", sorted(entries()))
def test_an_entry_says_whether_a_retry_helps_and_how_to_fix_it(name: str) -> None:
    text = " ".join(entries()[name].split())
    assert re.search(r"\*\*Retry:\*\* \S", text)
    assert re.search(r"\*\*Fix:\*\* \S", text)
    assert len(text) > 60


def test_the_page_and_the_errors_agree_on_retries() -> None:
    for code in vi.ViErrorCode:
        said = re.search(r"\*\*Retry:\*\* (\w+)", " ".join(entries()[code].split()))
        assert said is not None
        assert (said[1] == "yes") is vi.ViError("", error_code=code).is_retryable(), code
