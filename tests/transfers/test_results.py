"""Results add up, say what happened in words, and turn into JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import vi


@pytest.fixture
def mixed(folder: Any) -> Path:
    """A folder with three good images, one broken, one named wrongly, and two files to skip."""
    images: Path = folder(3)
    (images / "broken.png").write_bytes((images / "image-000.png").read_bytes()[:40])
    (images / "text.png").write_text("not an image")
    (images / "notes.txt").write_text("skipped")
    (images / ".hidden").write_text("skipped")
    return images


def test_an_upload_accounts_for_every_file(client: vi.Client, dataset: str, mixed: Path, stored: Any) -> None:
    result = client.assets.upload(dataset, mixed, failure_mode="FailAfterAll")
    assert (result.total_files, result.total_succeeded, result.total_failed, result.total_skipped) == (5, 3, 2, 2)
    assert result.total_succeeded + result.total_existing + result.total_failed + result.total_cancelled == 5
    assert result.success_rate == 60.0
    assert result.failed_files == [f.path for f in result.failures]
    assert sorted(result.failed_files) == [str(mixed / "broken.png"), str(mixed / "text.png")]
    assert {Path(f.path).name: f.code for f in result.failures} == {"broken.png": "ECORRUPT", "text.png": "EBADMIME"}
    assert len(stored(dataset)) == result.total_succeeded
    assert sum(s.status.progressCount.succeeded for s in result.sessions) == result.total_succeeded
    assert result.session_ids == [s.asset_ingestion_session_id for s in result.sessions]
    assert result.seconds > 0


def test_paths_come_back_as_they_were_given(
    client: vi.Client, dataset: str, mixed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(mixed.parent)
    result = client.assets.upload(dataset, ["images/text.png", "images/image-000.png"], failure_mode="FailAfterAll")
    assert result.failed_files == [str(Path("images/text.png"))]


def test_the_summary_names_what_went_wrong(client: vi.Client, dataset: str, mixed: Path) -> None:
    result = client.assets.upload(dataset, mixed, failure_mode="FailAfterAll")
    first, *lines = result.summary().splitlines()
    assert first.startswith("3 files uploaded, 2 failed in ")
    assert str(result) == first
    text = "\n".join(lines)
    assert "text.png is named .png" in text
    assert "2 skipped: 1 hidden, 1 unsupported (.txt)" in text


def test_a_long_list_of_failures_is_cut_in_the_summary_alone(client: vi.Client, dataset: str, folder: Any) -> None:
    images = folder(1)
    for number in range(9):
        (images / f"text-{number}.png").write_text("x")
    result = client.assets.upload(dataset, images, failure_mode="FailAfterAll")
    assert len(result.failures) == 9
    assert result.summary().count("EBADMIME") == 5
    assert "and 4 more" in result.summary()


def test_the_result_is_json(client: vi.Client, dataset: str, mixed: Path) -> None:
    result = client.assets.upload(dataset, mixed, failure_mode="FailAfterAll")
    document = json.loads(json.dumps(result.to_dict()))
    assert document["total_files"] == 5
    assert document["session_ids"] == result.session_ids
    assert {f["code"] for f in document["failures"]} == {"ECORRUPT", "EBADMIME"}
    assert document["skip_reasons"] == {"hidden": 1, "unsupported (.txt)": 1}


def test_no_representation_shows_a_key_or_a_signature(client: vi.Client, dataset: str, mixed: Path) -> None:
    result = client.assets.upload(dataset, mixed, failure_mode="FailAfterAll")
    asset = client.assets.list(dataset, contents=True).items[0]
    text = "\n".join(map(repr, [result, result.sessions, result.to_dict(), asset, client, client.settings]))
    assert client.settings.secret_key not in text
    assert "ignature" not in text
    assert asset.contents is not None
    assert asset.contents.asset is not None
    assert "ignature" in asset.contents.asset.url


def test_a_folder_with_nothing_to_upload_is_a_result_that_says_so(
    client: vi.Client, service: Any, dataset: str, tmp_path: Path
) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("x")
    result = client.assets.upload(dataset, tmp_path / "texts")
    assert (result.total_files, result.total_skipped, result.success_rate) == (0, 1, 100.0)
    assert "1 skipped: 1 unsupported (.txt)" in result.summary()
    assert service.requests("POST") == []


def test_the_error_of_a_stopped_upload_has_the_result_and_becomes_json(
    client: vi.Client, dataset: str, mixed: Path
) -> None:
    with pytest.raises(vi.ViUploadError) as raised:
        client.assets.upload(dataset, mixed)
    result = raised.value.result
    assert raised.value.partial_result is result
    assert result.total_files == 5
    assert result.total_failed >= 1
    assert raised.value.path in result.failed_files
    assert "FailAfterAll" in str(raised.value)
    json.dumps(raised.value.to_dict())
