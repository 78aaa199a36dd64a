"""Arrived files: what is accepted, what is refused and with which word, and what a hostile one can cost."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import os
import random
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

pytest.importorskip("PIL")
pillow_heif = pytest.importorskip("pillow_heif")

from PIL import Image, ImageDraw  # noqa: E402

import vi  # noqa: E402
from vi import _checksums, _media  # noqa: E402
from vi.server.inspection import (  # noqa: E402
    InspectionJob,
    InspectionLimits,
    InspectionUnavailableError,
    Inspector,
    Verdict,
)

pytestmark = pytest.mark.anyio
on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
on_posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals and FIFOs")


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def inspector() -> AsyncIterator[Inspector]:
    inspector = Inspector(workers=1)
    if sys.platform.startswith("linux"):
        await inspector.inspect([InspectionJob(os.devnull, "Image", "image/png", 1)])
        others.update(children())
    yield inspector
    await inspector.aclose()
    others.clear()


def picture(seed: int = 1, size: tuple[int, int] = (96, 64)) -> Image.Image:
    random.seed(seed)
    image = Image.frombytes("RGB", size, random.randbytes(size[0] * size[1] * 3))
    draw = ImageDraw.Draw(image)
    draw.rectangle((8, 8, 60, 40), fill=(200, 30, 30))
    draw.text((10, 10), f"sign {seed}", fill="white")
    return image


def encode(format: str, image: Image.Image | None = None, **options: object) -> bytes:
    out = io.BytesIO()
    (image or picture()).save(out, format, **options)
    return out.getvalue()


def animated(format: str, **options: object) -> bytes:
    return encode(format, save_all=True, append_images=[picture(2), picture(3)], **options)


@pytest.fixture(scope="module", autouse=True)
def heif_writer() -> None:
    pillow_heif.register_heif_opener()


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


@pytest.fixture(scope="module")
def corpus(heif_writer: None) -> dict[str, tuple[str, bytes]]:
    return {name: (mime, make()) for name, (mime, make) in FORMATS.items()}


class Box:
    """A folder that turns bytes into jobs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = 0

    def job(self, data: bytes, mime: str = "image/png", **changes: object) -> InspectionJob:
        self.count += 1
        path = self.folder / f"{self.count}"
        path.write_bytes(data)
        kind = "Video" if mime.startswith("video/") else "Image"
        fields = {"path": str(path), "kind": kind, "mime": mime, "size": len(data), "crc32c": None}
        return InspectionJob(**{**fields, **changes})  # type: ignore[arg-type]

    def fifo(self, size: int = 1) -> InspectionJob:
        """A file at which a worker hangs."""
        self.count += 1
        path = self.folder / f"{self.count}"
        os.mkfifo(path)
        return InspectionJob(str(path), "Image", "image/png", size)


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


def children() -> set[int]:
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # a thread that has just ended
            found |= {int(pid) for pid in (task / "children").read_text().split()}
    return found - others


others: set[int] = set()
"""Workers of the inspector that most tests share, and processes of tests before."""


@pytest.fixture(autouse=True)
def only_own_children() -> None:
    if sys.platform.startswith("linux"):
        others.update(children())


# What is accepted.


@pytest.mark.parametrize("name", FORMATS)
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
    inspector = Inspector(workers=1, limits=InspectionLimits(thumbnail_side=64))
    try:
        sizes = [(1000, 500), (500, 1000), (3000, 2)]
        verdicts = await inspector.inspect([box.job(encode("JPEG", picture(1, s)), "image/jpeg") for s in sizes])
    finally:
        await inspector.aclose()
    assert [(v.width, v.height) for v in verdicts] == sizes
    found = [Image.open(io.BytesIO(v.thumbnail or b"")).size for v in verdicts]
    assert found == [(64, 32), (32, 64), (64, 1)]


async def test_a_video_is_hashed_in_pieces(box: Box, inspector: Inspector) -> None:
    """A video is measured over all its bytes, with no dimensions."""
    data = b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41" + random.Random(4).randbytes(3_000_000)
    crc = _checksums.crc32c(data)
    [verdict] = await inspector.inspect([box.job(data, "video/mp4", crc32c=_checksums.to_signed(crc))])
    assert verdict == Verdict(None, None, len(data), crc, hashlib.sha256(data).hexdigest(), "video/mp4")


@on_linux
async def test_a_large_video_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "long.mp4"
    with path.open("wb") as file:
        file.write(b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41")
        file.truncate(600 << 20)
    inspector = Inspector(workers=1)
    try:
        [verdict] = await inspector.inspect([InspectionJob(str(path), "Video", "video/mp4", 600 << 20)])
        [worker] = children()
        peak = int(Path(f"/proc/{worker}/status").read_text().split("VmHWM:")[1].split()[0])
    finally:
        await inspector.aclose()
    assert verdict.error is None
    assert peak < 150_000, f"{peak} KiB for a video of 600 MiB"


# What is refused.


@pytest.mark.parametrize("name", FORMATS)
async def test_a_cut_file_is_corrupt(
    name: str, corpus: dict[str, tuple[str, bytes]], box: Box, inspector: Inspector
) -> None:
    """Wherever a file breaks off, also one byte before its end, it is refused."""
    mime, data = corpus[name]
    lengths = [64, 100, *(len(data) * part // 20 for part in range(1, 20)), *(len(data) - cut for cut in (1, 2, 4, 12))]
    lengths = [length for length in lengths if data[length:].strip(b"\0")]  # Pillow pads its TIFF pages
    verdicts = await inspector.inspect([box.job(data[:length], mime) for length in lengths])
    accepted = [length for length, verdict in zip(lengths, verdicts, strict=True) if verdict.error != "ECORRUPT"]
    assert not accepted, f"of {len(data)} bytes"


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
    """Known content under another name is EBADMIME; content of no known type is ECORRUPT."""
    jpeg, avif = corpus["jpeg"][1], corpus["avif"][1]
    cases = [
        (jpeg, "image/png", "EBADMIME"),
        (avif, "image/heic", "EBADMIME"),
        (jpeg, "video/mp4", "EBADMIME"),
        (b"\0\0\0\x14ftypisom\0\0\2\0isom" + bytes(100), "image/heic", "EBADMIME"),
        (corpus["heic"][1], "image/heif", None),
        (corpus["j2k"][1], "image/jp2", None),
        (b"not an image at all", "image/jpeg", "ECORRUPT"),
        (b"not a video at all", "video/mp4", "ECORRUPT"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "image/tiff", "ECORRUPT"),
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
    assert verdict.error == "ECORRUPT"
    assert "50000 x 50000" in (verdict.message or "")


async def test_the_pixel_limit_holds_for_every_frame(box: Box) -> None:
    pages = encode("TIFF", picture(), save_all=True, append_images=[Image.new("L", (2000, 2000))])
    inspector = Inspector(workers=1, limits=InspectionLimits(max_pixels=1_000_000))
    try:
        [verdict] = await inspector.inspect([box.job(pages, "image/tiff")])
    finally:
        await inspector.aclose()
    assert (verdict.error, "2000 x 2000" in (verdict.message or "")) == ("ECORRUPT", True)


async def test_frames_beyond_the_bound_are_counted_not_decoded(box: Box, corpus: dict[str, tuple[str, bytes]]) -> None:
    """A long animation costs a bounded decode; damage is still found up to the bound."""
    data = corpus["gif animated"][1]
    inspector = Inspector(workers=1, limits=InspectionLimits(max_decoded_pixels=1))
    try:
        [verdict] = await inspector.inspect([box.job(data, "image/gif")])
    finally:
        await inspector.aclose()
    assert (verdict.error, verdict.frames) == (None, 3)


@on_linux
async def test_memory_runs_out_for_one_file_only(box: Box) -> None:
    """A picture that needs more memory than allowed is refused; its neighbours are not."""
    inspector = Inspector(workers=1, limits=InspectionLimits(memory_bytes=128 << 20))
    good = encode("PNG")
    try:
        jobs = [box.job(good), box.job(bomb(12_000, 12_000)), box.job(good)]
        verdicts = await inspector.inspect(jobs)
    finally:
        await inspector.aclose()
    assert [v.error for v in verdicts] == [None, "ECORRUPT", None]
    assert "memory" in (verdicts[1].message or "")


@on_posix
async def test_a_worker_that_hangs_is_replaced(box: Box) -> None:
    """The file at which it hung is EUNKNOWN after its time; the others of the batch are done."""
    inspector = Inspector(workers=1, limits=InspectionLimits(seconds_per_file=2))
    good = encode("PNG")
    try:
        await inspector.inspect([box.job(good)])
        jobs = [*(box.job(good) for _ in range(11)), box.fifo(), *(box.job(good) for _ in range(28))]
        verdicts = await inspector.inspect(jobs)
    finally:
        await inspector.aclose()
    assert [v.error for v in verdicts] == [*[None] * 11, "EUNKNOWN", *[None] * 28]
    assert "second" in (verdicts[11].message or "")


@on_linux
async def test_a_worker_that_dies_costs_the_file_it_was_at(box: Box) -> None:
    """The culprit is tried once more and then ECORRUPT; nothing else of its batch is lost."""
    inspector = Inspector(workers=1)
    good = encode("PNG")
    try:
        await inspector.inspect([box.job(good)])
        jobs = [*(box.job(good) for _ in range(11)), box.fifo(), *(box.job(good) for _ in range(28))]
        task = asyncio.create_task(inspector.inspect(jobs))
        [first] = await hanging()
        os.kill(first, signal.SIGKILL)
        while (second := (await hanging()).pop()) == first:
            await asyncio.sleep(0.01)
        os.kill(second, signal.SIGKILL)
        verdicts = await task
    finally:
        await inspector.aclose()
    assert [v.error for v in verdicts] == [*[None] * 11, "ECORRUPT", *[None] * 28]
    assert "signal 9" in (verdicts[11].message or "")


@on_linux
async def test_a_worker_killed_by_somebody_else_costs_nothing(box: Box) -> None:
    """The file that a killed worker was at is looked at again, and an idle worker that is gone is replaced."""
    inspector = Inspector(workers=1)
    data = encode("PNG")
    try:
        held = box.fifo(size=len(data))
        task = asyncio.create_task(inspector.inspect([held, box.job(data)]))
        [worker] = await hanging()
        Path(held.path).unlink()
        Path(held.path).write_bytes(data)
        os.kill(worker, signal.SIGKILL)
        assert [v.error for v in await task] == [None, None]
        [idle] = children()
        os.kill(idle, signal.SIGKILL)
        [again] = await inspector.inspect([box.job(data)])
        assert again.error is None
        assert idle not in children()
    finally:
        await inspector.aclose()


@on_linux
async def test_cancelling_leaves_no_process(box: Box) -> None:
    """A cancelled inspection ends at once with the worker it was using; the next one works."""
    inspector = Inspector(workers=1)
    try:
        task = asyncio.create_task(inspector.inspect([box.fifo()]))
        [worker] = await hanging()
        started = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert time.monotonic() - started < 2
        assert worker not in children()
        [verdict] = await inspector.inspect([box.job(encode("PNG"))])
        assert verdict.error is None
    finally:
        await inspector.aclose()
    assert not children()


@on_linux
async def test_closing_gives_up_what_is_under_way(box: Box) -> None:
    """Closing ends the calls that wait, and every later one, with a temporary error."""
    inspector = Inspector(workers=1)
    task = asyncio.create_task(inspector.inspect([box.fifo()]))
    await hanging()
    await inspector.aclose()
    with pytest.raises(InspectionUnavailableError):
        await task
    with pytest.raises(InspectionUnavailableError):
        await inspector.inspect([box.job(encode("PNG"))])
    assert not children()
    await inspector.aclose()


async def test_many_calls_share_the_workers(box: Box) -> None:
    """Calls at the same time each get their own verdicts, from no more processes than allowed."""
    inspector = Inspector(workers=2)
    sizes = [(width, 10) for width in range(1, 61)]
    jobs = [box.job(encode("PNG", Image.new("L", size))) for size in sizes]
    try:
        answers = await asyncio.gather(*(inspector.inspect(jobs[at : at + 10]) for at in range(0, 60, 10)))
        if sys.platform.startswith("linux"):
            assert len(children()) <= 2
        assert [(v.width, v.height) for answer in answers for v in answer] == sizes
        assert await inspector.inspect([]) == []
    finally:
        await inspector.aclose()


async def test_a_call_with_many_files_lets_another_go_between(box: Box) -> None:
    inspector = Inspector(workers=1)
    good = encode("PNG")
    try:
        await inspector.inspect([box.job(good)])
        many = [box.job(good) for _ in range(200)]
        task = asyncio.create_task(inspector.inspect(many))
        await asyncio.sleep(0)
        [one] = await inspector.inspect([box.job(good)])
        assert not task.done()
        assert {verdict.error for verdict in [one, *await task]} == {None}
    finally:
        await inspector.aclose()


@on_posix
async def test_the_terminals_interrupt_does_not_reach_the_workers(box: Box) -> None:
    inspector = Inspector(workers=1)
    try:
        await inspector.inspect([box.job(encode("PNG"))])
        [worker] = children()
        assert os.getpgid(worker) != os.getpgid(0)
        os.kill(worker, signal.SIGINT)
        [verdict] = await inspector.inspect([box.job(encode("PNG"))])
        assert verdict.error is None
        assert children() == {worker}
    finally:
        await inspector.aclose()


@on_linux
async def test_workers_do_not_hold_the_key(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoder that is taken over finds no credentials in its environment."""
    monkeypatch.setenv("DATATURE_VI_SECRET_KEY", "dtvi_" + "k" * 98)
    inspector = Inspector(workers=1)
    try:
        await inspector.inspect([box.job(encode("PNG"))])
        [worker] = children()
        assert b"PATH=" in (held := Path(f"/proc/{worker}/environ").read_bytes())
        assert b"dtvi_" not in held
    finally:
        await inspector.aclose()


@on_linux
async def test_workers_let_others_go_first(box: Box) -> None:
    """Also where every session of processes gets an equal share, and niceness counts within one only (sched(7)).

    The system takes few such wishes, so a worker repeats its own with each file.
    """
    inspector = Inspector(workers=1)
    try:
        await inspector.inspect([box.job(encode("PNG"))])
        [worker] = children()
        assert os.getpriority(os.PRIO_PROCESS, worker) == min(19, os.getpriority(os.PRIO_PROCESS, 0) + 10)
        group = Path(f"/proc/{worker}/autogroup")
        if group.exists() and group.read_text():
            async with asyncio.timeout(30):
                while group.read_text().split()[-1] != "10":
                    await asyncio.sleep(0.05)
                    await inspector.inspect([box.job(encode("PNG"))])
    finally:
        await inspector.aclose()


async def test_an_interpreter_that_cannot_start_is_no_verdict(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without workers there is an error that may pass, not a refused file."""
    inspector = Inspector(workers=2)
    jobs = [box.job(encode("PNG")) for _ in range(8)]
    for interpreter in (str(box.folder / "missing"), "/bin/false"):
        monkeypatch.setattr(sys, "executable", interpreter)
        with pytest.raises(InspectionUnavailableError):
            await inspector.inspect(jobs)
    monkeypatch.undo()
    assert [v.error for v in await inspector.inspect(jobs)] == [None] * 8
    await inspector.aclose()


SCRIPT = """
import asyncio, sys
from pathlib import Path
from vi.server.inspection import InspectionJob, Inspector

async def main():
    inspector = Inspector(workers=1)
    path = Path(sys.argv[1])
    [verdict] = await inspector.inspect([InspectionJob(str(path), "Image", "image/png", path.stat().st_size)])
    print(verdict.error, verdict.width, [p for t in Path("/proc/self/task").iterdir()
                                         for p in (t / "children").read_text().split()][0], flush=True)
    if sys.argv[2] == "hang":
        await inspector.inspect([InspectionJob(sys.argv[3], "Image", "image/png", 1)])
    await inspector.aclose()

asyncio.run(main())
"""


@pytest.fixture
def script(tmp_path: Path) -> list[str]:
    """A user's script with no guard, in a folder whose files bear the names of modules."""
    (tmp_path / "vi").mkdir()
    for shadow in ("vi/__init__.py", "json.py", "attrs.py", "PIL.py"):
        (tmp_path / shadow).write_text("raise SystemExit('the wrong module')")
    script = tmp_path / "scripts" / "upload.py"
    script.parent.mkdir()
    script.write_text(SCRIPT)
    (tmp_path / "picture.png").write_bytes(encode("PNG"))
    return [sys.executable, str(script), str(tmp_path / "picture.png")]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(vi.__file__).parents[1])}


@on_linux
def test_a_script_without_a_guard_works_from_any_folder(script: list[str], tmp_path: Path) -> None:
    """The workers import this package, not what lies in the working folder, and do not run the script again."""
    done = subprocess.run(
        [*script, "end"], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr == ""
    assert done.stdout.split()[:2] == ["None", "96"]
    assert len(done.stdout.splitlines()) == 1


@on_linux
def test_workers_die_with_their_parent(script: list[str], tmp_path: Path) -> None:
    """A parent killed without warning leaves no worker behind, not even one that hangs in a file."""
    os.mkfifo(tmp_path / "fifo")
    with subprocess.Popen(
        [*script, "hang", str(tmp_path / "fifo")], env=environment(), stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline().split()[2])
        while not in_open(worker):
            time.sleep(0.01)
        parent.kill()
    deadline = time.monotonic() + 30
    while in_open(worker) is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert in_open(worker) is None


async def hanging() -> set[int]:
    """Wait until a worker is asleep in opening a FIFO, and return those that are."""
    async with asyncio.timeout(30):
        while not (found := {pid for pid in children() if in_open(pid)}):
            await asyncio.sleep(0.01)
    return found


def in_open(pid: int) -> bool | None:
    """Tell whether a process is in the openat system call; None when there is no such process."""
    try:
        tasks = [task / "syscall" for task in Path(f"/proc/{pid}/task").iterdir()]
        return any(task.read_text().split()[0] in ("257", "56") for task in tasks)  # x86-64, arm64
    except (FileNotFoundError, ProcessLookupError):  # it may be one of its threads that has just ended
        return False if Path(f"/proc/{pid}").exists() else None
