"""Patterns: any iterable, what .gitignore means, and never open when they should be shut."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import vi
from vi._transfer import file_system
from vi._transfer.discovery import discover
from vi._transfer.filters import IGNORE_FILE, Filters, read_patterns

TREE = ("a.png", "private/b.png", "private/deep/c.png", "x/private/d.png", "x/e.gif", "private.png", "x/top.png")
PATTERNS = (
    "private", "private/", "/private", "/private/", "private/*", "/private/*", "private/**", "**/private/**",
    "**/private", "*.gif", "**/*.png", "/*.png", "x/*.png", "x/", "!x/top.png", "!private/b.png", "*", "!*.png",
    "[ab].png", "?.png", "deep", "/deep", "private/deep/", "\\!x", "e.gif", "**", "!**/d.png",
)  # fmt: skip


def make_tree(root: Path) -> Path:
    for name in TREE:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def taken(root: Path, **filters: Any) -> set[str]:
    return {record.filename for record in discover(str(root), "relative", Filters(**filters), may_be_empty=True)}


KINDS: list[Callable[[list[str]], Any]] = [list, tuple, set, frozenset, iter, dict.fromkeys, lambda p: map(str, p)]


@pytest.mark.parametrize("kind", KINDS)
@given(patterns=st.lists(st.sampled_from([pattern for pattern in PATTERNS if "!" not in pattern]), unique=True))
def test_every_iterable_is_read_once_and_whole(kind: Callable[[list[str]], Any], patterns: list[str]) -> None:
    assert sorted(read_patterns(kind(patterns), "exclude")) == sorted(patterns)


def test_none_means_none_and_a_text_is_one_pattern() -> None:
    assert read_patterns(None, "include") == ()
    assert read_patterns("*.png", "include") == ("*.png",)
    assert read_patterns((p for p in ("a", "b")), "include") == ("a", "b")


@pytest.mark.parametrize(
    "bad", [5, True, b"*.png", bytearray(b"x"), [b"x"], [None], ["a", 3], [["a"]], [Path("a")]], ids=repr
)
def test_what_cannot_be_patterns_is_refused(bad: Any) -> None:
    with pytest.raises(vi.ViInvalidParameterError, match="exclude") as raised:
        read_patterns(bad, "exclude")
    assert raised.value.parameter == "exclude"


@pytest.mark.parametrize("bad", ["", "  ", "#private", "/", "//", "!", "a\\", "a\nb"], ids=repr)
def test_a_pattern_that_can_match_nothing_is_refused(bad: str) -> None:
    with pytest.raises(vi.ViInvalidParameterError, match="exclude"):
        read_patterns([bad], "exclude")


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("git") is None:
        pytest.skip("git is the reference")
    root = make_tree(tmp_path_factory.mktemp("repository"))
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    return root


@given(patterns=st.lists(st.sampled_from(PATTERNS), max_size=4))
def test_patterns_mean_what_git_means(repository: Path, patterns: list[str]) -> None:
    (repository / ".gitignore").write_text("\n".join(patterns))
    listed = subprocess.run(
        ["git", "-C", str(repository), "ls-files", "-o", "--exclude-standard", "-z"], check=True, capture_output=True
    )
    seen = {name for name in listed.stdout.decode().split("\0") if name and not name.startswith(".")}
    assert taken(repository, exclude=patterns) == seen
    filters = Filters(exclude=patterns)
    assert {name for name in TREE if filters.takes(name)} == seen, "remote names follow the same rule"


@given(
    patterns=st.lists(st.sampled_from(PATTERNS), max_size=3), included=st.lists(st.sampled_from(PATTERNS), max_size=2)
)
def test_names_and_files_are_told_apart_alike(
    tmp_path_factory: pytest.TempPathFactory, patterns: list[str], included: list[str]
) -> None:
    root = tmp_path_factory.getbasetemp() / "alike"
    if not root.exists():
        make_tree(root)
    filters = Filters(include=included, exclude=patterns)
    names = {name for name in TREE if filters.takes(name)}
    assert taken(root, include=included, exclude=patterns) == names


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads everything")
@pytest.mark.parametrize("pattern", ["locked", "locked/", "/locked/", "**/locked", "./locked"])
def test_an_excluded_folder_that_cannot_be_read_is_no_error(tmp_path: Path, pattern: str) -> None:
    make_tree(tmp_path)
    (tmp_path / "locked").mkdir(mode=0)
    assert not discover(str(tmp_path), "relative", Filters(exclude=[pattern])).broken
    assert discover(str(tmp_path), "relative", Filters()).broken


def test_an_excluded_folder_is_not_walked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_tree(tmp_path)
    walked = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: walked.append(str(path)) or scandir(path))
    inventory = discover(str(tmp_path), "relative", Filters(exclude=["private/"]))
    assert not any("private" in path for path in walked)
    assert inventory.skip_reasons["excluded folder"] == 2


@pytest.mark.parametrize(
    ("patterns", "is_walked"),
    [
        (["a/b/**"], False),
        (["a/b/*"], False),
        (["/a/b/**"], False),
        (["./a/b/*"], False),
        (["**/b/**"], False),
        (["**/b/*"], False),
        (["a/b/**", "!a/b/kept.png"], True),
        (["a/b/*.png"], True),
        (["b/**"], True),
    ],
)
def test_a_folder_of_which_all_is_excluded_is_not_walked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patterns: list[str], is_walked: bool
) -> None:
    for name in ("a/b/c/one.png", "a/b/kept.png", "a/two.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    walked = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: walked.append(Path(path)) or scandir(path))
    filters = Filters(exclude=patterns)
    inventory = discover(str(tmp_path), "relative", filters)
    assert (tmp_path / "a/b" in walked) is is_walked
    assert "a/two.png" in {record.filename for record in inventory}
    assert filters.notes == (["exclude 'b/**' matched nothing"] if patterns == ["b/**"] else [])


@pytest.mark.parametrize(
    "pattern", ["caf\u00e9/", "cafe\u0301/", "/caf\u00e9/**", "**/cafe\u0301", "\u00f6.png", "[o\u0308].png"]
)
def test_letters_are_the_same_however_their_accents_are_written(pattern: str) -> None:
    """A disk may hold the one form and the dataset the other; what is excluded must be so in both."""
    for name in ("caf\u00e9/\u00f6.png", "cafe\u0301/o\u0308.png", "caf\u00e9/o\u0308.png"):
        filters = Filters(exclude=(pattern,))
        assert not filters.takes(name)
        assert filters.notes == []
        assert Filters(include=(pattern,)).takes(name)
    assert Filters(exclude=(pattern,)).takes("cafe/o.png")


@pytest.mark.parametrize("pattern", ["private/", "PRIVATE", "/Private/**", "*.PNG", "[a-b].png", "[A-B].png"])
def test_case_is_ignored_where_the_disk_ignores_it(monkeypatch: pytest.MonkeyPatch, pattern: str) -> None:
    names = ("private/b.png", "Private/B.PNG")
    for folds in (False, True):
        monkeypatch.setattr(file_system, "FOLDS", folds)
        assert all(Filters(include=(pattern,)).takes(name) for name in names) is folds
    for name in names:
        excluding = Filters(exclude=(pattern,))
        assert not excluding.takes(name)
        assert excluding.notes == []


def test_patterns_that_matched_nothing_are_named(tmp_path: Path) -> None:
    make_tree(tmp_path)
    filters = Filters(include=["*.png", "*.bmp"], exclude=["private/", "privat/", "!x/top.png"])
    inventory = discover(str(tmp_path), "relative", filters)
    assert inventory.notes == ["include '*.bmp' matched nothing", "exclude 'privat/' matched nothing"]


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_viignore_is_read_with_every_line_end(tmp_path: Path, ends: str, mark: bytes) -> None:
    make_tree(tmp_path)
    lines = ["private/", "# a comment", "", "*.gif", "!kept.gif"]
    (tmp_path / IGNORE_FILE).write_bytes(mark + ends.join(lines).encode())
    assert taken(tmp_path) == {"a.png", "private.png", "x/top.png"}
    assert taken(tmp_path, exclude=["!e.gif"]) == {"a.png", "private.png", "x/top.png", "x/e.gif"}


@pytest.mark.parametrize("contents", [b"\xff\xfe*\0", b"a\\\n", b"!\n"], ids=repr)
def test_a_viignore_that_cannot_be_understood_stops_everything(tmp_path: Path, contents: bytes) -> None:
    make_tree(tmp_path)
    (tmp_path / IGNORE_FILE).write_bytes(contents)
    with pytest.raises((vi.ViPathError, vi.ViInvalidParameterError), match=r"\.viignore"):
        taken(tmp_path)


def test_a_viignore_that_cannot_be_read_stops_everything(tmp_path: Path) -> None:
    make_tree(tmp_path)
    (tmp_path / IGNORE_FILE).mkdir()
    with pytest.raises(vi.ViPathError, match=r"\.viignore"):
        taken(tmp_path)
