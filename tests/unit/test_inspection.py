"""Arrived files: what is accepted, what is refused and with which word, and what a hostile one can cost."""

from __future__ import annotations

import contextlib
import hashlib
import io
import random
import struct
import sys
import time
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from importlib.util import find_spec
from pathlib import Path

import pytest

pytest.importorskip("PIL")
pillow_heif = pytest.importorskip("pillow_heif")

from PIL import Image  # noqa: E402

from tests.unit.arrived import Box, encode, picture  # noqa: E402
from vi import _checksums, _media  # noqa: E402
from vi.server.inspection import decoding  # noqa: E402
from vi.server.inspection.frames import RefusedError  # noqa: E402
from vi.server.inspection.inspector import (  # noqa: E402
    InspectionJob,
    InspectionLimits,
    Inspector,
    Verdict,
)

pytestmark = pytest.mark.anyio
on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def inspector() -> AsyncIterator[Inspector]:
    inspector = Inspector(workers=1)
    yield inspector
    await inspector.aclose()


def animated(format: str, **options: object) -> bytes:
    return encode(format, save_all=True, append_images=[picture(2), picture(3)], **options)


@pytest.fixture(scope="module", autouse=True)
def heif_writer() -> None:
    pillow_heif.register_heif_opener()


READS_HEIF = find_spec("pi_heif") is not None  # pillow_heif, which writes it here, has wheels for more Pythons
FORMATS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "jpeg": ("image/jpeg", lambda: encode("JPEG", quality=85)),
    "jpeg progressive": ("image/jpeg", lambda: encode("JPEG", progressive=True)),
    "jpeg cmyk": ("image/jpeg", lambda: encode("JPEG", picture().convert("CMYK"))),
    "png": ("image/png", lambda: encode("PNG")),
    "png animated": ("image/png", lambda: animated("PNG")),
    "tiff": ("image/tiff", lambda: encode("TIFF")),
    "tiff lzw": ("image/tiff", lambda: encode("TIFF", compression="tiff_lzw")),
    "tiff fax": ("image/tiff", lambda: encode("TIFF", picture().convert("1"), compression="group4")),
    "tiff large": ("image/tiff", lambda: encode("TIFF", big_tiff=True)),
    "tiff pages": ("image/tiff", lambda: animated("TIFF", compression="tiff_deflate")),
    "bmp": ("image/bmp", lambda: encode("BMP")),
    "webp": ("image/webp", lambda: encode("WEBP")),
    "webp animated": ("image/webp", lambda: animated("WEBP")),
    "heic": ("image/heic", lambda: encode("HEIF")),
    "heif": ("image/heif", lambda: animated("HEIF")),
    "avif": ("image/avif", lambda: encode("AVIF", speed=10)),
    "avif animated": ("image/avif", lambda: animated("AVIF", speed=10)),
    "jp2": ("image/jp2", lambda: encode("JPEG2000")),
    "j2k": ("image/jp2", lambda: encode("JPEG2000", no_jp2=True)),
    "gif": ("image/gif", lambda: encode("GIF")),
    "gif animated": ("image/gif", lambda: animated("GIF")),
}
READ = [name for name in FORMATS if READS_HEIF or not name.startswith("hei")]


@pytest.fixture(scope="module")
def corpus(heif_writer: None) -> dict[str, tuple[str, bytes]]:
    return {name: (mime, make()) for name, (mime, make) in FORMATS.items()}


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


# What is accepted.


@pytest.mark.parametrize("name", READ)
async def test_a_sound_image_is_measured(
    name: str, corpus: dict[str, tuple[str, bytes]], box: Box, inspector: Inspector
) -> None:
    """Every format gives size, digests, dimensions, frames and a thumbnail."""
    mime, data = corpus[name]
    crc = _checksums.crc32c(data)
    [verdict] = await inspector.inspect([box.job(data, mime, crc32c=_checksums.to_signed(crc))])
    assert (verdict.error, verdict.message) == (None, None)
    assert (verdict.size, verdict.crc32c, verdict.mime) == (len(data), crc, mime)
    assert verdict.sha256 == hashlib.sha256(data).hexdigest()
    assert (verdict.width, verdict.height) == (96, 64)
    assert verdict.frames == (3 if name in ("heif", "tiff pages") or "animated" in name else 1)
    assert verdict.thumbnail
    with Image.open(io.BytesIO(verdict.thumbnail)) as thumbnail:
        assert thumbnail.size == (96, 64)
        assert thumbnail.format == ("WEBP" if name == "webp animated" else "JPEG")


def deep(mode: str) -> Image.Image:
    ramp = Image.linear_gradient("L").resize((96, 64))
    return ramp.convert("I").point(lambda value: value * 40).convert(mode)


PIXELS: dict[str, tuple[str, str, Callable[[], Image.Image], str]] = {
    "16-bit png": ("PNG", "image/png", lambda: deep("I;16"), "L"),
    "16-bit tiff": ("TIFF", "image/tiff", lambda: deep("I;16"), "L"),
    "32-bit tiff": ("TIFF", "image/tiff", lambda: deep("I"), "L"),
    "float tiff": ("TIFF", "image/tiff", lambda: deep("F"), "L"),
    "cmyk tiff": ("TIFF", "image/tiff", lambda: picture().convert("CMYK"), "RGB"),
    "palette png": ("PNG", "image/png", lambda: picture().quantize(16), "RGB"),
    "1-bit png": ("PNG", "image/png", lambda: picture().convert("1"), "L"),
    "grey and alpha": ("PNG", "image/png", lambda: Image.new("LA", (96, 64), (200, 128)), "RGBA"),
    "alpha": ("PNG", "image/png", lambda: Image.new("RGBA", (96, 64), (255, 0, 0, 128)), "RGBA"),
}


@pytest.mark.parametrize("name", PIXELS)
async def test_unusual_pixels_get_a_thumbnail(name: str, box: Box, inspector: Inspector) -> None:
    """Deep, palette, CMYK and transparent pixels become a preview that shows them."""
    format, mime, make, mode = PIXELS[name]
    [verdict] = await inspector.inspect([box.job(encode(format, make()), mime)])
    assert verdict.error is None
    assert verdict.thumbnail
    with Image.open(io.BytesIO(verdict.thumbnail)) as thumbnail:
        assert thumbnail.mode == mode
        if mode == "L" and name != "1-bit png":
            low, high = thumbnail.getextrema()
            assert low < 20, "the darkest value is black"
            assert high > 235, "the brightest is white, however narrow the range was"
        if mode == "RGBA":
            assert thumbnail.getpixel((40, 40))[3] == pytest.approx(128, abs=3)


async def test_pixels_without_a_preview_do_not_fail_the_file(box: Box, inspector: Inspector) -> None:
    nan = Image.new("F", (8, 8), float("nan"))
    [verdict] = await inspector.inspect([box.job(encode("TIFF", nan), "image/tiff")])
    assert (verdict.error, verdict.thumbnail, verdict.width) == (None, None, 8)


@pytest.mark.parametrize(("format", "mime"), [("JPEG", "image/jpeg"), ("PNG", "image/png"), ("TIFF", "image/tiff")])
async def test_orientation_turns_the_thumbnail_only(format: str, mime: str, box: Box, inspector: Inspector) -> None:
    """A picture tagged "turned right" keeps its stored width and height; its preview stands upright."""
    image = Image.new("RGB", (80, 40), "blue")
    image.paste("red", (0, 0, 40, 40))
    exif = Image.Exif()
    exif[0x0112] = 6
    options = {"tiffinfo": exif} if format == "TIFF" else {"exif": exif}
    [verdict] = await inspector.inspect([box.job(encode(format, image, **options), mime)])
    assert (verdict.error, verdict.width, verdict.height) == (None, 80, 40)
    assert verdict.thumbnail
    with Image.open(io.BytesIO(verdict.thumbnail)) as thumbnail:
        assert thumbnail.size == (40, 80)
        red, _, blue = thumbnail.convert("RGB").getpixel((20, 10))  # type: ignore[misc]
        assert red > 200 > 50 > blue
        assert not thumbnail.getexif()


async def test_the_thumbnail_fits_its_side(box: Box) -> None:
    """Large pictures shrink to the side that was asked for, in either shape, and extreme ones keep a pixel."""
    async with aclosing(Inspector(workers=1, limits=InspectionLimits(thumbnail_side=64))) as inspector:
        sizes = [(1000, 500), (500, 1000), (3000, 2)]
        verdicts = await inspector.inspect([box.job(encode("JPEG", picture(1, s)), "image/jpeg") for s in sizes])
    assert [(v.width, v.height) for v in verdicts] == sizes
    found = [Image.open(io.BytesIO(v.thumbnail or b"")).size for v in verdicts]
    assert found == [(64, 32), (32, 64), (64, 1)]


async def test_a_video_is_hashed_in_pieces(box: Box, inspector: Inspector) -> None:
    """A video is measured over all its bytes, with no dimensions."""
    data = b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41" + random.Random(4).randbytes(3_000_000)
    crc = _checksums.crc32c(data)
    [verdict] = await inspector.inspect([box.job(data, "video/mp4", crc32c=_checksums.to_signed(crc))])
    assert verdict == Verdict(None, None, len(data), crc, hashlib.sha256(data).hexdigest(), "video/mp4")


# What is refused.


def is_whole(data: bytes, mime: str) -> bool:
    """Tell whether a decoder accepts a picture, in this process."""
    for load in decoding.libraries().values():
        with contextlib.suppress(ImportError):
            load()
    try:
        decoding.Decoder(InspectionLimits())(_media.family_of(mime), mime, data)
    except RefusedError as refused:
        return refused.code != "ECORRUPT"
    return True


@pytest.mark.parametrize("name", READ)
async def test_a_cut_file_is_corrupt(
    name: str, corpus: dict[str, tuple[str, bytes]], box: Box, inspector: Inspector
) -> None:
    """Wherever a file is cut, also one byte before its end, it is refused, unless only its end marker is missing."""
    mime, data = corpus[name]
    lengths = [64, 100, *(len(data) * part // 20 for part in range(1, 20)), *(len(data) - cut for cut in (1, 2, 4, 12))]
    lengths = [length for length in lengths if data[length:].strip(b"\0")]  # Pillow pads its TIFF pages
    [verdict] = await inspector.inspect([box.job(data[: len(data) // 2], mime)])
    assert verdict.error == "ECORRUPT"
    accepted = {
        len(data) - length for length in lengths if is_whole(data[:length], mime)
    }  # a process for each would take long
    if "jpeg" in name:
        assert {1, 2} <= accepted <= {1, 2, 4, 12}, "the decoder looks a few bytes ahead"
    else:
        ends = {"gif": {1}, "jp2": {1, 2}, "j2k": {1, 2}}
        assert accepted == next((lacking for kind, lacking in ends.items() if kind in name), set())


async def test_damage_inside_a_png_is_corrupt(box: Box, inspector: Inspector) -> None:
    data = bytearray(encode("PNG"))
    data[len(data) // 2] ^= 1
    [verdict] = await inspector.inspect([box.job(bytes(data))])
    assert verdict.error == "ECORRUPT"


async def test_trailing_bytes_are_no_fault(box: Box, inspector: Inspector) -> None:
    """Cameras and editors append what they like."""
    jobs = [box.job(encode(name.upper()) + b"\0" * 500, f"image/{name}") for name in ("jpeg", "png", "gif", "tiff")]
    assert [verdict.error for verdict in await inspector.inspect(jobs)] == [None] * 4


async def test_size(box: Box, inspector: Inspector, tmp_path: Path) -> None:
    """Empty, other than announced, and over the limit of its kind are EBADSIZE."""
    data = encode("PNG")
    large = tmp_path / "large.png"
    with large.open("wb") as file:
        file.truncate(_media.MAX_IMAGE_BYTES + 1)
    verdicts = await inspector.inspect(
        [
            box.job(b"", size=0),
            box.job(b"", size=7),
            box.job(data, size=len(data) + 1),
            box.job(data, size=len(data) - 1),
            InspectionJob(str(large), "Image", "image/png", _media.MAX_IMAGE_BYTES + 1),
        ]
    )
    assert [v.error for v in verdicts] == ["EBADSIZE"] * 5
    assert [v.size for v in verdicts] == [0, 0, len(data), len(data), _media.MAX_IMAGE_BYTES + 1]
    assert str(len(data) + 1) in (verdicts[2].message or "")


@pytest.mark.parametrize("mime", ["image/png", "video/mp4"])
async def test_a_wrong_checksum_is_corrupt(mime: str, box: Box, inspector: Inspector) -> None:
    data = encode("PNG") if mime == "image/png" else b"\0\0\0\x14ftypisom\0\0\2\0isom" + bytes(100)
    crc = _checksums.to_signed(_checksums.crc32c(data))
    verdicts = await inspector.inspect([box.job(data, mime, crc32c=crc), box.job(data, mime, crc32c=crc ^ 1)])
    assert [v.error for v in verdicts] == [None, "ECORRUPT"]
    assert "CRC32C" in (verdicts[1].message or "")


async def test_damage_on_the_way_is_named_before_its_consequences(box: Box, inspector: Inspector) -> None:
    """Bytes that no longer look like an image because they were damaged are ECORRUPT for their checksum."""
    data = encode("PNG")
    verdict, *_ = await inspector.inspect([box.job(b"GIF89a" + data[6:], crc32c=_checksums.crc32c(data))])
    assert (verdict.error, "CRC32C" in (verdict.message or "")) == ("ECORRUPT", True)


async def test_content_of_another_type(corpus: dict[str, tuple[str, bytes]], box: Box, inspector: Inspector) -> None:
    """Content that does not begin as what its name says is EBADMIME, whether it is of a known type or of none."""
    jpeg, avif = corpus["jpeg"][1], corpus["avif"][1]
    cases = [
        (jpeg, "image/png", "EBADMIME"),
        (avif, "image/heic", "EBADMIME"),
        (jpeg, "video/mp4", "EBADMIME"),
        (b"\0\0\0\x14ftypisom\0\0\2\0isom" + bytes(100), "image/heic", "EBADMIME"),
        (corpus["heic"][1], "image/heif", None if READS_HEIF else "EBADMIME"),
        (corpus["j2k"][1], "image/jp2", None),
        (b"not an image at all", "image/jpeg", "EBADMIME"),
        (b"not a video at all", "video/mp4", "EBADMIME"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "image/tiff", "EBADMIME"),
        (jpeg, "image/svg+xml", "EBADMIME"),
        (jpeg, "application/octet-stream", "EBADMIME"),
    ]
    verdicts = await inspector.inspect([box.job(data, mime) for data, mime, _ in cases])
    assert [v.error for v in verdicts] == [expected for *_, expected in cases]
    assert "jpeg" in (verdicts[0].message or "")


async def test_kind_and_type_must_agree(box: Box, inspector: Inspector) -> None:
    jobs = [box.job(encode("PNG"), kind="Video"), box.job(bytes(50), "video/mp4", kind="Image")]
    assert [v.error for v in await inspector.inspect(jobs)] == ["EBADMIME"] * 2


async def test_a_missing_file_is_unknown(box: Box, inspector: Inspector, tmp_path: Path) -> None:
    job = InspectionJob(str(tmp_path / "gone"), "Image", "image/png", 1)
    [verdict] = await inspector.inspect([job])
    assert verdict.error == "EUNKNOWN"
    assert str(tmp_path) not in (verdict.message or ""), "a path of the service is nobody's business"


# What a hostile file can cost.


def bomb(width: int, height: int) -> bytes:
    """A PNG of one repeated row, tiny on disk."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    row = bytes(1 + width)
    pixels = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


async def test_a_bomb_is_refused_by_its_header(box: Box, inspector: Inspector) -> None:
    """A picture of more pixels than allowed costs nothing and says how large it is."""
    data = bytearray(bomb(1, 1))
    data[16:24] = struct.pack(">II", 50_000, 50_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    started = time.monotonic()
    [verdict] = await inspector.inspect([box.job(bytes(data))])
    assert time.monotonic() - started < 5
    assert verdict.error == "EBADSIZE"
    assert "50000 x 50000" in (verdict.message or "")


async def test_the_pixel_limit_holds_for_every_frame(box: Box) -> None:
    pages = encode("TIFF", picture(), save_all=True, append_images=[Image.new("L", (2000, 2000))])
    async with aclosing(Inspector(workers=1, limits=InspectionLimits(max_pixels=1_000_000))) as inspector:
        [verdict] = await inspector.inspect([box.job(pages, "image/tiff")])
    assert (verdict.error, "2000 x 2000" in (verdict.message or "")) == ("EBADSIZE", True)


async def test_frames_beyond_the_bound_are_counted_not_decoded(box: Box, corpus: dict[str, tuple[str, bytes]]) -> None:
    """A long animation costs a bounded decode; damage is still found up to the bound."""
    data = corpus["gif animated"][1]
    async with aclosing(Inspector(workers=1, limits=InspectionLimits(max_decoded_pixels=1))) as inspector:
        [verdict] = await inspector.inspect([box.job(data, "image/gif")])
    assert (verdict.error, verdict.frames) == (None, 3)


@on_linux
async def test_memory_runs_out_for_one_file_only(box: Box) -> None:
    """A picture that needs more memory than allowed is refused; its neighbours are not."""
    good = encode("PNG")
    async with aclosing(Inspector(workers=1, limits=InspectionLimits(memory_bytes=128 << 20))) as inspector:
        jobs = [box.job(good), box.job(bomb(12_000, 12_000)), box.job(good)]
        verdicts = await inspector.inspect(jobs)
    assert [v.error for v in verdicts] == [None, "EBADSIZE", None]
    assert "128 MiB of memory" in (verdicts[1].message or "")
