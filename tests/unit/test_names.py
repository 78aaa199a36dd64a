"""Local names for remote files: inside the folder on every platform, stable, and apart from each other."""

from __future__ import annotations

import os
import string
import unicodedata
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vi._transfer.names import MAX_BYTES, LocalNames, apart, key_of, safe_name

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
    ".hidden.png",
    "50%25#1.png",
    "naïve.png",
    "日本語.png",
    "😀.webp",
    "-rf.png",
    "a..b.png",
]

hostile_text = st.text(st.sampled_from("./\\: \t\0\n~$conaux1¹A\u202eüß\u3000"), max_size=12)
any_name = st.one_of(st.text(max_size=300), hostile_text, st.sampled_from(HOSTILE))

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
    assert len(os.fsencode(name)) <= MAX_BYTES
    assert len(os.fsencode(f".{name}.01234567.part")) <= 255


class TestSafeName:
    @pytest.mark.parametrize("name", HOSTILE, ids=lambda name: ascii(name)[:24])
    def test_hostile_names_are_made_safe(self, name: str) -> None:
        check_safe(safe_name(name, "a1"))

    @pytest.mark.parametrize("name", HARMLESS)
    def test_harmless_names_stay_as_they_are(self, name: str) -> None:
        assert safe_name(name, "a1") == name

    @given(any_name)
    @example("con .png")
    @example("x" * 300 + ".png ")
    def test_any_name_is_safe_under_posix_and_windows_rules(self, name: str) -> None:
        check_safe(safe_name(name, "a1"))

    @given(any_name)
    @example("con .png")
    @example("ü" * 300 + ".jpeg")
    def test_a_safe_name_is_safe_already(self, name: str) -> None:
        once = safe_name(name, "a1")
        assert safe_name(once, "a1") == once

    @given(any_name)
    def test_it_depends_on_nothing_but_its_arguments(self, name: str) -> None:
        assert safe_name(name, "a1") == safe_name(name, "a1")

    def test_nameless_assets_are_told_apart(self) -> None:
        assert safe_name("..", "a1") != safe_name("..", "a2")

    def test_long_names_that_begin_alike_are_told_apart(self) -> None:
        one, two = safe_name("x" * 300 + "1.png", "a1"), safe_name("x" * 300 + "2.png", "a2")
        assert one != two
        assert one.endswith(".png")

    def test_a_long_name_keeps_its_extension(self) -> None:
        assert safe_name("long" * 100 + ".jpeg", "a1").endswith(".jpeg")
        assert safe_name("long" * 100 + "." + "e" * 40, "a1").count(".") == 0

    @given(any_name)
    def test_it_can_be_made_in_a_real_folder(self, name: str) -> None:
        """The folder that it is joined to is the folder that it ends in."""
        safe = safe_name(name, "a1")
        assert Path(os.path.normpath(Path("/base") / safe)).parent == Path("/base")
        assert safe.encode("utf-8").decode("utf-8") == safe


ALIKE = [
    ("Cat.png", "cat.PNG"),
    ("caf\u00e9.png", "cafe\u0301.png"),
    ("straße.png", "STRASSE.png"),
    ("\u212bngstrom.png", "\u00e5ngstrom.png"),
    ("İ.png", "i\u0307.png"),
]


class TestApart:
    @pytest.mark.parametrize(("one", "two"), ALIKE)
    def test_names_that_some_file_system_takes_for_one_have_one_key(self, one: str, two: str) -> None:
        assert key_of(one) == key_of(two)

    @given(st.text(max_size=40))
    def test_a_key_is_stable_under_case_and_form(self, name: str) -> None:
        key = key_of(name)
        assert key_of(key) == key
        assert key_of(unicodedata.normalize("NFD", name)) == key_of(unicodedata.normalize("NFC", name))

    @given(st.text(string.ascii_letters + string.digits, min_size=1, max_size=40))
    def test_plain_names_differ_when_they_differ_by_more_than_case(self, name: str) -> None:
        assert key_of(name) != key_of(name + "x")

    @given(any_name, st.text(string.hexdigits, min_size=1), st.text(string.hexdigits, min_size=1))
    def test_two_assets_of_one_name_are_kept_apart(self, name: str, one: str, two: str) -> None:
        safe = safe_name(name, one)
        first, second = apart(safe, one), apart(safe, two)
        assert (first == second) == (one == two)
        assert first != safe
        assert len(os.fsencode(f".{first}.01234567.part")) <= 255
        assert PureWindowsPath(first).name == first
        assert not is_reserved(first)

    def test_the_extension_stays(self) -> None:
        assert apart("cat.png", "a1").endswith(".png")
        assert apart("cat.png", "a1").startswith("cat~")
        assert apart("cat", "a1").startswith("cat~")
        assert apart(".png", "a1").startswith(".png~")


class TestLocalNames:
    @given(st.lists(any_name, max_size=12))
    @example(["Cat.png", "cat.PNG", "CAT.png"])
    def test_no_two_assets_share_a_file_on_any_file_system(self, filenames: list[str]) -> None:
        names = LocalNames()
        chosen = [names.choose(filename, f"id{number}") for number, filename in enumerate(filenames)]
        assert len({key_of(name) for name in chosen}) == len(chosen)

    def test_the_first_keeps_its_name(self) -> None:
        names = LocalNames()
        assert names.choose("cat.png", "a1") == "cat.png"
        assert names.choose("CAT.png", "a2") == apart("CAT.png", "a2")

    def test_a_name_made_to_collide_takes_no_others_place(self) -> None:
        """Whoever names assets can know how another one will be told apart, and take that name before it."""
        names = LocalNames()
        trap = apart("CAT.png", "a3")
        chosen = [names.choose("cat.png", "a1"), names.choose(trap, "a2"), names.choose("CAT.png", "a3")]
        assert chosen[:2] == ["cat.png", trap]
        assert len({key_of(name) for name in chosen}) == 3
