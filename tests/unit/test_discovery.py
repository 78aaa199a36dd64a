"""What an upload takes on: named files, folders, bytes and streams; what it leaves out, and why."""

from __future__ import annotations

import io
import os
import socket
import sys
import tracemalloc
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.systems import WINDOWS
from tests.sync.disks import KINDS, OtherDisk
from vi._media import MAX_IMAGE_BYTES
from vi._transfer import file_system
from vi._transfer.discovery import discover
from vi._transfer.filters import Filters
from vi._transfer.inventory import BLOCK, LISTED_NAMES, Inventory
from vi.errors import ViFileTooLargeError, ViInvalidParameterError, ViPathError

Make = Callable[..., Path]


@pytest.fixture
def tree(tmp_path: Path) -> Make:
    """Makes files below a folder of the test; a name that ends in ``/`` is a folder."""

    def make(*names: str, size: int = 3) -> Path:
        for name in names:
            path = tmp_path / "root" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if name.endswith("/"):
                path.mkdir(exist_ok=True)
            else:
                path.write_bytes(b"x" * size)
        return tmp_path / "root"

    return make


def find(paths: Any, names: Any = "basename", **filters: Any) -> Inventory:
    return discover(str(paths) if isinstance(paths, Path) else paths, names, Filters(**filters))


def taken(inventory: Inventory) -> list[str]:
    return [record.filename for record in inventory]


def skipped(inventory: Inventory) -> dict[str, str]:
    return {Path(skip.path).name: skip.reason for skip in inventory.skips}


def broken(inventory: Inventory) -> dict[str, str]:
    return {item.filename: item.code for item in inventory.broken}


class TestFolders:
    def test_files_come_sorted_and_folders_are_walked_in_full(self, tree: Make) -> None:
        root = tree("b.png", "a.jpg", "sub/d.webp", "sub/deep/e.gif", "sub/c.tif", "Z.bmp")
        inventory = find(root)
        assert taken(inventory) == ["Z.bmp", "a.jpg", "b.png", "c.tif", "d.webp", "e.gif"]
        assert (inventory.count, inventory.bytes) == (6, 18)
        assert [record.path for record in inventory][3] == str(root / "sub" / "c.tif")
        assert taken(inventory) == taken(find(root))

    def test_paths_keep_the_form_in_which_the_folder_was_given(
        self, tree: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tree("a.png", "sub/b.png").parent)
        for given in ("root", "./root", "./root/"):
            below = [os.path.join(given, "a.png"), os.path.join(given, "sub", "b.png")]  # noqa: PTH118
            assert [record.path for record in find(given)] == below

    def test_sizes_are_those_of_the_files(self, tree: Make) -> None:
        tree("a.png", size=7)
        assert {r.filename: r.size for r in find(tree("b.png", size=1000))} == {"a.png": 7, "b.png": 1000}

    def test_what_is_left_out_is_listed_with_the_reason(self, tree: Make) -> None:
        root = tree(
            "a.png", ".hidden.png", ".git/x.png", "Thumbs.db", "desktop.ini", ".DS_Store", "notes.txt", "README"
        )
        tree("empty.png", size=0)
        icon = () if WINDOWS else ("Icon\r",)  # Windows takes no such name
        tree("._a.png", "__MACOSX/._a.png", ".notes.txt.icloud", *icon)  # of a Mac
        inventory = find(root)
        assert taken(inventory) == ["a.png"]
        assert skipped(inventory) == {
            ".hidden.png": "hidden",
            ".git": "hidden",
            ".DS_Store": "hidden",
            "Thumbs.db": "hidden",
            "desktop.ini": "hidden",
            "notes.txt": "unsupported (.txt)",
            "README": "unsupported (no extension)",
            "empty.png": "empty",
            "._a.png": "hidden",
            **dict.fromkeys(icon, "unsupported (no extension)"),
            ".notes.txt.icloud": "hidden",
        }
        assert inventory.broken == []

    def test_a_folder_with_nothing_to_take_is_no_error_and_an_empty_one_is(self, tree: Make) -> None:
        assert find(tree("notes.txt")).count == 0
        with pytest.raises(ViInvalidParameterError, match=r"No images or videos in .*bare"):
            find(tree("bare/") / "bare")
        with pytest.raises(ViInvalidParameterError, match=r"No images or videos in what was given \(\[\]\)"):
            find([])

    def test_a_large_folder_is_taken_in_blocks(self, tree: Make) -> None:
        root = tree(*(f"{number:05d}.png" for number in range(BLOCK + 5)))
        inventory = find(root)
        assert taken(inventory) == [f"{number:05d}.png" for number in range(BLOCK + 5)]

    @pytest.mark.parametrize(
        "name",
        [
            "a b.png",
            "50%25#1.png",
            "-rf.png",
            "naïve.png",
            "日本.png",
            "😀.png",
            *(["a\nb.png", "'q\".png"] if os.name != "nt" else []),
        ],
    )
    def test_unusual_names_arrive_unchanged(self, name: str, tree: Make) -> None:
        assert taken(find(tree(name))) == [name]

    def test_unicode_twins_stay_two(self, tree: Make) -> None:
        names = ["cafe\u0301.png", "caf\u00e9.png"]
        assert sorted(taken(find(tree(*names)))) == sorted(names)


class TestFilters:
    @pytest.fixture
    def root(self, tree: Make) -> Path:
        return tree("a.png", "b.jpg", "train/a1.png", "train/b1.jpg", "train/old/c1.png", "test/d1.png")

    @pytest.mark.parametrize(
        ("filters", "names"),
        [
            ({"include": ["*.jpg"]}, ["b.jpg", "b1.jpg"]),
            ({"include": ["train/*"]}, ["a1.png", "b1.jpg", "c1.png"]),
            ({"include": ["a*", "d*"]}, ["a.png", "a1.png", "d1.png"]),
            ({"exclude": ["*.png"]}, ["b.jpg", "b1.jpg"]),
            ({"exclude": ["train/old/*", "test/*"]}, ["a.png", "a1.png", "b.jpg", "b1.jpg"]),
            ({"include": ["train/*"], "exclude": ["*.jpg"]}, ["a1.png", "c1.png"]),
            ({"include": ["?1.png"]}, ["a1.png", "c1.png", "d1.png"]),
            ({"include": ["[ab].*"]}, ["a.png", "b.jpg"]),
            ({"include": ["nothing"]}, []),
        ],
    )
    def test_patterns_are_for_the_path_or_the_name(self, filters: Any, names: list[str], root: Path) -> None:
        inventory = find(root, **filters)
        assert sorted(taken(inventory)) == names
        assert set(skipped(inventory).values()) <= {"excluded", "excluded folder"}
        assert bool(skipped(inventory)) is (len(names) < 6)

    def test_a_file_that_was_named_is_taken_whatever_the_patterns(self, root: Path) -> None:
        assert taken(find(root / "a.png", exclude=["*.png"])) == ["a.png"]


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
class TestLinks:
    def test_linked_files_are_taken_under_their_own_name(self, tree: Make) -> None:
        root = tree("real.png", size=9)
        (root / "link.png").symlink_to("real.png")
        assert {record.filename: record.size for record in find(root)} == {"real.png": 9, "link.png": 9}

    def test_linked_folders_are_listed_and_not_entered_unless_asked(self, tree: Make, tmp_path: Path) -> None:
        root = tree("a.png")
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "elsewhere" / "b.png").write_bytes(b"x")
        (root / "linked").symlink_to(tmp_path / "elsewhere")
        inventory = find(root)
        assert (taken(inventory), skipped(inventory)) == (["a.png"], {"linked": "symlinked folder"})
        assert taken(find(root, follow_links=True)) == ["a.png", "b.png"]
        assert taken(find(root / "linked")) == ["b.png"]

    @pytest.mark.parametrize("target", [".", "..", "../root", "sub"])
    def test_a_circle_of_folders_ends(self, target: str, tree: Make) -> None:
        root = tree("a.png", "sub/b.png")
        (root / "sub" / "round").symlink_to(Path(target) if target != "sub" else root / "sub", target_is_directory=True)
        for follow in (False, True):
            inventory = find(root, follow_links=follow)
            assert taken(inventory)[:2] == ["a.png", "b.png"]
            assert len(taken(inventory)) == 2
            assert "round" in skipped(inventory)

    def test_what_cannot_be_followed_is_listed_and_fails_nothing(self, tree: Make) -> None:
        root = tree("a.png")
        (root / "dangling.png").symlink_to("gone.png")
        (root / "itself.png").symlink_to("itself.png")
        (root / "one.png").symlink_to("two.png")
        (root / "two.png").symlink_to("one.png")
        inventory = find(root)
        assert (taken(inventory), inventory.broken) == (["a.png"], [])
        assert skipped(inventory) == {
            "dangling.png": "dangling link",
            "itself.png": "symlink loop",
            "one.png": "symlink loop",
            "two.png": "symlink loop",
        }

    def test_pipes_and_sockets_are_never_opened(self, tree: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        root = tree("a.png")
        os.mkfifo(root / "pipe.png")
        monkeypatch.chdir(root)  # the path of a socket must be short
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("socket.png")
        inventory = find(root)
        assert taken(inventory) == ["a.png"]
        assert skipped(inventory) == {"pipe.png": "not a regular file", "socket.png": "not a regular file"}
        assert broken(find(root / "pipe.png")) == {"pipe.png": "EINVAL"}


class TestUnreadable:
    def test_a_folder_that_cannot_be_listed_is_named(self, tree: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        """Root may list everything, so the refusal is made here."""
        root, real = tree("a.png", "closed/b.png", "open/c.png"), os.scandir

        def refuse(path: str) -> Any:
            if str(path).endswith("closed"):
                raise PermissionError(13, "Permission denied", path)
            return real(path)

        monkeypatch.setattr(os, "scandir", refuse)
        inventory = find(root)
        assert taken(inventory) == ["a.png", "c.png"]
        assert broken(inventory) == {"closed": "EACCES"}
        assert inventory.broken[0].message == f"{root / 'closed'}: Permission denied."

    @pytest.mark.skipif(sys.platform == "win32", reason="a rule of POSIX systems")
    def test_a_folder_too_deep_to_be_listed_is_named(self, tree: Make) -> None:
        """A real refusal: the path is longer than the system takes in one piece."""
        root = tree("a.png")
        folder, descriptors = "d" * 200, [os.open(root, os.O_RDONLY)]
        try:
            for _ in range(25):
                os.mkdir(folder, dir_fd=descriptors[-1])
                descriptors.append(os.open(folder, os.O_RDONLY, dir_fd=descriptors[-1]))
            inventory = find(root)
            assert taken(inventory) == ["a.png"]
            assert [item.code for item in inventory.broken] == ["ENAMETOOLONG"]
        finally:
            for descriptor in reversed(descriptors[:-1]):
                os.close(descriptors.pop())
                os.rmdir(folder, dir_fd=descriptor)
            os.close(descriptors.pop())

    @pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
    def test_a_name_that_is_not_text_is_broken_and_can_be_printed(self, tree: Make) -> None:
        root = tree("a.png")
        Path(os.fsdecode(os.fsencode(root) + b"/bad\xff.png")).write_bytes(b"x")
        Path(os.fsdecode(os.fsencode(root) + b"/bad\xff.txt")).write_bytes(b"x")
        inventory = find(root)
        assert taken(inventory) == ["a.png"]
        assert broken(inventory) == {"bad\\udcff.png": "EBADNAME"}
        for item in (*inventory.broken, *inventory.skips):
            repr(item).encode()
            item.path.encode()

    @pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
    def test_a_named_path_that_is_not_text_can_be_printed_too(self, tree: Make) -> None:
        root = os.fsencode(tree("a.png"))
        (exists, missing) = (os.fsdecode(root + b"/bad\xff.png"), os.fsdecode(root + b"/gone\xff.png"))
        Path(exists).write_bytes(b"x")
        inventory = find(exists)
        assert broken(inventory) == {"bad\\udcff.png": "EBADNAME"}
        inventory.broken[0].path.encode()
        with pytest.raises(ViPathError) as raised:
            find(missing)
        str(raised.value).encode()
        repr(raised.value.to_dict()).encode()


class TestNamedFiles:
    def test_a_list_keeps_its_order(self, tree: Make) -> None:
        root = tree("a.png", "b.png", "c/d.png")
        paths = [str(root / "b.png"), root / "c", str(root / "a.png")]
        assert taken(find(paths)) == ["b.png", "d.png", "a.png"]

    @pytest.mark.parametrize(
        ("name", "size", "code"),
        [("notes.txt", 3, "EBADMIME"), ("empty.png", 0, "EBADSIZE"), ("noextension", 3, "EBADMIME")],
    )
    def test_what_cannot_be_taken_is_never_dropped_in_silence(
        self, name: str, size: int, code: str, tree: Make
    ) -> None:
        inventory = find(tree(name, size=size) / name)
        assert (inventory.count, inventory.skips, broken(inventory)) == (0, [], {name: code})

    def test_a_hidden_file_that_was_named_is_taken(self, tree: Make) -> None:
        assert taken(find(tree(".hidden.png") / ".hidden.png")) == [".hidden.png"]

    def test_missing_paths_are_one_error_that_lists_them(self, tree: Make) -> None:
        root = tree("a.png")
        with pytest.raises(ViPathError, match="No such file or folder") as raised:
            find([str(root / "a.png"), str(root / "gone.png"), str(root / "no" / "folder")])
        assert raised.value.details["paths"] == [str(root / "gone.png"), str(root / "no" / "folder")]
        assert isinstance(raised.value, FileNotFoundError)
        with pytest.raises(ViPathError, match="and 5 more"):
            find([f"/nowhere/{number}.png" for number in range(15)])

    @pytest.mark.parametrize(
        "paths", ["", "\0", ["a\0b"], b"x", bytearray(b"x"), 7, None, [7], [None], [b"x"], [("a.png",)]]
    )
    def test_what_is_no_path_is_refused(self, paths: Any) -> None:
        with pytest.raises(ViInvalidParameterError) as raised:
            find(paths)
        assert raised.value.parameter == "paths"

    def test_the_home_folder(self, tree: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("HOME", "USERPROFILE"):
            monkeypatch.setenv(name, str(tree("a.png")))
        assert taken(find("~/a.png")) == ["a.png"]


class TestObjects:
    @pytest.mark.parametrize("content", [b"abc", bytearray(b"abc"), memoryview(b"abc"), io.BytesIO(b"abc")])
    def test_a_name_with_content(self, content: Any) -> None:
        for paths in (("a.png", content), [("a.png", content)]):
            (record,) = find(paths)
            assert (record.filename, record.size, record.path) == ("a.png", 3, "a.png")

    def test_an_open_file_has_the_name_it_was_opened_by(self, tree: Make) -> None:
        with (tree("a.png") / "a.png").open("rb") as file:
            (record,) = find(file)
            assert (record.filename, record.size) == ("a.png", 3)

    def test_a_stream_with_its_size(self) -> None:
        async def stream() -> AsyncIterator[bytes]:
            yield b"abc"

        (record,) = find(("a.png", stream(), 3))
        assert (record.filename, record.size, record.source.repeatable) == ("a.png", 3, False)

    def test_an_open_file_without_a_name_needs_one(self) -> None:
        with pytest.raises(ViInvalidParameterError, match=r"pass \(filename, file\)"):
            find(io.BytesIO(b"abc"))

    @pytest.mark.parametrize(
        "item", [("a.png", 7), ("", b"abc"), ("a.png", "text", 3), (7, b"abc"), ("a.png", iter([b"x"]), 1)]
    )
    def test_what_is_no_content_is_refused(self, item: Any) -> None:
        with pytest.raises(ViInvalidParameterError):
            find([item])

    def test_a_list_may_mix_everything(self, tree: Make) -> None:
        root = tree("a.png", "sub/b.png")
        assert taken(find([str(root / "a.png"), root / "sub", ("c.png", b"x")])) == ["a.png", "b.png", "c.png"]


class TestNames:
    def test_relative_names_keep_folders(self, tree: Make) -> None:
        assert taken(find(tree("a.png", "x/b.png", "x/y/c.png"), "relative")) == ["a.png", "x/b.png", "x/y/c.png"]

    def test_a_function_names_each_file_once(self, tree: Make) -> None:
        root, asked = tree("a.png", "x/a.png"), []

        def name(path: Path) -> str:
            asked.append(path)
            return f"{path.parent.name}-{path.name}"

        inventory = find(root, name)
        assert taken(inventory) == taken(inventory) == ["root-a.png", "x-a.png"]
        assert asked == [root / "a.png", root / "x" / "a.png"]

    @pytest.mark.parametrize("bad", [None, "", 7, "a\0b.png", "\udcff.png"])
    def test_a_function_that_gives_no_name_is_refused(self, bad: Any, tree: Make) -> None:
        with pytest.raises(ViInvalidParameterError) as raised:
            find(tree("a.png"), lambda path: bad)
        assert raised.value.parameter == "names"

    @pytest.mark.parametrize("names", ["absolute", "", None, 7])
    def test_an_unknown_way_to_name_is_refused(self, names: Any, tree: Make) -> None:
        with pytest.raises(ViInvalidParameterError, match="'basename', 'relative' or a function"):
            find(tree("a.png"), names)

    def test_two_sources_of_one_name_are_an_error_with_the_pairs_and_the_way_out(self, tree: Make) -> None:
        root = tree("a.png", "x/a.png", "y/a.png", "x/b.png", "y/b.png", "c.png")
        with pytest.raises(ViInvalidParameterError, match="2 names would be used more than once") as raised:
            find(root).check_names()
        assert raised.value.details["names"] == {
            "a.png": [str(root / "a.png"), str(root / "x" / "a.png"), str(root / "y" / "a.png")],
            "b.png": [str(root / "x" / "b.png"), str(root / "y" / "b.png")],
        }
        assert raised.value.suggestion is not None
        assert "names='relative'" in raised.value.suggestion
        find(root, "relative").check_names()

    def test_the_list_of_pairs_is_bounded(self, tree: Make) -> None:
        root = tree(*(f"{folder}/{number:02d}.png" for folder in "xy" for number in range(25)))
        with pytest.raises(ViInvalidParameterError, match=f"and {25 - LISTED_NAMES} more"):
            find(root).check_names()

    def test_the_same_path_twice_is_found_too(self, tree: Make) -> None:
        path = str(tree("a.png") / "a.png")
        with pytest.raises(ViInvalidParameterError, match=r"a\.png: .*a\.png"):
            find([path, path]).check_names()

    def test_names_that_only_share_a_hash_are_fine(self, tree: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        import vi._transfer.inventory as module

        monkeypatch.setattr(module, "hash", lambda _: 7, raising=False)
        find(tree("a.png", "b.png", "c.png")).check_names()


class TestSizes:
    def test_the_first_file_over_its_limit_is_an_error_before_anything_is_sent(self, tree: Make) -> None:
        root = tree("a.png")
        with (root / "huge.png").open("wb") as file:
            file.truncate(MAX_IMAGE_BYTES + 1)
        with pytest.raises(ViFileTooLargeError, match=r"huge\.png") as raised:
            find(root).check_sizes()
        assert (raised.value.file_size, raised.value.max_size) == (MAX_IMAGE_BYTES + 1, MAX_IMAGE_BYTES)
        assert raised.value.path == str(root / "huge.png")

    def test_the_limit_itself_and_a_large_video_are_fine(self, tree: Make) -> None:
        root = tree("a.png")
        for name, size in (("limit.png", MAX_IMAGE_BYTES), ("film.mp4", MAX_IMAGE_BYTES * 40)):
            with (root / name).open("wb") as file:
                file.truncate(size)
        find(root).check_sizes()


def inventory_of(folders: int) -> Inventory:
    """An inventory of a thousand files in each of *folders*."""
    inventory = Inventory("basename")
    for folder in range(folders):
        files = [(f"img-{folder:03d}-{number:03d}.jpg", 100_000) for number in range(BLOCK)]
        inventory.add_block(f"/data/{folder}", str(folder), files)
    return inventory


class TestMemory:
    """Counted, not timed: what a million files hold."""

    def test_a_file_costs_its_name_and_a_few_bytes(self) -> None:
        million = inventory_of(1000)
        held = sum(
            sys.getsizeof(block) + sys.getsizeof(block.names) + sys.getsizeof(block.sizes) + sys.getsizeof(block.folder)
            for block in million._blocks
        )
        assert million.count == 1_000_000
        assert million.bytes == 100_000_000_000
        assert held < 40 * million.count
        assert {slot for block in million._blocks[:1] for slot in block.__slots__ if not slot.startswith("__")} == {
            "folder", "below", "names", "remote", "sizes", "named"
        }  # fmt: skip

    def test_walking_it_holds_one_record_at_a_time(self) -> None:
        inventory = inventory_of(20)
        tracemalloc.start()
        try:
            assert sum(1 for _ in inventory) == 20 * BLOCK
            assert tracemalloc.get_traced_memory()[1] < 1 << 20
        finally:
            tracemalloc.stop()

    def test_comparing_names_costs_less_than_holding_them(self) -> None:
        inventory = inventory_of(50)
        tracemalloc.start()
        try:
            inventory.check_names()
            assert tracemalloc.get_traced_memory()[1] < 80 * inventory.count
        finally:
            tracemalloc.stop()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no undecodable names")
def test_files_below_a_folder_whose_name_is_not_text_can_be_named_in_messages(tmp_path: Path) -> None:
    """A message about such a file can be printed, and the file itself is still found under its real name."""
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    Path(folder).mkdir()
    Path(folder, "a.png").write_bytes(b"x")
    (record,) = discover([folder], "basename", Filters())
    record.path.encode()
    assert record.filename == "a.png"
    assert Path(record.source.path).read_bytes() == b"x"


@pytest.mark.skipif(sys.platform == "win32", reason="plays another disk; tests/windows/test_windows.py asks Windows")
@pytest.mark.parametrize("relative", [False, True])
def test_a_file_has_the_name_of_its_disk_however_its_path_is_spelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, relative: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(file_system, "FOLDS", True)
    OtherDisk(str(tmp_path), KINDS["APFS"]).install(monkeypatch)
    for name in ("f.png", "caf\u00e9.png", "Plain.png"):
        descriptor = os.open(tmp_path / name, os.O_CREAT | os.O_WRONLY)
        os.write(descriptor, b"x")
        os.close(descriptor)
    given = ["F.PNG", "cafe\u0301.png", "Plain.png"]
    found = discover([name if relative else tmp_path / name for name in given], "basename", Filters())
    assert taken(found) == ["f.png", "caf\u00e9.png", "Plain.png"]
