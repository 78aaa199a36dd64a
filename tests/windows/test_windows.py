"""What only a Windows system can show: paths, files that are open elsewhere, line ends, consoles."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import pytest

import vi
from tests.support.pictures import tiny
from vi.cli import main
from vi.testing import TestedService

pytestmark = pytest.mark.skipif(sys.platform != "win32", reason="asks Windows; run by nox -s windows")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Three images, one of them in a folder."""
    folder = tmp_path / "tree"
    for number, name in enumerate(("a.png", "b c.png", "deep/d.png")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(tiny(number))
    return folder


def names(client: vi.Client, dataset: str) -> set[str]:
    return {asset.filename for asset in client.assets.list(dataset).all_items()}


SPELLINGS = {
    "drive": str,
    "slashes": lambda path: path.as_posix(),
    "uri": lambda path: path.as_uri(),
    "whole": lambda path: f"\\\\?\\{path}",
    "at the end": lambda path: f"{path}\\",
    "without drive": lambda path: str(path)[2:],
    "relative": lambda path: os.path.relpath(path),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_of_a_path_is_understood(
    client: vi.Client, dataset: str, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spelling: str
) -> None:
    monkeypatch.chdir(tmp_path)
    spelled = SPELLINGS[spelling]
    result = client.assets.upload(dataset, spelled(tree), names="relative", show_progress=False)
    assert (result.total_succeeded, result.failures) == (3, [])
    assert names(client, dataset) == {"a.png", "b c.png", "deep/d.png"}
    target = tmp_path / "out"
    target.mkdir()
    down = client.assets.download(dataset, spelled(target) if spelling != "uri" else target, show_progress=False)
    assert down.total_downloaded == 3
    assert (target / "deep" / "d.png").read_bytes() == (tree / "deep" / "d.png").read_bytes()
    assert client.assets.verify(dataset, target).ok


def test_a_path_of_more_than_260_characters(client: vi.Client, dataset: str, tmp_path: Path) -> None:
    name = "/".join(["x" * 100] * 3) + "/end.png"
    client.assets.upload(dataset, [(name, tiny(1))], names="relative", show_progress=False)
    folder = Path(f"\\\\?\\{tmp_path}") / "out"
    down = client.assets.download(dataset, folder, raise_on_failure=False, show_progress=False)
    assert (down.total_downloaded, down.failures) == (1, [])
    assert (folder / name.replace("/", "\\")).read_bytes() == tiny(1)
    assert client.assets.verify(dataset, folder).ok


def test_a_shared_folder_that_is_not_there_is_named(client: vi.Client, dataset: str) -> None:
    with pytest.raises(vi.ViError, match="server"):
        client.assets.upload(dataset, r"\\server\share\images", show_progress=False)


def test_names_that_windows_has_not_come_down_and_are_recognized(
    client: vi.Client, dataset: str, tmp_path: Path
) -> None:
    wanted = {"aux.png", "con", "12:30.png", "what?.png", "end.", "blank ", "A.png", "a.png", "dot./x.png", "b\\c.png"}
    images = [(name if name.endswith(".png") else f"{name}.png", tiny(at)) for at, name in enumerate(sorted(wanted))]
    client.assets.upload(dataset, images, names="relative", show_progress=False)
    down = client.assets.download(dataset, tmp_path / "out", show_progress=False)
    assert (down.total_downloaded, down.failures, down.conflicts) == (len(images), [], [])
    assert client.assets.verify(dataset, tmp_path / "out").ok
    again = client.assets.download(dataset, tmp_path / "out", show_progress=False)
    assert (again.total_downloaded, again.total_existing) == (0, len(images))


def test_names_that_differ_in_case_are_two_files_and_one_file_has_one_name(
    client: vi.Client, dataset: str, tmp_path: Path
) -> None:
    wanted = {"F.PNG": tiny(1), "f.png": tiny(2)}
    client.assets.upload(dataset, [*wanted.items()], show_progress=False)
    out = tmp_path / "out"
    for downloaded, existing in ((2, 0), (0, 2)):
        down = client.assets.download(dataset, out, show_progress=False)
        assert (down.total_downloaded, down.total_existing, down.conflicts) == (downloaded, existing, [])
    assert sorted(path.read_bytes() for path in out.iterdir()) == sorted(wanted.values())
    assert client.assets.verify(dataset, out).ok
    assert client.assets.sync(dataset, out, delete=True, dry_run=True, show_progress=False).ok
    (tmp_path / "g.png").write_bytes(tiny(3))
    for spelling in ("g.png", "G.PNG"):
        client.assets.upload(
            dataset, tmp_path / spelling, on_asset_overwritten="RemoveLinkedResource", show_progress=False
        )
    assert names(client, dataset) == {*wanted, "g.png"}


def test_a_file_that_another_program_has_open_costs_itself_alone(
    client: vi.Client, dataset: str, tree: Path, tmp_path: Path
) -> None:
    client.assets.upload(dataset, tree, show_progress=False)
    out = tmp_path / "out"
    client.assets.download(dataset, out, show_progress=False)
    for path in out.iterdir():
        path.write_bytes(b"old")
    with (out / "a.png").open("rb"):
        down = client.assets.download(dataset, out, overwrite=True, raise_on_failure=False, show_progress=False)
    assert [failed.code for failed in down.failures] == ["EACCES"]
    assert down.total_downloaded == 2
    again = client.assets.download(dataset, out, overwrite=True, show_progress=False)
    assert (again.total_downloaded, again.total_existing, again.failures) == (1, 2, [])
    assert not [path.name for path in out.iterdir() if path.suffix == ".part"]


def test_a_file_that_a_scanner_holds_for_a_moment_is_replaced(
    client: vi.Client, dataset: str, tree: Path, tmp_path: Path
) -> None:
    client.assets.upload(dataset, tree, show_progress=False)
    out = tmp_path / "out"
    client.assets.download(dataset, out, show_progress=False)
    (out / "a.png").write_bytes(b"old")
    held = (out / "a.png").open("rb")
    timer = threading.Timer(0.3, held.close)
    timer.start()
    down = client.assets.download(dataset, out, overwrite=True, show_progress=False)
    timer.join()
    assert (down.total_downloaded, down.failures) == (1, [])


def test_plans_tables_and_ignore_files_may_have_the_line_ends_of_windows(
    client: vi.Client, dataset: str, tree: Path, tmp_path: Path
) -> None:
    (tree / ".viignore").write_bytes(b"\xef\xbb\xbf# mine\r\nb c.png\r\n")
    table = tmp_path / "table.csv"
    table.write_bytes(b"\xef\xbb\xbffilename,label\r\na.png,cat\r\nd.png,dog\r\n")
    plan = client.assets.upload(dataset, tree, dry_run=True, show_progress=False).plan
    assert plan is not None
    plan.save(tmp_path / "plan.jsonl")
    saved = (tmp_path / "plan.jsonl").read_bytes()
    assert b"\r" not in saved
    (tmp_path / "plan.jsonl").write_bytes(saved.replace(b"\n", b"\r\n"))
    loaded = type(plan).load(tmp_path / "plan.jsonl")
    assert client.assets.apply(loaded, show_progress=False).ok
    assert names(client, dataset) == {"a.png", "d.png"}
    client.assets.upload(
        dataset, tree, custom_metadata=table, on_asset_overwritten="RemoveLinkedResource", show_progress=False
    )
    labels = {asset.filename: asset.metadata.custom_metadata for asset in client.assets.list(dataset).all_items()}
    assert labels == {"a.png": {"label": "cat"}, "d.png": {"label": "dog"}}


def test_a_pattern_that_the_shell_left_is_expanded(
    service: TestedService, client: vi.Client, dataset: str, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in service.environment.items():
        monkeypatch.setenv(name, value)
    assert main(["assets", "upload", dataset, f"{tree}\\*.png", "--quiet", "--no-progress"]) == 0
    assert names(client, dataset) == {"a.png", "b c.png"}


def test_names_that_windows_takes_for_others_are_not_read_or_removed_as_these(
    client: vi.Client, dataset: str, tree: Path, tmp_path: Path
) -> None:
    whole = Path(f"\\\\?\\{tree}")
    for number, name in enumerate(("deep.\\d.png", "aux.png"), 10):
        (whole / name).parent.mkdir(exist_ok=True)
        (whole / name).write_bytes(tiny(number))
    client.assets.upload(dataset, whole, names="relative", show_progress=False)
    stored = {"a.png", "b c.png", "deep/d.png", "deep./d.png", "aux.png"}
    assert names(client, dataset) == stored
    assert client.assets.verify(dataset, whole).matching == len(stored)
    result = client.assets.upload(
        dataset,
        tree,
        names="relative",
        on_asset_overwritten="RemoveLinkedResource",
        failure_mode="FailAfterAll",
        show_progress=False,
    )
    assert {one.filename: one.code for one in result.failures} == {"aux.png": "EBADNAME", "deep.": "EBADNAME"}
    with pytest.raises(vi.ViError, match="Nothing is deleted"):
        client.assets.sync(dataset, tree, names="relative", delete=True, dry_run=True, show_progress=False)
    other = client.datasets.create(name="other").dataset_id
    client.assets.upload(other, [("a.png", tiny(1)), ("deep/other.png", tiny(2))], show_progress=False)
    plan = client.assets.sync(other, tree, direction="down", delete=True, dry_run=True, show_progress=False).plan
    assert plan is not None
    gone = {Path(entry.path) for entry in plan if entry.action == "delete_file"}
    assert gone == {tree / "b c.png", tree / "deep" / "d.png"}
    client.assets.upload(other, [("end./aux.png", tiny(1))], show_progress=False)
    client.assets.download(other, Path(f"\\\\?\\{tmp_path}") / "out", show_progress=False)
    assert client.assets.verify(other, tmp_path / "out").ok


def test_a_path_that_no_file_can_have_is_a_missing_one(client: vi.Client, dataset: str, tree: Path) -> None:
    with pytest.raises(vi.ViPathError, match=r"No such file or folder.*Check the spelling"):
        client.assets.upload(dataset, tree / "*.jpg", show_progress=False)
    for call in (client.assets.upload, client.assets.download, client.assets.sync, client.assets.verify):
        with pytest.raises(vi.ViInvalidParameterError, match="Leave out the backslash before a closing quote"):
            call(dataset, f'{tree}"')


def test_what_windows_keeps_for_itself_on_a_drive_is_left_out(client: vi.Client, dataset: str, tree: Path) -> None:
    import ctypes

    for name in ("$RECYCLE.BIN", "System Volume Information"):
        (tree / name).mkdir()
        (tree / name / "old.png").write_bytes(tiny(9))
        assert ctypes.windll.kernel32.SetFileAttributesW(str(tree / name), 0x06)  # type: ignore[attr-defined,unused-ignore]
    result = client.assets.upload(dataset, tree, names="relative", show_progress=False)
    assert (result.total_succeeded, result.skip_reasons) == (3, {"hidden": 2})
