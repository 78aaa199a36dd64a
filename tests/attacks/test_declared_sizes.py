"""What pictures declare, read by the service itself: it holds for sound ones, and hostile ones cost little."""

from __future__ import annotations

import io
import random
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("PIL")
from PIL import Image, features

from tests.attacks.costs import AT_MOST, growth
from tests.unit.arrived import Box, children, encode, forget_children, picture
from vi import _media
from vi.server.inspection import declared
from vi.server.inspection.declared import Declared
from vi.server.inspection.inspector import Inspector

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def inspector() -> AsyncIterator[Inspector]:
    forget_children()
    async with aclosing(Inspector(workers=1)) as inspector:
        yield inspector


def sound() -> dict[str, bytes]:
    """Pictures of every kind that is usual, by a name that begins with their family."""
    turned = Image.Exif()
    turned[0x0112] = 6
    two: dict[str, Any] = {"save_all": True, "append_images": [picture(2), picture(3)]}
    pictures = {
        "jpeg": encode("JPEG"),
        "jpeg turned": encode("JPEG", exif=turned),
        "jpeg progressive": encode("JPEG", progressive=True),
        "jpeg behind a large profile": encode("JPEG", icc_profile=random.Random(1).randbytes(150_000)),
        "png": encode("PNG"),
        "png animated": encode("PNG", None, **two),
        "png animated with a still": encode("PNG", None, default_image=True, **two),
        "gif": encode("GIF"),
        "gif animated": encode("GIF", None, **two),
        "bmp": encode("BMP"),
        "tiff": encode("TIFF"),
        "tiff of pages": encode("TIFF", None, **two),
        "tiff large": encode("TIFF", big_tiff=True),
        "tiff with its directory behind": encode("TIFF", picture(size=(700, 600)), compression="tiff_lzw"),
        "webp": encode("WEBP"),
        "webp without loss": encode("WEBP", lossless=True),
        "webp with more": encode("WEBP", exif=turned),
        "webp animated": encode("WEBP", None, **two),
    }
    if features.check("jpg_2000"):
        pictures |= {"jpeg2000": encode("JPEG2000"), "jpeg2000 stream": encode("JPEG2000", no_jp2=True)}
    if features.check("avif"):
        pictures |= {"avif": encode("AVIF"), "avif turned": encode("AVIF", exif=turned)}
    try:
        import pi_heif  # noqa: F401
        import pillow_heif
    except ImportError:
        return pictures
    pillow_heif.register_heif_opener()
    return pictures | {"heif": encode("HEIF"), "heif turned": encode("HEIF", exif=turned)}


async def test_A25_of_sound_pictures_the_first_answer_counts(tmp_path: Path, inspector: Inspector) -> None:
    """What they declare is what their decoder says, so that nothing is decoded twice."""
    box, pictures = Box(tmp_path), sound()
    jobs = [box.job(data, _media.type_of(name.split()[0])) for name, data in pictures.items()]
    verdicts = dict(zip(pictures, await inspector.inspect(jobs), strict=True))
    assert {name: verdict.message for name, verdict in verdicts.items() if verdict.error} == {}
    found = {name: Declared(one.width, one.height, one.frames) for name, one in verdicts.items()}
    assert found == {name: _read(name.split()[0], data) for name, data in pictures.items()}
    assert len(children()) == 1


def _read(family: str, data: bytes) -> Declared | None:
    head = memoryview(data) if len(data) <= 1 << 20 else memoryview(data[: 1 << 16])
    return declared.read(family, head, io.BytesIO(data))  # type: ignore[arg-type] # as an open file


def test_A25_a_hostile_header_costs_no_error_and_no_lie() -> None:
    """Whatever was changed, the answer is a size or none."""
    dice = random.Random(13)
    for name, data in sound().items():
        family = name.split()[0]
        for _ in range(150):
            changed = bytearray(data[: dice.choice((30, 200, 3000, len(data)))])
            for _ in range(dice.randint(0, 5)):
                changed[dice.randrange(min(len(changed), dice.choice((24, 200, 4000))))] = dice.choice((0, 1, 127, 255))
            found = _read(family, bytes(changed))
            assert found is None or min(found.width, found.height, found.frames) > 0
        assert _read(family, b"") is None


def _animated(data: bytes) -> bytes:
    return data[:20] + b"\x02" + data[21:]


WEBP = b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0" + bytes(10)
HOSTILE: dict[str, Callable[[int], bytes]] = {
    "jpeg of segments": lambda n: b"\xff\xd8" + b"\xff\xe0\0\x02" * n,
    "jpeg of filling": lambda n: b"\xff\xd8" + b"\xff" * n,
    "jpeg of noise": lambda n: b"\xff\xd8" + b"a" * n,
    "png of chunks": lambda n: encode("PNG")[:33] + b"\0\0\0\0abcd\0\0\0\0" * n,
    "gif of zeros": lambda n: b"GIF89a\1\0\1\0\0\0\0" + bytes(n),
    "gif of comments": lambda n: b"GIF89a\1\0\1\0\0\0\0" + b"\x21\xfe\1a\0" * n,
    "webp of chunks": lambda n: _animated(WEBP) + b"abcd\0\0\0\0" * n,
    "tiff of directories": lambda n: (
        b"II*\0\x08\0\0\0" + b"".join(b"\0\0" + (14 + 6 * at).to_bytes(4, "little") for at in range(n))
    ),
    "heif of boxes": lambda n: b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0\0\0\x08abcd" * n,
    "heif of brands": lambda n: (16 + 4 * n).to_bytes(4, "big") + b"ftypheic\0\0\0\0" + b"abcd" * n,
    "jpeg2000 of boxes": lambda n: b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0\0\0\x08abcd" * n,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_A25_headers_are_read_in_linear_time(name: str) -> None:
    def read(data: Any) -> object:
        return _read(name.split()[0], data)

    assert growth(read, HOSTILE[name]) <= AT_MOST


def test_A25_of_a_large_file_little_is_read() -> None:
    """However it is made: it is decoded by a process of its own then."""

    class Counted(io.BytesIO):
        reads = 0

        def read(self, size: int | None = -1, /) -> bytes:
            Counted.reads += 1
            return super().read(size)

    for name, make in HOSTILE.items():
        data = make(1 << 19)
        declared.read(name.split()[0], memoryview(data[: 1 << 16]), Counted(data))  # type: ignore[arg-type]
    assert Counted.reads < 6000 * len(HOSTILE)
