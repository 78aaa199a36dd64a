"""The blocks of the pages about other libraries, as they are printed."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import vi
from tests.ecosystem.conftest import Store
from tests.support.readme_blocks import ROOT, page
from vi import _samples
from vi.testing import TestedService

pytest.importorskip("fsspec")

pytestmark = [
    pytest.mark.ecosystem,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("default"),  # what those libraries warn of is theirs
]


def run_page(name: str, scope: dict[str, Any]) -> dict[str, Any]:
    """Run the Python blocks of a page of the documentation that the tests of the pages leave out."""
    blocks = page(name, (ROOT / "docs" / name).read_text("utf-8")).blocks
    blocks = [one for one in blocks if one.language == "python" and one.exempt is not None]
    assert blocks
    for block in blocks:
        exec(compile("\n" * block.line + block.text, name, "exec"), scope)
    return scope


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[vi.Client]:
    """A client of a service of its own, which is in the environment too."""
    service = TestedService.start(tmp_path / "data")
    for name, value in service.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("VI_CACHE_DIR", str(tmp_path / "cache"))
    with service.client() as client:
        yield client
    service.stop()


def test_mirror(own: vi.Client, store: Store) -> None:
    dataset, other = (own.datasets.create(name=name).dataset_id for name in ("one", "other"))
    run_page("mirror.md", {"dataset": dataset, "other": other})
    total = own.assets.count(dataset)
    assert (total, own.assets.count(other)) == (40, 40)
    assert store.fs.list_objects_v2(Bucket="bucket", Prefix="copy/")["KeyCount"] == total


def test_filesystem(own: vi.Client, capsys: pytest.CaptureFixture[str]) -> None:
    dataset, other = (own.datasets.create(name=name).dataset_id for name in ("one", "other"))
    names = [f"{number}{ending}" for number in range(3) for ending in (".png", ".jpg")] + ["north/0001.png"]
    files = [(name, io.BytesIO(_samples.encode(number, name[-4:], (20, 16)))) for number, name in enumerate(names)]
    own.assets.upload(dataset, files, show_progress=False)
    scope = run_page("filesystem.md", {"dataset": dataset, "other": other, "client": own})
    assert "(20, 16)" in capsys.readouterr().out
    assert len(list(scope["rows"]["train"])) == len(scope["names"]) == 3
    assert scope["table"].count() == 3
    assert own.assets.count(other) == len(names) + 1


def test_metadata(own: vi.Client) -> None:
    dataset = own.datasets.create(name="one").dataset_id
    files = [(f"{number}.png", _samples.encode(number, ".png", (20, 16))) for number in range(3)]
    metadata = {"0.png": {"lot": 2**40, "night": True}, "1.png": {"lot": 1}, "2.png": {}}
    own.assets.upload(dataset, files, custom_metadata=metadata, show_progress=False)
    frame = run_page("metadata.md", {"dataset": dataset, "client": own, "vi": vi})["frame"].sort("filename")
    assert frame["custom.lot"].to_list() == [2**40, 1, None]
    assert frame["custom.night"].to_list() == [True, None, None]
