"""Remote names: made once for each file, and no two alike before a byte moves."""

from __future__ import annotations

import itertools
import pickle
from pathlib import Path
from typing import Any

import pytest

import vi
from vi import _samples


def test_folders_are_kept_in_relative_names(
    client: vi.Client, dataset: str, folder: Any, contents: Any, stored: Any
) -> None:
    images = folder(names=["train/cat/1.png", "train/dog/1.png", "val/cat/1.png", "1.png"])
    client.assets.upload(dataset, images, names="relative")
    assert stored(dataset) == contents(images)


def test_a_function_of_the_path_names_each_file(client: vi.Client, dataset: str, folder: Any, stored: Any) -> None:
    images = folder(names=["cat/1.png", "dog/1.png"])
    client.assets.upload(dataset, images, names=lambda path: f"{path.parent.name}-{path.name}")
    assert sorted(stored(dataset)) == ["cat-1.png", "dog-1.png"]


def test_a_function_is_asked_once_for_each_file(client: vi.Client, dataset: str, folder: Any, stored: Any) -> None:
    numbers = itertools.count()
    result = client.assets.upload(
        dataset,
        folder(5),
        names=lambda path: f"{next(numbers)}.png",
        custom_metadata={f"{n}.png": {"number": n} for n in range(5)},
    )
    assert result.total_succeeded == 5
    assert sorted(stored(dataset)) == [f"{n}.png" for n in range(5)]
    assert next(numbers) == 5


@pytest.mark.parametrize("mode", ["FailAfterOne", "FailAfterAll"])
def test_equal_names_are_listed_before_a_byte_moves(
    client: vi.Client, service: Any, dataset: str, folder: Any, mode: str
) -> None:
    images = folder(names=["a/1.png", "b/1.png", "a/2.png", "b/2.png", "3.png"])
    with pytest.raises(vi.ViInvalidParameterError, match="more than once") as raised:
        client.assets.upload(dataset, images, failure_mode=mode)
    message = str(raised.value)
    assert all(str(images / name) in message for name in ("a/1.png", "b/1.png", "a/2.png", "b/2.png"))
    assert "3.png" not in message
    assert "names='relative'" in message
    assert set(raised.value.details["names"]) == {"1.png", "2.png"}
    assert pickle.loads(pickle.dumps(raised.value)).details == raised.value.details
    assert service.requests() == []


def test_many_equal_names_are_counted_and_not_all_printed(
    client: vi.Client, service: Any, dataset: str, folder: Any
) -> None:
    """Five pairs, one a line, and the way out."""
    images = folder(names=[f"{side}/{n}.png" for side in "ab" for n in range(30)])
    with pytest.raises(vi.ViInvalidParameterError, match=r"(?s)30 names .*and 25 more") as raised:
        client.assets.upload(dataset, images)
    lines = str(raised.value).splitlines()
    assert len([line for line in lines if " and " in line and line.startswith("  ") and "more" not in line]) == 5
    assert "names='relative'" in lines[-1]
    assert service.requests() == []


def test_equal_names_are_found_across_all_kinds_of_sources(
    client: vi.Client, service: Any, dataset: str, folder: Any, png: Any
) -> None:
    images = folder(1)
    with pytest.raises(vi.ViInvalidParameterError, match=r"image-000\.png"):
        client.assets.upload(dataset, [images, ("image-000.png", png(1))])
    assert service.requests() == []


def test_one_file_given_twice_is_told_from_two_files(
    client: vi.Client, service: Any, dataset: str, folder: Any
) -> None:
    images = folder(2)
    with pytest.raises(vi.ViInvalidParameterError, match="given twice"):
        client.assets.upload(dataset, [images, images / "image-001.png"])
    assert service.requests() == []


@pytest.mark.parametrize("given", ["folder", "", 5, ["basename"]], ids=repr)
def test_another_way_of_naming_is_refused(
    client: vi.Client, service: Any, dataset: str, folder: Any, given: Any
) -> None:
    with pytest.raises(vi.ViInvalidParameterError, match="basename") as raised:
        client.assets.upload(dataset, folder(1), names=given)
    assert raised.value.parameter == "names"
    assert service.requests() == []


@pytest.mark.parametrize("name", [None, "", 5, b"a.png", "a\0.png", "\udcff.png"], ids=repr)
def test_a_function_that_gives_no_usable_name_is_refused(
    client: vi.Client, service: Any, dataset: str, folder: Any, name: Any
) -> None:
    with pytest.raises(vi.ViInvalidParameterError, match=r"image-000\.png") as raised:
        client.assets.upload(dataset, folder(1), names=lambda path: name)
    assert raised.value.parameter == "names"
    assert service.requests() == []


def test_what_a_function_raises_comes_out_as_it_is(client: vi.Client, service: Any, dataset: str, folder: Any) -> None:
    with pytest.raises(ZeroDivisionError):
        client.assets.upload(dataset, folder(1), names=lambda path: str(1 / 0))
    assert service.requests() == []


def test_a_name_without_a_known_extension_fails_as_one_file(
    client: vi.Client, dataset: str, folder: Any, stored: Any
) -> None:
    def name(path: Path) -> str:
        return path.stem if "1" in path.stem else path.name

    result = client.assets.upload(dataset, folder(2), names=name, failure_mode="FailAfterAll")
    assert [(f.filename, f.code) for f in result.failures] == [("image-001", "EBADMIME")]
    assert list(stored(dataset)) == ["image-000.png"]


@pytest.mark.parametrize("dry_run", [False, True])
def test_bare_names_find_what_was_stored_by_path(
    client: vi.Client, dataset: str, tmp_path: Path, dry_run: bool
) -> None:
    folder = tmp_path / "in"
    for number, name in enumerate(("cam1/1.png", "cam2/deep/2.png", "3.png")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(_samples.encode(number, ".png", (8, 8)))
    client.assets.upload(dataset, folder, names="relative", show_progress=False)
    told = {"1.png": {"seen": 1}, "2.png": {"seen": 2}}
    (folder / "cam1/1.png").write_bytes(_samples.encode(9, ".png", (9, 9)))
    result = client.assets.upload(
        dataset, folder, skip_existing=True, custom_metadata=told, dry_run=dry_run, show_progress=False
    )
    if dry_run:
        assert result.plan is not None
        assert result.plan.counts == {"upload": 1, "set_metadata": 1}
        return
    assert (result.total_succeeded, result.total_existing) == (1, 2)
    stored = {one.filename: one.metadata.custom_metadata for one in client.assets.list(dataset).all_items()}
    assert stored == {"cam1/1.png": {"seen": 1}, "cam2/deep/2.png": {"seen": 2}, "3.png": {}}
    assert client.assets.verify(dataset, folder).ok
