"""`verify` and `skip_existing`: what is the same, and what cannot be told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

import vi
from tests.support.counting_service import CountingService, digests, other_content, stored
from tests.support.pictures import tiny
from tests.sync.test_up import without_digests


def test_verify_tells_every_case_and_moves_nothing(do: Any, dataset: str, both: Path, service: CountingService) -> None:
    (both / "0.png").unlink()
    other_content(both / "1.png")
    (both / "2.png").write_bytes(tiny(2, side=9))
    (both / "new.png").write_bytes(tiny(50))
    (both / "wrong.png").write_bytes(b"no image at all")
    (both / "notes.txt").write_text("not compared")
    before = digests(both)
    service.reset()
    result = do("verify", dataset, both)
    assert result.matching == 3
    assert result.only_remote == ["0.png"]
    assert sorted(result.different) == ["1.png", "2.png"]
    assert result.only_local == ["new.png"]
    assert [(failure.filename, failure.code) for failure in result.failures] == [("wrong.png", "EBADMIME")]
    assert not result.uncompared
    assert not result.ok
    assert all(asked.startswith("GET ") for asked in service.asked)
    assert digests(both) == before
    for word in (
        "3 files identical",
        "2 different",
        "new.png [only in the folder]",
        "0.png [only in the dataset]",
        "1 failed",
    ):
        assert word in result.summary()
    assert result.to_dict()["ok"] is False


def test_verify_of_equal_sides(do: Any, dataset: str, both: Path) -> None:
    result = do("verify", dataset, both)
    assert (result.ok, result.matching) == (True, 6)
    assert str(result) == "6 files identical"


def test_verify_without_a_digest_says_what_it_could_not_compare(
    do: Any, dataset: str, both: Path, service: CountingService
) -> None:
    other_content(both / "1.png")
    (both / "2.png").write_bytes(tiny(2, side=9))
    service.rewrite = without_digests
    result = do("verify", dataset, both)
    assert sorted(result.uncompared) == ["0.png", "1.png", "3.png", "4.png", "5.png"]
    assert result.different == ["2.png"], "sizes can always be compared"
    assert result.matching == 0
    assert "not compared: the size is equal, and the service states no digest" in result.summary()


@pytest.mark.parametrize("algorithm", ["md5", "crc32c"])
def test_verify_by_the_digests_that_other_services_state(
    client: vi.Client, dataset: str, both: Path, service: CountingService, algorithm: str
) -> None:
    import hashlib

    from vi._checksums import crc32c, to_signed

    contents = {path.name: path.read_bytes() for path in both.iterdir()}

    def rewrite(request: web.Request, document: Any) -> Any:
        for item in document.get("items", []):
            data = contents[item["filename"]]
            digest = hashlib.md5(data).hexdigest() if algorithm == "md5" else str(to_signed(crc32c(data)))
            item["metadata"]["hash"] = {"algorithm": algorithm, "contents": digest}
        return document

    service.rewrite = rewrite
    other_content(both / "1.png")
    result = client.assets.verify(dataset, both)
    assert (result.matching, result.different, result.uncompared) == (5, ["1.png"], [])


def test_verify_leaves_out_on_both_sides_what_the_patterns_do(do: Any, dataset: str, both: Path) -> None:
    (both / "0.png").unlink()
    (both / "1.png").unlink()
    result = do("verify", dataset, both, exclude=["0.*"])
    assert (result.only_remote, result.matching) == (["1.png"], 4)
    assert do("verify", dataset, both, include=["[2-9].png"]).ok


def test_verify_below_the_folder(client: vi.Client, dataset: str, tmp_path: Path) -> None:
    for number, below in enumerate(("a", "b")):
        (tmp_path / below).mkdir()
        (tmp_path / below / "same.png").write_bytes(tiny(number))
    client.assets.upload(dataset, tmp_path, names="relative", show_progress=False)
    assert client.assets.verify(dataset, tmp_path, names="relative").ok


def test_skip_existing_sends_what_is_not_proved_to_be_there(
    do: Any, client: vi.Client, dataset: str, both: Path, service: CountingService
) -> None:
    other_content(both / "1.png")
    (both / "2.png").write_bytes(tiny(2, side=9))
    (both / "new.png").write_bytes(tiny(50))
    result = do("upload", dataset, both, skip_existing=True, show_progress=False)
    assert (result.total_succeeded, result.total_existing) == (3, 4)
    assert sorted(put.name for put in service.puts) == ["1.png", "2.png", "new.png"]
    assert stored(client, dataset) == digests(both)
    service.reset()
    result = do("upload", dataset, both, skip_existing=True, show_progress=False)
    assert (result.total_succeeded, result.total_existing, result.success_rate) == (0, 7, 100)
    assert all(asked.startswith("GET ") for asked in service.asked), "no session, no URL"


def test_skip_existing_without_a_digest_sends_everything(
    client: vi.Client, dataset: str, both: Path, service: CountingService
) -> None:
    service.rewrite = without_digests
    result = client.assets.upload(dataset, both, skip_existing=True, show_progress=False)
    assert (result.total_succeeded, result.total_existing) == (6, 0)


def test_skip_existing_compares_bytes_and_open_files_too(client: vi.Client, dataset: str, both: Path) -> None:
    same, other = (both / "0.png").read_bytes(), tiny(50)
    with (both / "2.png").open("rb") as file:
        result = client.assets.upload(
            dataset, [("0.png", same), ("1.png", other), file], skip_existing=True, show_progress=False
        )
    assert (result.total_succeeded, result.total_existing) == (1, 2)


@pytest.mark.parametrize("skip_existing", [True, False])
def test_a_dry_run_of_an_upload_says_what_it_would_send(
    do: Any, dataset: str, both: Path, service: CountingService, skip_existing: bool
) -> None:
    (both / "new.png").write_bytes(tiny(50))
    (both / "notes.txt").write_text("left out")
    service.reset()
    result = do("upload", dataset, both, dry_run=True, skip_existing=skip_existing, show_progress=False)
    assert result.plan is not None
    assert result.plan.counts == {"upload": 1 if skip_existing else 7}
    assert result.plan.existing == (6 if skip_existing else 0)
    assert result.plan.skipped == {"unsupported (.txt)": 1}
    assert all(asked.startswith("GET ") for asked in service.asked)
    assert result.summary().startswith("Dry run: ")


def test_skip_existing_when_the_listing_fails_sends_nothing(
    do: Any, dataset: str, both: Path, service: CountingService
) -> None:
    (both / "new.png").write_bytes(tiny(50))

    def fail(number: int, request: web.Request) -> None:
        if request.path.endswith("/assets"):
            raise web.HTTPInternalServerError

    service.at = fail
    with pytest.raises(vi.errors.ViServerError):
        do("upload", dataset, both, skip_existing=True, show_progress=False)
    assert not service.puts
    assert not any("assetIngestionSessions" in asked for asked in service.asked)
