"""Sound pictures are stored whatever is odd about them, damaged ones are not: one rule for every format."""

from __future__ import annotations

import io
import random
import re
import struct
import zlib
from base64 import b85decode
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

pytest.importorskip("PIL")

import PIL
from PIL import Image, ImageCms

from tests.unit.arrived import Box, encode, picture
from vi.server.inspection.inspector import InspectionLimits, Inspector, Verdict

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def inspector() -> AsyncIterator[Inspector]:
    inspector = Inspector(workers=1)
    yield inspector
    await inspector.aclose()


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


def shown(verdict: Verdict) -> Image.Image:
    assert verdict.thumbnail, "a preview"
    return Image.open(io.BytesIO(verdict.thumbnail))


# JPEG: what counts is whether the pixels are there.


def scan_of(data: bytes) -> tuple[int, int]:
    """Where the pixels of the last scan are."""
    start = data.rindex(b"\xff\xda")
    return start + 2 + int.from_bytes(data[start + 2 : start + 4], "big"), len(data) - 2


def cut(data: bytes, keep: float) -> bytes:
    """The same with a part of the last scan gone, and the end marker rewritten."""
    begin, end = scan_of(data)
    return data[: begin + int((end - begin) * keep)] + b"\xff\xd9"


def first_scans(data: bytes) -> bytes:
    return data[: data.rindex(b"\xff\xc4", 0, data.rindex(b"\xff\xda"))] + b"\xff\xd9"


def without_a_restart(data: bytes) -> bytes:
    begin, end = scan_of(data)
    found = [match.start() for match in re.finditer(rb"\xff[\xd0-\xd7]", data[begin:end])]
    return data[: begin + found[1]] + data[begin + found[3] :]


JPEGS: dict[str, dict[str, object]] = {
    "4:2:0": {"quality": 85},
    "4:4:4": {"quality": 85, "subsampling": 0},
    "4:2:2": {"quality": 85, "subsampling": 1},
    "optimized": {"quality": 60, "optimize": True},
    "restarts": {"quality": 85, "restart_marker_rows": 1},
    "progressive": {"quality": 85, "progressive": True},
}
MODES = ("RGB", "L", "CMYK")


@pytest.mark.parametrize("options", JPEGS.values(), ids=JPEGS)
@pytest.mark.parametrize("mode", MODES)
async def test_a_jpeg_is_judged_by_its_pixels(
    mode: str, options: dict[str, object], box: Box, inspector: Inspector
) -> None:
    """Complete without its end marker, and with anything behind it: stored. With a part of it gone: refused."""
    image = picture(size=(200, 133)).convert(mode)
    if mode == "CMYK":  # the conversion leaves black empty, and an empty plane has nothing to lose
        image = Image.merge("CMYK", [picture(n, (200, 133)).getchannel(0) for n in range(4)])
    data = encode("JPEG", image, **options)
    sound = [data, data[:-2], data[:-2] + bytes(4096), data + b"\xff\xd8 a stale preview \xff\xd9", data + bytes(100)]
    damaged = [cut(data, keep) for keep in (0.0, 0.05, 0.5, 0.9, 0.99)] + [cut(data, 0.5)[:-2]]
    verdicts = await inspector.inspect([box.job(one, "image/jpeg") for one in sound + damaged])
    assert [v.error for v in verdicts] == [None] * len(sound) + ["ECORRUPT"] * len(damaged)
    assert {(v.width, v.height, v.frames) for v in verdicts[: len(sound)]} == {(200, 133, 1)}
    assert all(shown(v).size == (200, 133) for v in verdicts[: len(sound)])


async def test_scans_and_restarts_that_are_missing_are_found(box: Box, inspector: Inspector) -> None:
    progressive = encode("JPEG", picture(size=(200, 133)), progressive=True)
    restarts = encode("JPEG", picture(size=(200, 133)), restart_marker_rows=1)
    broken = [first_scans(progressive), first_scans(first_scans(progressive)), without_a_restart(restarts)]
    verdicts = await inspector.inspect([box.job(one, "image/jpeg") for one in broken])
    assert [v.error for v in verdicts] == ["ECORRUPT"] * 3


async def test_jpegs_of_every_shape_are_sound(box: Box, inspector: Inspector) -> None:
    """Also those of a single row or column, and of sizes that fill no block."""
    rng = random.Random(5)
    sizes = [(1, 1), (1, 50), (50, 1), (7, 9), (8, 8), (16, 16), (17, 33)]
    sizes += [(rng.randint(1, 90), rng.randint(1, 90)) for _ in range(20)]
    datas = [
        encode("JPEG", picture(size=size).convert(rng.choice(MODES)), **rng.choice(list(JPEGS.values())))
        for size in sizes
    ]
    verdicts = await inspector.inspect([box.job(one, "image/jpeg") for data in datas for one in (data, data[:-2])])
    assert [v.error for v in verdicts] == [None] * (2 * len(sizes))


# GIF.


async def test_a_gif_needs_no_trailer(box: Box, inspector: Inspector) -> None:
    single = encode("GIF")
    several = encode("GIF", save_all=True, append_images=[picture(2), picture(3)])
    verdicts = await inspector.inspect([box.job(d, "image/gif") for d in (single[:-1], several[:-1], several[:-2])])
    assert [(v.error, v.frames) for v in verdicts] == [(None, 1), (None, 3), ("ECORRUPT", 0)]


# PNG: faults in what holds no pixel.


def chunk(kind: bytes, data: bytes, *, crc: int = 0) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data) ^ crc)


ODD_CHUNKS = {
    "wrong sum of a text": chunk(b"tEXt", b"a\0b", crc=1),
    "wrong sum of a profile": chunk(b"iCCP", b"a\0\0" + zlib.compress(b"x"), crc=1),
    "profile of an unknown method": chunk(b"iCCP", b"a\0\7" + zlib.compress(b"x")),
    "profile that does not inflate": chunk(b"iCCP", b"a\0\0nothing"),
    "profile that inflates to 100 MiB": chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(100 << 20))),
    "text that inflates to 100 MiB": chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(100 << 20))),
    "80 MiB of texts": chunk(b"tEXt", b"a\0" + b"b" * (40 << 20)) * 2,
    "short chromaticities": chunk(b"cHRM", b"\0\0"),
    "empty": b"".join(chunk(kind, b"") for kind in (b"gAMA", b"sRGB", b"pHYs", b"tIME", b"bKGD", b"iTXt", b"tRNS")),
    "broken EXIF": chunk(b"eXIf", b"\xff\xff\xff\xff"),
    "private": chunk(b"prVt", bytes(9)),
}


@pytest.mark.parametrize("odd", ODD_CHUNKS.values(), ids=ODD_CHUNKS)
@pytest.mark.parametrize("mode", ["RGB", "L", "P"])
async def test_a_png_is_not_refused_for_what_holds_no_pixel(
    odd: bytes, mode: str, box: Box, inspector: Inspector
) -> None:
    data = encode("PNG", picture().convert(mode))
    [before, after] = await inspector.inspect(
        [box.job(data[:33] + odd + data[33:]), box.job(data[:-12] + odd + data[-12:])]
    )
    assert [before.error, after.error] == [None, None], (before.message, after.message)
    assert shown(before).size == shown(after).size == (96, 64)


async def test_an_unknown_critical_chunk_is_refused(box: Box, inspector: Inspector) -> None:
    data = encode("PNG")
    [verdict] = await inspector.inspect([box.job(data[:33] + chunk(b"XxXx", b"1") + data[33:])])
    assert (verdict.error, "XxXx" in (verdict.message or "")) == ("ECORRUPT", True)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize("interlaced", [False, True], ids=["rows", "passes"])
async def test_a_png_whose_rows_are_missing_is_refused(
    mode: str, box: Box, inspector: Inspector, *, interlaced: bool
) -> None:
    """Its stream of pixels is sound and has an end, which comes too early; black rows that are there are fine."""
    bits = {"1": 1, "L": 8, "LA": 16, "P": 8, "RGB": 24, "RGBA": 32, "I;16": 16}[mode]
    colour = {"LA": 4, "P": 3, "RGB": 2, "RGBA": 6}.get(mode, 0)
    depth = 16 if mode == "I;16" else min(bits, 8)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 13, 11, depth, colour, 0, 0, int(interlaced)))
    passes = [(2, 2), (2, 2), (4, 1), (3, 3), (7, 3), (6, 6), (13, 5)] if interlaced else [(13, 11)]
    sizes = [1 + (wide * bits + 7) // 8 for wide, high in passes for _ in range(high)]
    rows = [b"\0" + b"\x55" * (size - 1) for size in sizes]
    dark = [b"\0" * size for size in sizes]
    palette = chunk(b"PLTE", bytes(range(256)) * 3) if mode == "P" else b""

    def of(rows: list[bytes]) -> bytes:
        return (
            b"\x89PNG\r\n\x1a\n" + head + palette + chunk(b"IDAT", zlib.compress(b"".join(rows))) + chunk(b"IEND", b"")
        )

    whole = [of(rows), of([*rows[:-1], dark[-1]]), of(dark)]
    short = [of(rows[:-1]), of(rows[: len(rows) // 2]), of(dark[:-1]), of([*rows[:-1], rows[-1][:1]])]
    verdicts = await inspector.inspect([box.job(data) for data in (*whole, *short)])
    assert [verdict.error for verdict in verdicts] == [None] * 3 + ["ECORRUPT"] * 4


async def test_the_still_of_an_animation_is_no_frame(box: Box, inspector: Inspector) -> None:
    frames = [picture(2), picture(3)]
    with_still = encode("PNG", save_all=True, append_images=frames, default_image=True)
    without = encode("PNG", save_all=True, append_images=frames)
    verdicts = await inspector.inspect([box.job(with_still), box.job(without)])
    assert [(v.error, v.frames) for v in verdicts] == [(None, 2), (None, 3)]


def chunks_of(data: bytes) -> list[bytes]:
    found, at = [], 8
    while at < len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        found.append(data[at:end])
        at = end
    return found


def renumbered(piece: bytes, number: int) -> bytes:
    return chunk(piece[4:8], struct.pack(">I", number) + piece[12:-4])


def of_kind(found: list[bytes], kind: bytes) -> list[int]:
    return [index for index, piece in enumerate(found) if piece[4:8] == kind]


def gap(found: list[bytes]) -> None:
    last = of_kind(found, b"fdAT")[-1]
    found[last] = renumbered(found[last], 99)


def repeated(found: list[bytes]) -> None:
    last = of_kind(found, b"fdAT")[-1]
    found.insert(last, found[last])


def swapped(found: list[bytes]) -> None:
    first, last = of_kind(found, b"fcTL")[-1], of_kind(found, b"fdAT")[-1]
    found[first], found[last] = found[last], found[first]


def without_controls(found: list[bytes]) -> None:
    for index in reversed(of_kind(found, b"fcTL")):
        del found[index]


def late_count(found: list[bytes]) -> None:
    found.insert(-1, found.pop(of_kind(found, b"acTL")[0]))


def too_many(found: list[bytes]) -> None:
    found[of_kind(found, b"acTL")[0]] = chunk(b"acTL", struct.pack(">II", 7, 0))


def none_at_all(found: list[bytes]) -> None:
    found[of_kind(found, b"acTL")[0]] = chunk(b"acTL", struct.pack(">II", 0, 0))


def outside(found: list[bytes]) -> None:
    last = of_kind(found, b"fcTL")[-1]
    body = found[last][8:-4]
    found[last] = chunk(b"fcTL", body[:12] + struct.pack(">I", 90) + body[16:])


def without_pixels(found: list[bytes]) -> None:
    del found[of_kind(found, b"fdAT")[-1]]


@pytest.mark.parametrize(
    "disorder",
    [gap, repeated, swapped, without_controls, late_count, too_many, none_at_all, outside, without_pixels],
)
@pytest.mark.parametrize("still", [False, True], ids=["of the animation", "apart"])
async def test_an_animation_in_disorder_is_stored_as_its_still(
    disorder: Callable[[list[bytes]], None], still: bool, box: Box, inspector: Inspector
) -> None:
    data = encode("PNG", save_all=True, append_images=[picture(2), picture(3)], default_image=still)
    found = chunks_of(data)
    disorder(found)
    [verdict] = await inspector.inspect([box.job(data[:8] + b"".join(found))])
    assert (verdict.error, verdict.frames) == (None, 1), verdict.message
    assert shown(verdict).size == (96, 64)


async def test_a_damaged_frame_of_an_animation_in_order_is_damage(box: Box, inspector: Inspector) -> None:
    data = encode("PNG", save_all=True, append_images=[picture(2)])
    found = chunks_of(data)
    last = of_kind(found, b"fdAT")[-1]
    found[last] = chunk(b"fdAT", found[last][8:30])
    [verdict] = await inspector.inspect([box.job(data[:8] + b"".join(found))])
    assert verdict.error == "ECORRUPT"


# Deep colours.


@pytest.mark.parametrize(("most", "white"), [(65535, 255), (4095, 255), (1023, 255), (40000, 156)])
async def test_deep_colours_that_use_few_of_their_bits_are_seen(
    most: int, white: int, box: Box, inspector: Inspector
) -> None:
    rows = (b"\0" + struct.pack(">3H", 0, 0, 0) * 8 + struct.pack(">3H", most, most, most) * 8) * 16
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 16, 16, 16, 2, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    [verdict] = await inspector.inspect([box.job(data)])
    seen = shown(verdict).convert("L")
    assert [abs(seen.getpixel((x, 8)) - value) < 6 for x, value in ((2, 0), (13, white))] == [True, True]  # type: ignore[operator]


WHITE_AND_DARK = b85decode(
    r"|4;u>051Rl000040000400000000000000400004000000000000R#J0S^HI4*>!HQUDA90003200aa80smY81VDiQWB?@q0"
    r"Yh?SVRU6=AYyqSPjF>!N>D{dAa-"
    r"SPb7^mGATlmBE;Rp;015yA0000i00IA#&-^f86aQtE{|QKEzyd5J^hQ(Qq3h5BTsYe5fPnwm"
)
LIGHT_AND_DARK = b85decode(
    r"|4;u>051Rl000040000400000000000000400004000000000000R#J0S^HI4*>!HQUDA90003200aa80smY81VDiQWB?@q0"
    r"Yh?SVRU6=AYyqSPjF>!N>D{dAa-SPb7^mGATlmBE;Rp;015yA0000m00IA#&-^fO6aQtE{{{;Xgl5mY*PkQwQ-"
    r"poWXkb@K*8G}3fPnwm"
)


async def test_white_of_a_deep_jpeg_2000_is_not_shown_black(box: Box, inspector: Inspector) -> None:
    """Pillow rounds the highest values up to 256, that is 0: then there is no preview rather than a wrong one."""
    white, light = await inspector.inspect([box.job(data, "image/jp2") for data in (WHITE_AND_DARK, LIGHT_AND_DARK)])
    assert (white.error, light.error) == (None, None)
    assert white.thumbnail is None
    assert shown(light).convert("L").getpixel((0, 0)) > 220  # type: ignore[operator]


# TIFF.


def tiff(*pages: tuple[dict[int, tuple[int, list[int]]], bytes]) -> bytes:
    """A little-endian TIFF of pages with one strip each; tags are (type, values)."""
    out = bytearray(b"II*\0\0\0\0\0")
    link = 4
    for tags, pixels in pages:
        at = len(out)
        out += pixels + b"\0" * (len(pixels) % 2)
        tags = {**tags, 273: (4, [at]), 279: (4, [len(pixels)])}
        outside: dict[int, int] = {}
        for tag, (kind, values) in tags.items():
            packed = b"".join(value.to_bytes({3: 2, 4: 4}[kind], "little") for value in values)
            if len(packed) > 4:
                outside[tag] = len(out)
                out += packed
        out[link : link + 4] = len(out).to_bytes(4, "little")
        out += len(tags).to_bytes(2, "little")
        for tag, (kind, values) in sorted(tags.items()):
            packed = b"".join(value.to_bytes({3: 2, 4: 4}[kind], "little") for value in values)
            value = outside[tag].to_bytes(4, "little") if tag in outside else packed.ljust(4, b"\0")
            out += struct.pack("<HHI", tag, kind, len(values)) + value
        link = len(out)
        out += bytes(4)
    return bytes(out)


def page(
    width: int, height: int, bits: int, samples: int = 1, format: int = 1, **more: tuple[int, list[int]]
) -> tuple[dict[int, tuple[int, list[int]]], bytes]:
    tags = {
        256: (3, [width]),
        257: (3, [height]),
        258: (3, [bits] * samples),
        259: (3, [1]),
        262: (3, [2 if samples > 2 else 1]),
        277: (3, [samples]),
        278: (3, [height]),
        339: (3, [format] * samples),
    }
    tags |= {int(name[1:]): value for name, value in more.items()}
    row = (width * bits * samples + 7) // 8
    return tags, bytes(random.Random(1).randbytes(row * height))


SAMPLES = {
    "RGB float32": (32, 3, 3),
    "RGB float64": (64, 3, 3),
    "RGB float16": (16, 3, 3),
    "grey float16": (16, 1, 3),
    "grey float64": (64, 1, 3),
    "RGB uint32": (32, 3, 1),
    "RGB int16": (16, 3, 2),
    "grey uint64": (64, 1, 1),
    "grey 10 bits": (10, 1, 1),
    "grey 12 bits": (12, 1, 1),
    "grey 14 bits": (14, 1, 1),
    "RGB 12 bits": (12, 3, 1),
    "10 bands": (8, 10, 1),
}


@pytest.mark.parametrize(("bits", "samples", "format"), SAMPLES.values(), ids=SAMPLES)
async def test_a_tiff_of_samples_without_a_mode_is_stored(
    bits: int, samples: int, format: int, box: Box, inspector: Inspector
) -> None:
    data = tiff(page(24, 16, bits, samples, format))
    [stored] = await inspector.inspect([box.job(data, "image/tiff")])
    assert (stored.error, stored.width, stored.height, stored.frames) == (None, 24, 16, 1), stored.message
    assert stored.sha256


async def test_a_tiff_of_an_unknown_compression_is_stored_if_it_is_all_there(box: Box, inspector: Inspector) -> None:
    tags, pixels = page(24, 16, 8, 3, t259=(3, [34887]))
    data = tiff((tags, pixels))
    moved = bytearray(data)
    at = data.index(struct.pack("<HHI", 279, 4, 1)) + 8
    moved[at : at + 4] = (len(data) * 2).to_bytes(4, "little")
    verdicts = await inspector.inspect([box.job(data, "image/tiff"), box.job(bytes(moved), "image/tiff")])
    assert [(v.error, v.width) for v in verdicts] == [(None, 24), ("ECORRUPT", 0)]


async def test_pixels_of_a_compression_that_is_not_built_in_are_no_damage(box: Box, inspector: Inspector) -> None:
    """WebP in a TIFF is known to Pillow by name, and not read by its own builds."""
    verdicts = await inspector.inspect(
        [box.job(tiff(page(24, 16, 8, 3, t259=(3, [method]))), "image/tiff") for method in (50001, 34925, 50000, 5)]
    )
    assert [v.error for v in verdicts] == [None, None, None, "ECORRUPT"]


async def test_masks_and_overviews_are_no_frames(box: Box, inspector: Inspector) -> None:
    mask = page(24, 16, 1, t254=(4, [4]), t262=(3, [4]))
    mask_by_colour_alone = page(24, 16, 1, t262=(3, [4]))
    overview = page(12, 8, 8, 3, t254=(4, [1]))
    one, two = page(24, 16, 8, 3), page(24, 16, 8, 3, t254=(4, [2]))
    files = [(one, mask), (one, mask_by_colour_alone), (one, overview, overview), (overview, one), (one, two, mask)]
    verdicts = await inspector.inspect([box.job(tiff(*pages), "image/tiff") for pages in files])
    assert [(v.error, v.width, v.frames) for v in verdicts] == [
        *[(None, 24, 1)] * 4,
        (None, 24, 2),
    ]
    assert all(shown(v).size == (24, 16) for v in verdicts)


@pytest.mark.skipif(PIL.__version__.startswith("12."), reason="Pillow before 13 turns no such grey into colours")
async def test_grey_with_associated_alpha_has_a_preview(box: Box, inspector: Inspector) -> None:
    tags, _ = page(24, 16, 8, 2, t338=(3, [1]))
    [verdict] = await inspector.inspect([box.job(tiff((tags, b"\x64\x80" * (24 * 16))), "image/tiff")])
    assert verdict.error is None
    assert shown(verdict).mode == "RGBA"


# BMP.


def bitfields(depth: int, masks: tuple[int, int, int], value: int, size: tuple[int, int] = (5, 3)) -> bytes:
    row = (value.to_bytes(depth // 8, "little") * size[0]).ljust((size[0] * depth // 8 + 3) // 4 * 4, b"\0")
    pixels = row * size[1]
    header = struct.pack("<IiiHHIIiiII", 40, *size, 1, depth, 3, len(pixels), 0, 0, 0, 0) + struct.pack("<III", *masks)
    return b"BM" + struct.pack("<IHHI", 14 + len(header) + len(pixels), 0, 0, 14 + len(header)) + header + pixels


@pytest.mark.parametrize(
    ("depth", "masks"),
    [
        (16, (0xF00, 0xF0, 0xF)),
        (16, (0x30, 0xE, 0x1)),
        (16, (0xF800, 0x7E0, 0x1F)),
        (16, (0x7C00, 0x3E0, 0x1F)),
        (32, (0xFFE00000, 0x1FFC00, 0x3FF)),
        (32, (0xFF, 0xFF00, 0xFF0000)),
        (32, (0xFF0000, 0xFF00, 0xFF)),
        (32, (0x3FF00000, 0xFFC00, 0x3FF)),
    ],
)
async def test_bitmaps_of_any_fields_are_shown(
    depth: int, masks: tuple[int, int, int], box: Box, inspector: Inspector
) -> None:
    """A pixel with red and blue full is magenta, wherever its fields are."""
    data = bitfields(depth, masks, masks[0] | masks[2])
    [verdict, cut_] = await inspector.inspect([box.job(data, "image/bmp"), box.job(data[:-1], "image/bmp")])
    assert (verdict.error, verdict.width, verdict.height) == (None, 5, 3), verdict.message
    red, green, blue = shown(verdict).convert("RGB").getpixel((2, 1))  # type: ignore[misc]
    assert red > 230
    assert green < 30
    assert blue > 230
    assert cut_.error == "ECORRUPT"


# Previews.


def turned_right(format: str, **options: object) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encode(format, Image.new("RGB", (80, 40), "blue"), exif=exif, **options)


async def test_width_and_height_are_of_the_stored_raster_in_every_format(box: Box, inspector: Inspector) -> None:
    """Previews are upright in all. HEIF turns by a property of its own."""
    pytest.importorskip("pi_heif", reason="nothing here reads HEIF")
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    made = {"image/jpeg": "JPEG", "image/png": "PNG", "image/webp": "WEBP", "image/avif": "AVIF"}
    jobs = [box.job(turned_right(format), mime) for mime, format in made.items()]
    jobs.append(box.job(turned(encode("HEIF", Image.new("RGB", (80, 40)))), "image/heic"))
    verdicts = await inspector.inspect(jobs)
    assert [(v.error, v.width, v.height) for v in verdicts] == [(None, 80, 40)] * 5
    assert [shown(v).size for v in verdicts] == [(40, 80)] * 5


@pytest.mark.parametrize(
    ("property_", "preview"),
    [(b"irot\2", (80, 40)), (b"irot\3", (40, 80)), (b"imir\0", (80, 40)), (b"imir\1", (80, 40))],
)
async def test_a_heif_that_is_turned_or_mirrored_has_the_size_of_its_raster(
    property_: bytes, preview: tuple[int, int], box: Box, inspector: Inspector
) -> None:
    pytest.importorskip("pi_heif", reason="nothing here reads HEIF")
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    data = turned(encode("HEIF", Image.new("RGB", (80, 40)))).replace(b"\x09irot\1", b"\x09" + property_)
    assert property_ in data
    [verdict] = await inspector.inspect([box.job(data, "image/heic")])
    assert (verdict.error, verdict.width, verdict.height, shown(verdict).size) == (None, 80, 40, preview)


def turned(data: bytes) -> bytes:
    """A HEIF whose picture has an ``irot`` of 90 degrees, as phones write it: an ``irot`` in place of its ``pasp``."""
    at = data.find(b"irot")
    if at >= 0:
        return data[: at + 4] + b"\1" + data[at + 5 :]
    ipma = data.index(b"ipma")
    ipco = data.index(b"ipco")
    size = int.from_bytes(data[ipco - 4 : ipco], "big")
    end = ipco - 4 + size
    count = 0
    at = ipco + 4
    while at < end:
        at += int.from_bytes(data[at : at + 4], "big")
        count += 1
    box_ = b"\0\0\0\x09irot\1"
    # Both boxes and all that hold them grow; offsets into mdat move by as much.
    inner = bytearray(data)
    number_at = ipma + 4 + 4 + 4 + 2
    inner[number_at] += 1
    used = number_at + 1 + (inner[number_at] - 1)
    inner[used:used] = bytes([0x80 | (count + 1)])
    inner[end:end] = box_
    grown = len(box_) + 1
    for name, more in ((b"meta", grown), (b"iprp", grown), (b"ipco", len(box_)), (b"ipma", 1)):
        place = inner.index(name) - 4
        inner[place : place + 4] = (int.from_bytes(inner[place : place + 4], "big") + more).to_bytes(4, "big")
    iloc = inner.index(b"iloc")
    for place in range(iloc, iloc + int.from_bytes(inner[iloc - 4 : iloc], "big")):
        value = int.from_bytes(inner[place : place + 4], "big")
        if value == data.index(b"mdat") + 4:
            inner[place : place + 4] = (value + grown).to_bytes(4, "big")
            break
    return bytes(inner)


def app1(payload: bytes) -> bytes:
    return b"\xff\xe1" + struct.pack(">H", len(payload) + 2) + payload


async def test_notes_that_cannot_be_read_cost_no_preview(box: Box, inspector: Inspector) -> None:
    data = encode("JPEG")
    xmp = b'http://ns.adobe.com/xap/1.0/\0<x:xmpmeta tiff:Orientation="6"></x:xmpmeta>'
    notes = [b"Exif\0\0\xff\xff\xff\xff\0\0\0\x08\0\1", b"Exif\0\0II*\0\x08\0\0\0\xff\xff", b"Exif\0\0", xmp]
    verdicts = await inspector.inspect([box.job(data[:2] + app1(note) + data[2:], "image/jpeg") for note in notes])
    assert [v.error for v in verdicts] == [None] * 4
    assert [shown(v).size for v in verdicts] == [(96, 64)] * 4, "no browser turns by XMP"


def swapping() -> bytes:
    """A profile in which red is green, and green is red."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, green = profile.index(b"rXYZ", 128), profile.index(b"gXYZ", 128)
    profile[red : red + 4], profile[green : green + 4] = b"gXYZ", b"rXYZ"
    return bytes(profile)


@pytest.mark.parametrize(("format", "mime"), [("JPEG", "image/jpeg"), ("PNG", "image/png"), ("TIFF", "image/tiff")])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
async def test_previews_honour_colour_profiles(
    format: str, mime: str, mode: str, box: Box, inspector: Inspector
) -> None:
    if mode == "RGBA" and format == "JPEG":
        mode = "RGB"
    image = Image.new("RGB", (40, 30), (255, 0, 0)).convert(mode)
    broken = encode(format, image, icc_profile=b"no profile" * 20)
    verdicts = await inspector.inspect(
        [box.job(encode(format, image, icc_profile=swapping()), mime), box.job(broken, mime)]
    )
    assert [v.error for v in verdicts] == [None, None]
    red, green, _ = shown(verdicts[0]).convert("RGB").getpixel((20, 15))  # type: ignore[misc]
    assert green > 200 > 60 > red
    red, green, _ = shown(verdicts[1]).convert("RGB").getpixel((20, 15))  # type: ignore[misc]
    assert red > 200 > 60 > green


async def test_two_hundred_megapixels_of_a_phone_are_taken(box: Box, inspector: Inspector) -> None:
    data = encode("JPEG", Image.new("RGB", (12240, 16320), "grey"), quality=30)
    [verdict] = await inspector.inspect([box.job(data, "image/jpeg")])
    assert (verdict.error, verdict.width, verdict.height) == (None, 12240, 16320), verdict.message
    assert verdict.width * verdict.height * 2 < InspectionLimits().max_pixels
    assert shown(verdict).size == (192, 256)


HOLES: list[Callable[[bytes], bytes]] = [lambda data: data[: len(data) // 2], lambda data: data[:100]]


@pytest.mark.parametrize("hole", HOLES)
async def test_half_a_picture_without_an_end_is_refused(
    hole: Callable[[bytes], bytes], box: Box, inspector: Inspector
) -> None:
    made = {"image/jpeg": "JPEG", "image/png": "PNG", "image/gif": "GIF", "image/tiff": "TIFF", "image/bmp": "BMP"}
    verdicts = await inspector.inspect([box.job(hole(encode(format)), mime) for mime, format in made.items()])
    assert [v.error for v in verdicts] == ["ECORRUPT"] * 5
