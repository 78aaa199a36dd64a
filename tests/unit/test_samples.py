"""The sample pictures: real files of every format, the same each time."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

Image = pytest.importorskip("PIL.Image")

from vi import _media, _samples  # noqa: E402
from vi.server.inspection.inspector import InspectionJob, Inspector, Verdict  # noqa: E402


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def inspect(paths: list[Path]) -> dict[Path, Verdict]:
    inspector = Inspector()
    try:
        jobs = [
            InspectionJob(str(path), "Image", _media.IMAGE_TYPES[path.suffix], path.stat().st_size) for path in paths
        ]
        return dict(zip(paths, await inspector.inspect(jobs), strict=True))
    finally:
        await inspector.aclose()


@pytest.mark.anyio
async def test_every_sample_is_accepted(tmp_path: Path) -> None:
    """The service takes each file as what its name says, and no two are the same."""
    paths = _samples.make_samples(tmp_path / "pictures", count=60, size=(96, 72))
    verdicts = await inspect(paths)
    assert {path: verdict.error for path, verdict in verdicts.items() if verdict.error} == {}
    assert all(verdict.thumbnail for verdict in verdicts.values())
    assert {path.suffix for path in paths} == set(_samples.EXTENSIONS)
    assert len({verdict.sha256 for verdict in verdicts.values()}) == 60
    assert sorted(paths) == sorted((tmp_path / "pictures").iterdir())
    assert any(" " in path.name for path in paths)
    assert [verdict.frames for path, verdict in verdicts.items() if path.suffix == ".gif"] == [3]


def test_the_usual_folder_has_the_unusual_files(tmp_path: Path) -> None:
    """Among the default samples are a 16-bit PNG and pictures that are stored turned."""
    modes, turned = set(), 0
    for path in _samples.make_samples(tmp_path, size=(64, 48)):
        if path.suffix not in (".heic", ".heif"):
            with Image.open(path) as image:
                modes.add(image.mode)
                turned += image.getexif().get(0x0112, 1) != 1
    assert "I;16" in modes
    assert turned >= 2


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    first, again, other = (
        {
            path.name: hashlib.sha256(path.read_bytes()).digest()
            for path in _samples.make_samples(tmp_path / name, seed=seed)
        }
        for name, seed in (("first", 7), ("again", 7), ("other", 8))
    )
    assert first == again
    assert not set(first.values()) & set(other.values())


def test_few_samples_are_few(tmp_path: Path) -> None:
    assert len(_samples.make_samples(tmp_path / "three", count=3)) == 3
    assert _samples.make_samples(tmp_path / "none", count=0) == []


@pytest.mark.anyio
async def test_encode_makes_any_type(tmp_path: Path) -> None:
    """A seed or a picture becomes a file of any extension, of the size asked for where the format can be written."""
    picture = _samples.draw(3, (40, 30))
    paths = []
    for extension in _samples.EXTENSIONS:
        for name, source in (("seed", 3), ("picture", picture)):
            path = tmp_path / f"{name}{extension}"
            path.write_bytes(_samples.encode(source, extension, (40, 30)))
            paths.append(path)
    verdicts = await inspect(paths)
    for path, verdict in verdicts.items():
        assert verdict.error is None, path
        if path.suffix not in (".heic", ".heif"):
            assert (verdict.width, verdict.height) == (40, 30), path
    assert _samples.encode(3, ".heic") != _samples.encode(4, ".heic")
    plain, fine = (Image.open(io.BytesIO(_samples.encode(picture, ".jpg", quality=q))) for q in (10, 95))
    assert plain.tobytes() != fine.tobytes()


def test_importing_it_does_not_import_pillow() -> None:
    code = "import sys, vi._samples; sys.exit('PIL' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(Path(_samples.__file__).parents[1])}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (10, 8), (1, 50)])
def test_pictures_may_be_as_small_as_pictures_can_be(size: tuple[int, int]) -> None:
    assert {_samples.draw(seed, size).size for seed in range(40)} == {size}
