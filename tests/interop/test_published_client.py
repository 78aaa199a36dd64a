"""What the published client sees of the local service, step by step of its script `published_client.py`."""

from __future__ import annotations

import hashlib
from pathlib import Path
from urllib.parse import unquote

import pytest

from vi import _media

from .conftest import Run

pytestmark = [pytest.mark.interop, pytest.mark.timeout(300)]


def digests(folder: Path, *, decode: bool = False) -> dict[str, str]:
    """Name and SHA-256 of each file; the client saves under the last piece of the URL as it is."""
    return {
        unquote(path.name) if decode else path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
    }


def accepted(run: Run) -> dict[str, str]:
    """The pictures that the client uploads: it cannot tell what a raw JPEG 2000 codestream is, and skips it."""
    return {name: digest for name, digest in digests(run.pictures).items() if not name.endswith(".j2k")}


def refused(outcome: dict[str, str], error: str, code: str) -> bool:
    return (outcome["error"], outcome["code"]) == (error, code) and bool(outcome["message"])


def test_organization(run: Run) -> None:
    fact = run.fact("organization")
    assert fact["listed"] == [fact["id"]]
    assert fact["name"]


def test_create(run: Run) -> None:
    fact = run.fact("create")
    assert (fact["name"], fact["type"], fact["assets"]) == ("Street signs", "phrase-grounding", 0)
    assert "_" not in fact["id"]


def test_upload_a_folder(run: Run) -> None:
    """Everything that the client sends is ingested, and counted so at once."""
    fact, total = run.fact("upload_folder"), len(accepted(run))
    assert total == 299
    assert (fact["total"], fact["succeeded"], fact["failed"], fact["failed_files"]) == (total, total, 0, {})
    assert len(fact["sessions"]) == 1
    assert run.fact("after_upload") == {"assets": total, "count": total}


def test_list(run: Run) -> None:
    """Each asset decodes and tells the truth about its file."""
    listed = run.fact("list_all")
    assert {name: asset["sha256"] for name, asset in listed.items()} == accepted(run)
    for name, asset in listed.items():
        assert asset["size"] == (run.pictures / name).stat().st_size
        assert (asset["kind"], asset["mime"]) == _media.media_type(name)
        assert asset["width"] == (160 if name.endswith((".heic", ".heif")) else 320)
        assert asset["frames"] == (3 if name.endswith(".gif") else 1)
        assert asset["dataset"] == run.fact("create")["id"]
        assert asset["organization"] == run.fact("organization")["id"]


def test_sort(run: Run) -> None:
    fact = run.fact("list_sorted")
    sizes = sorted((run.pictures / name).stat().st_size for name in accepted(run))
    assert fact["ascending"] == sizes
    assert fact["descending"] == sizes[::-1]
    assert fact["names"] == sorted(accepted(run), reverse=True)
    assert (fact["default"], fact["more"]) == (10, True)


def test_filter(run: Run) -> None:
    fact = run.fact("list_filtered")
    png = sum(name.endswith(".png") for name in accepted(run))
    assert png > 10
    assert (fact["listed"], fact["counted"], fact["tolerant"], fact["strict"]) == (png, png, png, 0)
    assert (fact["query"], fact["colon"]) == (0, 0)
    assert refused(fact["malformed"], "ViValidationError", "ValidationFailed")


def test_get_with_contents(run: Run) -> None:
    """A signed URL works with no header at all, for the asset and for its thumbnail."""
    fact = run.fact("get")
    assert " " in fact["name"]
    assert fact["same"]
    assert fact["sha256"] == accepted(run)[fact["name"]]
    assert fact["thumbnail"] == "ffd8ff"
    assert fact["plain"], "no URL unless asked for"
    assert refused(fact["missing"], "ViNotFoundError", "ResourceNotFound")


def test_download(run: Run) -> None:
    """Every file comes back byte for byte, under a name that decodes to its own."""
    fact = run.fact("download")
    assert digests(Path(fact["folder"]), decode=True) == accepted(run)
    assert fact["count"] == len(accepted(run))


def test_rename(run: Run) -> None:
    fact = run.fact("rename")
    assert fact["by_id"] == ["renamed by id.png", True]
    assert fact["by_name"] == ["renamed-by-name.png", True]
    expected = (set(accepted(run)) - set(fact["gone"])) | {"renamed by id.png", "renamed-by-name.png"}
    assert fact["names"] == sorted(expected)
    assert refused(fact["taken"], "ViConflictError", "ResourceConflict")
    assert refused(fact["missing"], "ViNotFoundError", "ResourceNotFound")


def test_delete(run: Run) -> None:
    fact = run.fact("delete")
    assert (fact["id"], fact["deleted"]) == (True, True)
    assert fact["name"] not in fact["left"]
    assert len(fact["left"]) == fact["total"] == len(accepted(run)) - 1
    assert refused(fact["again"], "ViNotFoundError", "ResourceNotFound")


def test_wait(run: Run) -> None:
    fact = run.fact("upload_and_wait")
    assert fact["same"]
    assert fact["counts"] == [1, 1]
    assert fact["conditions"] == {"Started": "Reached", "Finished": "Reached"}
    assert refused(fact["missing"], "ViNotFoundError", "ResourceNotFound")


def test_overwrite(run: Run) -> None:
    """The same name keeps its asset and takes the new bytes; both words for "keep" are as the client reads them."""
    fact = run.fact("overwrite")
    assert fact["same"]
    assert fact["sha256"][0] == fact["sha256"][1]
    assert fact["retention"] == {
        "RemoveLinkedResource": "RemoveLinkedResource",
        "KeepLinkedResource": "KeepLinkedResources",
    }


def test_upload_in_parts(run: Run) -> None:
    """An image and a video go in several parts each and come back whole."""
    fact = run.fact("in_parts")
    assert (fact["result"]["succeeded"], fact["result"]["failed"]) == (2, 0)
    assert {name: kind for name, (kind, _) in fact["found"].items()} == {
        "wide.bmp": "Image",
        "drive day 1.mp4": "Video",
    }
    for name, numbers in fact["parts"].items():
        assert len(numbers) > 1, name
        assert numbers == list(range(1, len(numbers) + 1)), "each part once"
    assert digests(Path(fact["folder"]), decode=True) == digests(run.large)


def test_broken_file(run: Run) -> None:
    fact = run.fact("broken")
    assert fact["counts"] == [1, 1]
    assert fact["failed"] == {"cut.jpg": "ECORRUPT"}
    assert fact["left"] == ["good.jpg"]
    assert refused(fact["one"], "ViOperationError", "OperationFailed")


def test_delete_many(run: Run) -> None:
    """A filter deletes what it finds, a query that finds nothing deletes nothing, and no filter means all."""
    fact = run.fact("delete_many")
    assert fact["before"] == len(accepted(run)) - 1
    assert 0 < fact["jpeg"] < fact["before"]
    assert fact["between"] == [fact["before"] - fact["jpeg"], False]
    assert fact["conditions"] == ["Reached", "Reached"]
    assert fact["spec"] == ["camera_type:aerial", True]
    assert fact["same"] == fact["between"][0]
    assert fact["after"] == 0
    assert fact["sessions"] == 3
    assert refused(fact["malformed"], "ViValidationError", "ValidationFailed")


def test_list_datasets(run: Run) -> None:
    """Pages of datasets neither repeat nor skip."""
    fact = run.fact("list_datasets")
    names = [name for page in fact["pages"] for name in page]
    assert [len(page) for page in fact["pages"][:-1]] == [3] * (len(fact["pages"]) - 1)
    assert len(fact["pages"]) == 3
    assert len(set(names)) == len(names) == 8
    assert fact["simple"] == fact["all"] == names


def test_update_a_dataset(run: Run) -> None:
    fact = run.fact("update")
    assert fact["changed"] == fact["read"] == ["Road signs", "new", {"red": 1}]


def test_delete_a_dataset(run: Run) -> None:
    fact = run.fact("delete_dataset")
    assert fact["conditions"]
    assert fact["operation"] == "DeleteDatasetOperation"
    assert refused(fact["get"], "ViNotFoundError", "ResourceNotFound")
    assert not fact["listed"]


def test_refusals(run: Run) -> None:
    fact = run.fact("refused")
    assert refused(fact["key"], "ViAuthenticationError", "AuthenticationFailed")
    assert refused(fact["organization"], "ViAuthenticationError", "PermissionDenied")
    assert refused(fact["name"], "ViValidationError", "ValidationFailed")


def test_the_service_ends_cleanly(run: Run) -> None:
    """SIGTERM ends ``python -m vi serve`` with exit code 0."""
    assert run.exit_code == 0
