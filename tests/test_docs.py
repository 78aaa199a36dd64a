"""Every block of the documentation runs, each page from its top, and every error has its place in it."""

from __future__ import annotations

import argparse
import ast
import importlib
import re
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest

import vi
from tests.support.readme_blocks import ROOT, Section, check_printed, page, refused_when_pasted
from vi import _media
from vi.cli import build_parser, exits
from vi.server.identity import Identity
from vi.server.inspection.frames import InspectionLimits
from vi.server.store import assets, query_grammar
from vi.testing.faults import Faults

DOCS = ROOT / "docs"
PAGES = [
    page(str(path.relative_to(DOCS)), path.read_text("utf-8"))
    for path in sorted(DOCS.rglob("*.md"))
    if "_build" not in path.parts
]
(FIRST_STEPS,) = (one for one in PAGES if one.title == "first-steps.md")
ERRORS = (DOCS / "errors.md").read_text("utf-8")


@pytest.mark.timeout(300)  # a page is many commands
@pytest.mark.parametrize("whole", [one for one in PAGES if one.to_run], ids=lambda one: one.title)
def test_the_blocks_of_a_page_run_and_print_no_secret(
    whole: Section, reader: Callable[..., dict[str, Any]], capfd: pytest.CaptureFixture[str]
) -> None:
    (block,) = [block for block in FIRST_STEPS.blocks if '.save(f"images/' in block.text]
    shutil.rmtree("images")  # the pages say what they print for the folder that this page makes
    exec(block.text, {})
    reader(whole, whole.title)
    check_printed("".join(capfd.readouterr()))


README = page("README.md", (ROOT / "README.md").read_text("utf-8"))


@pytest.mark.parametrize("whole", [README, *PAGES], ids=lambda one: one.title)
def test_blocks_can_be_pasted_into_an_interactive_python(whole: Section) -> None:
    blocks = [block for block in whole.blocks if block.language == "python" and not block.is_test]
    refused = {block.line: lines for block in blocks if (lines := refused_when_pasted(block.text))}
    assert not refused, "end a block with an empty line, and leave none within it"


def test_what_an_interactive_python_refuses() -> None:
    assert refused_when_pasted("for n in (1,):\n    n\nn\n") == ["n"]
    assert refused_when_pasted("if 1:\n    2\n\n    3\n") == ["    3"]
    assert refused_when_pasted("for n in (1,):\n    n\n\nasync with a as b:\n    b\n") == []


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


def bare_codes() -> list[str]:
    """Every word like ``ECORRUPT`` that the client's modules have as a string instead of a `FileCode`."""
    return [
        f"{path.name}:{node.lineno}: {node.value}"
        for path in (ROOT / "vi").rglob("*.py")
        if path.name not in ("codes.py", "responses.py")  # the service's own words are an enumeration there
        if not {"server", "contract"} & set(path.relative_to(ROOT / "vi").parts)
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if re.fullmatch(r"E[A-Z]{2,}", node.value)
    ]


def tree(cls: type[vi.ViError]) -> Iterator[str]:
    yield cls.__name__
    for below in cls.__subclasses__():
        if below.__module__ == "vi.errors":
            yield from tree(below)


def test_codes_of_files_are_members_of_one_enumeration() -> None:
    assert bare_codes() == []
    assert set(vi.AssetIngestionError.__members__) <= set(vi.FileCode.__members__)
    for code in vi.FileCode:
        assert code.meaning
        assert not (code.of_the_disk and code.temporary)
        assert not code.cut_short or code.temporary
        assert not code.read_only or code.of_the_disk
    assert [code for code in vi.FileCode if code.temporary] == ["ECANCELLED", "ENETWORK", "ETIMEOUT"]
    assert repr(vi.FileCode.EIO) == "'EIO'"


def test_every_code_and_class_has_an_entry_and_no_other_is_there() -> None:
    assert set(entries()) == {str(code) for code in vi.FileCode} | {str(code) for code in vi.ViErrorCode} | set(
        tree(vi.ViError)
    )


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


# Pages that say what the code says.


def table(name: str, heading: str) -> list[list[str]]:
    """The rows of the first table below a heading, each as its cells without backticks."""
    text = (DOCS / name).read_text("utf-8")
    _, _, below = text.partition(f"\n{heading}\n")
    assert below, f"{name} has no heading {heading!r}"
    rows = re.search(r"(?:^\|.*\n)+", below, flags=re.MULTILINE)
    assert rows is not None
    cells = [[cell.strip().replace("`", "") for cell in row.strip("|").split(" | ")] for row in rows[0].splitlines()]
    return cells[2:]


def test_every_path_on_the_pages_for_developers_exists() -> None:
    texts = [(DOCS / name).read_text("utf-8") for name in ("architecture.md", "contributing.md", "architecture.svg")]
    paths = set(re.findall(r"\b(?:vi|tests|benchmarks|docs)/[\w./-]*\w", "\n".join(texts)))
    assert len(paths) > 50
    made_up = {"benchmarks/bench_NAME.py"}
    assert sorted(path for path in paths - made_up if not (ROOT / path).exists()) == []


def test_every_folder_of_the_package_is_among_the_rooms() -> None:
    named = {name for row in table("architecture.md", "## The rooms") for name in row[0].split(", ")}
    folders = {path.parent.relative_to(ROOT).as_posix() for path in (ROOT / "vi").rglob("*.py")}
    parts = {"vi/server/store/migrations", "vi/server/store/migrations/versions", "vi/_pyinstaller/rthooks"}
    assert folders - named == parts


def test_every_name_that_the_map_gives_with_a_file_is_in_that_file() -> None:
    text = (DOCS / "architecture.md").read_text("utf-8")
    places = re.findall(r"`(vi/[\w/]+\.py)` \(`([\w.]+)`\)", text)
    places += [(path, name) for name, path in re.findall(r"`([\w.]+)` of `(vi/[\w/]+\.py)`", text)]
    assert len(places) >= 5
    missing = []
    for path, name in places:
        body: list[ast.stmt] = ast.parse((ROOT / path).read_text("utf-8")).body
        for part in name.split("."):
            kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
            found = [node for node in body if isinstance(node, kinds) and node.name == part]
            missing += [f"{path}: {name}"] if not found else []
            body = found[0].body if found else []
    assert missing == []


def test_contributing_lists_the_sessions_of_nox_and_those_of_the_gate() -> None:
    nox = (ROOT / "noxfile.py").read_text("utf-8")
    sessions = set(re.findall(r"^@nox\.session.*\n(?:@nox\..*\n)*def (\w+)", nox, flags=re.MULTILINE))
    assert {row[0] for row in table("contributing.md", "## Checks")} == sessions
    text = re.sub(r"[\\\s]+", " ", (DOCS / "contributing.md").read_text("utf-8"))
    (fast,) = re.findall(r'^FAST = "(.*)"$', nox, flags=re.MULTILINE)
    assert f'-m "{fast}"' in text
    (listed,) = re.findall(r"`\.ci/run` runs ([^;]*);", text)
    gate = re.findall(r"nox -s ((?:\w+ ?)+\b)", (ROOT / ".ci/run").read_text("utf-8"))
    assert set(re.findall(r"`(\w+)`", listed)) == set(" ".join(gate).split())


def test_the_hooks_before_a_commit_run_what_lint_runs() -> None:
    (lint,) = re.findall(
        r"^def lint\(.*?(?=^@nox)", (ROOT / "noxfile.py").read_text("utf-8"), flags=re.MULTILINE | re.DOTALL
    )
    run = [re.findall(r'"([^"]+)"', call) for call in re.findall(r"session\.run\((.*?)\)", lint, flags=re.DOTALL)]
    hooks = (ROOT / ".pre-commit-config.yaml").read_text("utf-8")
    entries = re.findall(r"entry: (.*)", hooks), re.findall(r"args: \[(.*)\]", hooks)
    assert [entry.split() + re.findall(r'"([^"]+)"', args) for entry, args in zip(*entries, strict=True)] == run


def test_every_environment_variable_of_the_code_is_in_the_table() -> None:
    named = {
        name for row in table("settings.md", "## Environment variables") for name in re.findall(r"[A-Z_]{2,}", row[0])
    }
    read = set()
    for path in (ROOT / "vi").rglob("*.py"):
        text = path.read_text("utf-8")
        read |= set(re.findall(r'"((?:DATATURE_VI|VI)_[A-Z_]+)"', text))
        read |= set(re.findall(r'environ(?:\.get)?[\[(]"([A-Z_]+)"', text))
    assert len(read) > 10
    assert read - named == set()
    quoted = {
        name for path in (ROOT / "vi").rglob("*.py") for name in re.findall(r'"([A-Z_]+)"', path.read_text("utf-8"))
    }
    assert named - quoted <= {"HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "SSL_CERT_FILE"}  # read by Python and aiohttp


def test_the_tables_of_settings_have_every_field_with_its_default() -> None:
    classes = (vi.Timeouts, vi.RetryPolicy, vi.TransferLimits)
    fields = {f"{cls.__name__}.{field.name}": repr(field.default) for cls in classes for field in attrs.fields(cls)}
    assert {row[0]: row[1] for row in table("settings.md", "## In a program")} == fields


def test_the_page_of_queries_has_the_grammar_and_every_path() -> None:
    text = (DOCS / "queries.md").read_text("utf-8")
    for line in re.findall(r"^    (\w+ +=.*)$", query_grammar.__doc__ or "", flags=re.MULTILINE):
        assert line in text
    paths = {name for row in table("queries.md", "## Filtering by fields") for name in re.findall(r"[\w.]+", row[0])}
    known = assets.columns(Identity("org", "name", "user", 0, "key", "key"), "dataset")
    assert known.keys() - {"metadata.dimensions.width", "metadata.dimensions.height"} <= paths
    for limit in (query_grammar.MAX_LENGTH, query_grammar.MAX_COMPARISONS, query_grammar.MAX_DEPTH):
        assert f"{limit:,} " in text


def test_the_page_of_refusals_has_every_type_and_the_limit_of_pixels() -> None:
    rows = table("refused.md", "## Supported types")
    assert {name for row in rows for name in re.findall(r"\.\w+", row[1])} == {*_media.IMAGE_TYPES, *_media.VIDEO_TYPES}
    assert f"{InspectionLimits().max_pixels:,} pixels" in (DOCS / "refused.md").read_text("utf-8")


def test_the_reference_of_the_command_line_has_every_command_and_option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(DOCS))
    command_line = importlib.import_module("command_line")
    text = command_line.reference()
    commands = list(command_line.commands(build_parser()))
    assert len(commands) > 20
    for command in commands:
        assert f"\n.. program:: {command.prog}\n" in text
        for action in (one for one in command._actions if one.help != argparse.SUPPRESS):
            assert all(
                f"{name} " in text or f"{name}\n" in text or f"{name}," in text for name in action.option_strings
            )


def test_the_table_of_wheels_has_every_dependency_as_its_markers_and_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(DOCS))
    wheels = importlib.import_module("wheels")
    text = wheels.PAGE.read_text("utf-8")
    _, below, after = re.split(f"{wheels.START}|{wheels.END}", text)
    markers = {requirement.name: requirement.marker for requirement in wheels.requirements()}
    assert sorted(re.findall(r"`([^`]+)`", below)) == sorted(markers), "run docs/wheels.py"

    def using(cell: str) -> set[int]:
        if cell in ("source", "none"):
            return set(wheels.PYTHONS)
        spans = re.findall(r"3\.(\d+)(?: to 3\.(\d+))?", cell)
        return {minor for first, last in spans for minor in range(int(first), int(last or first) + 1)}

    rows = [(name, row[1:]) for row in table("platforms.md", wheels.START.strip()) for name in row[0].split(", ")]
    for name, cells in rows:
        for platform, cell in zip(wheels.PLATFORMS, cells, strict=True):
            marked = {
                minor
                for minor in wheels.PYTHONS
                if (marker := markers[name]) is None or marker.evaluate(platform.environment(minor))
            }
            assert using(cell) == marked, (name, platform.title)
    gaps = {name for name, cells in rows if set(cells) != {wheels.span(wheels.PYTHONS)}}
    assert gaps <= set(re.findall(r"^\| `([^`]+)` \(", after, flags=re.MULTILINE))
