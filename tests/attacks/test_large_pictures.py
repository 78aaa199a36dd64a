"""Row A22: a picture that needs more memory than its decoder may take is decoded alone, or refused for that reason."""

from __future__ import annotations

import io
import sys
from contextlib import aclosing
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("PIL")

from PIL import Image

from tests.unit.arrived import Box
from vi.server.inspection import structure
from vi.server.inspection.frames import Verdict
from vi.server.inspection.inspector import InspectionLimits, Inspector

pytestmark = pytest.mark.anyio

SIDE = 1000
FORMATS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "AVIF": ("AVIF", "image/avif", {"speed": 10, "quality": 40}),
    "BMP": ("BMP", "image/bmp", {}),
    "JPEG 2000": ("JPEG2000", "image/jp2", {}),
    "PNG": ("PNG", "image/png", {"compress_level": 1}),
    "TIFF": ("TIFF", "image/tiff", {"compression": "tiff_lzw"}),
    "WebP": ("WEBP", "image/webp", {"method": 0}),
    "lossless WebP": ("WEBP", "image/webp", {"method": 0, "lossless": True, "quality": 0}),
    "progressive JPEG": ("JPEG", "image/jpeg", {"progressive": True}),
    "HEIC": ("HEIF", "image/heic", {"quality": 40}),
}
if find_spec("pi_heif") is None:  # a service without it refuses HEIF
    del FORMATS["HEIC"]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


@cache
def large(name: str) -> bytes:
    """Return a picture that no decoder reads in a few megabytes."""
    format, _, options = FORMATS[name]
    if name == "HEIC":
        pytest.importorskip("pillow_heif", reason="nothing here writes HEIC").register_heif_opener()
    out = io.BytesIO()
    noise = Image.effect_noise((SIDE // 4, SIDE // 4), 60).resize((SIDE, SIDE))
    noise.convert("RGB").save(out, format, **options)
    return out.getvalue()


async def inspected(box: Box, limits: InspectionLimits) -> dict[str, Verdict]:
    """Return the verdict over each format."""
    jobs = [box.job(large(name), FORMATS[name][1]) for name in FORMATS]
    async with aclosing(Inspector(workers=1, limits=limits)) as inspector:
        return dict(zip(FORMATS, await inspector.inspect(jobs), strict=True))


async def test_A22_what_needs_more_than_a_share_is_decoded_alone(box: Box) -> None:
    found = await inspected(box, InspectionLimits(share_bytes=4 << 20))
    told = {name: (verdict.error, verdict.width, verdict.height) for name, verdict in found.items()}
    assert told == dict.fromkeys(FORMATS, (None, SIDE, SIDE))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux holds a process to such a limit")
@pytest.mark.parametrize("most", [3, pytest.param(8, marks=pytest.mark.large)])
async def test_A22_what_needs_more_than_one_may_take_is_not_called_damaged(most: int, box: Box) -> None:
    found = await inspected(box, InspectionLimits(share_bytes=2 << 20, memory_bytes=most << 20))
    assert {verdict.error for verdict in found.values()} <= {None, "EBADSIZE"}, [
        (k, v.error, v.message) for k, v in found.items()
    ]
    refused = [verdict.message or "" for verdict in found.values() if verdict.error]
    assert len(refused) >= 2
    assert all(f"{most} MiB of memory" in message for message in refused)


async def test_A22_a_damaged_picture_is_called_so(box: Box) -> None:
    async with aclosing(Inspector(workers=1)) as inspector:
        data = large("progressive JPEG")
        [verdict] = await inspector.inspect([box.job(data[: len(data) // 2], "image/jpeg")])
    assert verdict.error == "ECORRUPT"


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"icc_profile": b"x" * 200}])
@pytest.mark.parametrize("size", [(1, 1), (300, 7), (5, 4000)])
def test_A22_the_size_of_a_webp_is_known_before_it_is_opened(options: dict[str, Any], size: tuple[int, int]) -> None:
    out = io.BytesIO()
    Image.new("RGB", size).save(out, "WEBP", **options)
    assert structure.size_of_webp(out.getvalue()) == size
    assert structure.size_of_webp(out.getvalue()[:12]) is None
