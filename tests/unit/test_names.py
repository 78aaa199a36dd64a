"""The map of names: inside the folder on every platform, read back from the path alone, and twins apart."""

from __future__ import annotations

import os
import unicodedata
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vi._transfer.names import (
    LIMIT,
    LONGEST,
    POSIX,
    STRICT,
    LocalNames,
    NameRules,
    apart,
    key_of,
    local_path,
    remote_name,
)

HOSTILE = [
    "",
    ".",
    "..",
    "...",
    "../../etc/passwd",
    "..\\..\\windows\\system32",
    "/etc/passwd",
    "\\\\server\\share\\x.png",
    "//server/share/x.png",
    "C:\\x.png",
    "C:x.png",
    "a.png:stream",
    "con",
    "CON.png",
    "con .png",
    "Nul.tar.gz",
    "COM1",
    "com1.png",
    "LPT9.txt",
    "com¹.png",
    "conin$",
    "aux . png",
    "a\0b.png",
    "a\nb.png",
    "\x1b[31mred.png",
    "a\x7f.png",
    "a\x9b31m.png",
    "trailing.png.",
    "trailing.png ",
    "trailing.png . .",
    " leading.png",
    "\u202egnp.exe",
    "a\u2066b.png",
    "\ud800.png",
    'quo"te<>|?*.png',
    "-rf.png",
    "~.png",
    "x" * 1000 + ".png",
    "ü" * 300 + ".jpeg",
    "x" * 300,
    "a." + "y" * 300,
    "x" * (1 << 20),
    "\u3000",
    "..\u3000",
    "\u00a0.png",
]

HARMLESS = [
    "cat.png",
    "my cat (1).png",
    "50%25#1.png",
    "naïve.png",
    "日本語.png",
    "😀.webp",
    "-rf.png",
    "a..b.png",
]

hostile_text = st.text(st.sampled_from("./\\: \t\0\n~$conaux1¹A\u202eüß\u3000"), max_size=12)
any_name = st.one_of(
    st.text(max_size=300), hostile_text, st.sampled_from([name for name in HOSTILE if len(name) < 2000])
)

written = st.text(st.sampled_from("ab.%{}+-/:AEé\u0301\\ 4125\x01\ud800\u202e~ß\u3042"), max_size=40)
long_name = st.builds(
    str.__mul__, st.sampled_from(["x", "\u3042", "A", "%{41}", "e\u0301", ". "]), st.integers(40, 300)
)
any_name = st.one_of(any_name, written, long_name, st.builds("{}/{}".format, any_name, written))
every_rule = st.builds(
    NameRules,
    special=st.booleans(),
    edges=st.booleans(),
    devices=st.booleans(),
    form=st.sampled_from([None, "NFC", "NFD"]),
    folds=st.booleans(),
    wide=st.booleans(),
)

RESERVED = {"con", "prn", "aux", "nul", "conin$", "conout$"} | {
    f"{d}{n}" for d in ("com", "lpt") for n in "0123456789¹²³"
}


def is_reserved(name: str) -> bool:
    """The rule of Windows: what stands before the first dot or colon, without trailing spaces."""
    return name.partition(".")[0].partition(":")[0].rstrip(" ").lower() in RESERVED


def check_safe(name: str) -> None:
    assert name
    for flavour in (PurePosixPath, PureWindowsPath):
        assert flavour(name).name == name, flavour
        assert len(flavour(name).parts) == 1
        joined = flavour("/base" if flavour is PurePosixPath else "C:/base") / name
        assert joined.parent == flavour("/base" if flavour is PurePosixPath else "C:/base")
        assert ".." not in joined.parts
    assert not is_reserved(name)
    assert not set(name) & set('<>:"/\\|?*')
    assert name == name.rstrip(". ")
    assert not any(unicodedata.category(c) in ("Cc", "Cs") for c in name)
    assert not any(
        unicodedata.bidirectional(c) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI") for c in name
    )
    assert len(os.fsencode(name)) <= LIMIT
    assert not name.startswith(".")


class TestOneName:
    @pytest.mark.parametrize("name", HOSTILE, ids=lambda name: ascii(name)[:24])
    def test_hostile_names_are_safe_on_every_platform(self, name: str) -> None:
        for part in local_path(name, STRICT).split("/"):
            check_safe(part)

    @given(any_name)
    def test_any_name_is_safe_on_every_platform(self, name: str) -> None:
        for part in local_path(name, STRICT).split("/"):
            check_safe(part)

    @given(any_name, every_rule)
    def test_under_any_rules_a_path_stays_below_and_is_not_hidden(self, name: str, rules: NameRules) -> None:
        path = local_path(name, rules)
        assert len(path.encode()) <= LONGEST
        for part in path.split("/"):
            assert part
            assert not part.startswith(".")
            assert not any(unicodedata.category(c) in ("Cc", "Cs") for c in part)
            assert len(part.encode()) <= LIMIT or rules.wide

    @pytest.mark.parametrize("name", HARMLESS)
    def test_harmless_names_stay(self, name: str) -> None:
        assert local_path(name, STRICT) == name == remote_name(name)

    @given(any_name, every_rule)
    @example("%{3A}.png", POSIX)
    @example("%{-}", POSIX)
    @example("a%{+}", POSIX)
    @example("a%{+}/b.png", POSIX)
    def test_a_name_is_read_back_from_its_path(self, name: str, rules: NameRules) -> None:
        path = local_path(name, rules)
        if len(name) * 21 <= LONGEST:
            assert remote_name(path) == name

    @pytest.mark.parametrize(
        "name", ["2024-01-01T12:00:00.png", "a\\b.png", "what?.png", 'say "x".png', "con.png", "end.png.", " x.png"]
    )
    def test_what_the_file_system_holds_stays_as_it_is(self, name: str) -> None:
        assert local_path(name, POSIX) == name

    def test_folders_are_folders(self) -> None:
        assert local_path("a/b c/d.png", STRICT) == "a/b c/d.png"

    @pytest.mark.parametrize(
        ("name", "path"),
        [
            ("12:00.png", "12%{3A}00.png"),
            ("../x.png", "%{2E.2E}/x.png"),
            ("/etc/x.png", "%{-}/etc/x.png"),
            (".hidden.png", "%{2E}hidden.png"),
            ("aux.png", "%{61}ux.png"),
            ("a\nb.png", "a%{A}b.png"),
            ("a. ", "a%{2E.20}"),
        ],
    )
    def test_the_form_is_the_documented_one(self, name: str, path: str) -> None:
        assert local_path(name, STRICT) == path

    @given(st.text(max_size=60), st.text(max_size=60), every_rule)
    def test_two_names_never_share_a_path(self, one: str, other: str, rules: NameRules) -> None:
        assert (local_path(one, rules) == local_path(other, rules)) == (one == other)

    def test_names_that_no_path_holds_are_told_apart(self) -> None:
        one, other = (local_path("x" * 5000 + end, POSIX) for end in ("1.png", "2.png"))
        assert one != other
        assert one.endswith(".png")


class TestKey:
    @pytest.mark.parametrize(
        ("one", "other"), [("A.png", "a.png"), ("\u00e9.png", "e\u0301.png"), ("stra\u00dfe", "STRASSE")]
    )
    def test_what_some_file_system_takes_for_one_has_one_key(self, one: str, other: str) -> None:
        assert key_of(one) == key_of(other)

    @given(st.text(max_size=30))
    def test_a_key_is_its_own(self, name: str) -> None:
        assert key_of(key_of(name)) == key_of(name)


FOLDING = NameRules(folds=True)
twins = st.lists(
    st.text(st.sampled_from("aAbB/.\u00e9\u00c9e\u0301\u00dfsS%{}41:"), min_size=1, max_size=8).map(
        lambda n: f"{n}.png"
    ),
    max_size=30,
    unique=True,
)


class TestTwins:
    @example(names=["\u00c9.png", "\u00c9.PNG"], rules=NameRules(folds=True, form="NFD"))
    @given(twins, st.sampled_from([FOLDING, NameRules(folds=True, form="NFC"), NameRules(folds=True, form="NFD")]))
    def test_every_name_has_a_path_of_its_own_on_a_folding_file_system(
        self, names: list[str], rules: NameRules
    ) -> None:
        local = LocalNames(rules)
        local.learn(names)
        paths = {name: local.path(name) for name in names}
        assert len({key_of(path) for path in paths.values()}) == len(names)
        assert {name: remote_name(path) for name, path in paths.items()} == {name: name for name in names}
        files = {key_of(path) for path in paths.values()}
        folders = {key_of(path.rpartition("/")[0]) for path in paths.values()}
        assert not files & folders, "a file and a folder have one path"
        parents: dict[str, str] = {}
        for path in paths.values():
            parts = path.split("/")
            for count in range(1, len(parts)):
                folder = "/".join(parts[:count])
                assert parents.setdefault(key_of(folder), folder) == folder, "one folder is spelled in two ways"

    @given(twins, st.randoms())
    def test_the_order_of_the_listing_is_of_no_account(self, names: list[str], chance: Any) -> None:
        one, other = LocalNames(FOLDING), LocalNames(FOLDING)
        one.learn(names)
        chance.shuffle(names)
        other.learn(names)
        assert [one.path(name) for name in names] == [other.path(name) for name in names]

    def test_what_is_on_disk_keeps_its_name(self) -> None:
        for held in ("Img.png", "IMG.png"):
            local = LocalNames(FOLDING, lambda below, held=held: {held})  # type: ignore[misc]
            local.learn(["Img.png", "IMG.png"])
            assert local.path(held) == held
            assert len({key_of(local.path(name)) for name in ("Img.png", "IMG.png")}) == 2

    @given(
        twins, twins, st.sampled_from([FOLDING, NameRules(folds=True, form="NFC"), NameRules(folds=True, form="NFD")])
    )
    def test_names_that_were_told_apart_stay_where_they_are(
        self, names: list[str], more: list[str], rules: NameRules
    ) -> None:
        before = LocalNames(rules)
        before.learn(names)
        paths = {name: before.path(name) for name in names}
        disk: dict[str, set[str]] = {}
        for path in paths.values():
            parts = [unicodedata.normalize(rules.form, part) if rules.form else part for part in path.split("/")]
            for at, part in enumerate(parts):
                disk.setdefault("/".join(parts[:at]), set()).add(part)
        left = names[::2]  # the others are gone from the dataset, and still on disk
        for listing in (left, [*left, *more]):
            after = LocalNames(rules, lambda below: disk.get(below, ()))
            after.learn(listing)
            now = {name: after.path(name) for name in listing}
            assert {name: paths[name] for name in left if now[name] != paths[name]} == {}
            assert len({key_of(path) for path in now.values()}) == len(set(listing))
            assert {name: remote_name(path) for name, path in now.items()} == {name: name for name in listing}

    @given(twins)
    def test_a_file_and_a_folder_of_one_name_are_apart_everywhere(self, names: list[str]) -> None:
        names = list(dict.fromkeys([*names, *(f"{name}/x.png" for name in names)]))
        local = LocalNames(POSIX)
        local.learn(names)
        paths = {local.path(name) for name in names}
        assert len(paths) == len(names)
        assert not paths & {path.rpartition("/")[0] for path in paths}
        assert {remote_name(path) for path in paths} == set(names)

    def test_two_assets_of_one_name_get_two_paths(self) -> None:
        local = LocalNames(POSIX)
        assert len({local.choose("same.png", asset_id) for asset_id in ("a1", "a2", "a3")}) == 3

    def test_a_copy_from_another_file_system_is_found(self) -> None:
        local = LocalNames(POSIX, lambda below: {"12%{3A}00.png"})
        assert local.choose("12:00.png", "a1", {"12%{3A}00.png"}.__contains__) == "12%{3A}00.png"
        assert LocalNames(POSIX).choose("12:00.png", "a1") == "12:00.png"

    def test_a_name_beside_another_keeps_its_extension(self) -> None:
        assert apart("a/b.png", "a1").startswith("a/b~")
        assert apart("a/b.png", "a1").endswith(".png")
