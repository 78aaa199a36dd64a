"""Images under the extension of another type: refused before they are sent, or taken as what they hold."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

import vi
from vi import _media, _samples
from vi.cli import main

TYPES = {".avif": "avif", ".bmp": "bmp", ".gif": "gif", ".jp2": "jpeg2000", ".jpg": "jpeg", ".png": "png"}
TYPES |= {".tiff": "tiff", ".webp": "webp"}
PAIRS = [(held, named) for held, named in itertools.permutations(TYPES, 2)]


@pytest.fixture(scope="module")
def content() -> dict[str, bytes]:
    return {extension: _samples.encode(number, extension, (16, 12)) for number, extension in enumerate(TYPES)}


def files(content: dict[str, bytes]) -> list[tuple[str, bytes]]:
    return [(f"{held[1:]}-in-truth{named}", content[held]) for held, named in PAIRS]


def test_every_pair_is_refused_by_name_and_not_sent(
    client: vi.Client, service: Any, dataset: str, content: dict[str, bytes]
) -> None:
    service.forget()
    result = client.assets.upload(dataset, files(content), failure_mode="FailAfterAll")
    assert service.requests("PUT") == []
    assert result.total_failed == len(PAIRS)
    told = {failure.filename: failure for failure in result.failures}
    for (name, _), (held, _) in zip(files(content), PAIRS, strict=True):
        assert told[name].code == "EBADMIME"
        assert f"holds {TYPES[held]} data" in told[name].message
        assert "detect='content'" in told[name].message
        right = told[name].message.partition("correct its extension to ")[2].partition(",")[0]
        assert _media.family_of(_media.IMAGE_TYPES[right]) == TYPES[held]


def test_every_pair_is_taken_by_its_content(client: vi.Client, dataset: str, content: dict[str, bytes]) -> None:
    given = [*files(content), ("no extension", content[".png"])]
    result = client.assets.upload(dataset, given, detect="content")
    assert (result.total_succeeded, result.total_failed) == (len(given), 0)


def test_the_asset_keeps_its_name_and_has_the_type(client: vi.Client, dataset: str, content: Any) -> None:
    client.assets.upload(dataset, [("a.jpg", content[".png"]), ("b.png", content[".png"])], detect="content")
    stored = {asset.filename: asset for asset in client.assets.list(dataset).all_items()}
    assert {name: asset.metadata.mime_type for name, asset in stored.items()} == {
        "a.jpg": "image/png",
        "b.png": "image/png",
    }


def test_what_is_no_image_is_refused_by_content_too(client: vi.Client, dataset: str, content: Any) -> None:
    given = [("a.jpg", b"text" * 40), ("b.png", b"\0\0\0\x14ftypisom\0\0\2\0isom" + bytes(80)), ("c", b"text" * 40)]
    result = client.assets.upload(dataset, given, detect="content", failure_mode="FailAfterAll")
    assert [failure.code for failure in result.failures] == ["EBADMIME"] * 3


@pytest.mark.parametrize("options", [{"detect": "magic"}, {"detect": None}, {"detect": "content", "dry_run": True}])
def test_other_words_are_refused_before_anything_is_asked(
    client: vi.Client, service: Any, dataset: str, content: Any, options: dict[str, Any]
) -> None:
    service.forget()
    with pytest.raises(vi.ViInvalidParameterError, match="detect"):
        client.assets.upload(dataset, [("a.png", content[".png"])], **options)
    assert service.requests() == []


def test_on_the_command_line(
    service: Any, dataset: str, tmp_path: Path, content: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    for name, value in service.environment.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "a.jpg").write_bytes(content[".webp"])
    assert main(["assets", "upload", dataset, str(tmp_path)]) == 1
    assert "holds webp data" in capsys.readouterr().err
    assert main(["assets", "upload", dataset, str(tmp_path), "--detect", "content"]) == 0
    assert main(["assets", "upload", dataset, str(tmp_path), "--detect", "content", "--dry-run"]) == 2
