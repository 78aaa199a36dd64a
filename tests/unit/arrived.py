"""Files as the inspector finds them: made of bytes, or such that they take over their decoder."""

from __future__ import annotations

import contextlib
import io
import random
import sys
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from vi.server.inspection.inspector import InspectionJob


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

    def code(self, source: str) -> InspectionJob:
        """A picture whose decoder, made by `vulnerable`, runs *source*; what it raises is in the verdict."""
        return self.job(_HEIC + source.encode(), "image/heic")

    def hanging(self) -> InspectionJob:
        """A picture at which a worker hangs."""
        return self.code("import time; time.sleep(3600)")


def box(kind: bytes, *inside: bytes) -> bytes:
    """A box of the ISO base media format."""
    content = b"".join(inside)
    return (8 + len(content)).to_bytes(4, "big") + kind + content


_ZEROS = bytes(4)
_SIZE = box(b"ispe", _ZEROS, (96).to_bytes(4, "big"), (64).to_bytes(4, "big"))
_OF_FIRST = box(b"ipma", _ZEROS, b"\0\0\0\1", b"\0\1", b"\1\1")
_META = box(b"meta", _ZEROS, box(b"pitm", _ZEROS, b"\0\1"), box(b"iprp", box(b"ipco", _SIZE), _OF_FIRST))
_HEIC = box(b"ftyp", b"heic", _ZEROS, b"mif1heic") + _META
_VULNERABLE = f"""
from PIL import Image

def register_heif_opener(**_):
    Image.register_open("HEIF", opened)

def opened(file, name):
    exec(file.read()[{len(_HEIC)}:].decode(), {{}})
    return Image.new("RGB", (96, 64))
"""


def vulnerable(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let workers that start from now on have a HEIF decoder that runs what a picture says."""
    folder.mkdir()
    (folder / "pi_heif.py").write_text(_VULNERABLE)
    monkeypatch.setenv("PYTHONPATH", str(folder))


_others: set[int] = set()


def forget_children() -> None:
    """Leave the processes of tests before, and of services that are kept for several tests, out of `children`."""
    if sys.platform.startswith("linux"):
        _others.update(children())


def children() -> set[int]:
    """Return the processes that this one has started, but for those that are forgotten."""
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # a thread that has just ended
            found |= {int(pid) for pid in (task / "children").read_text().split()}
    return found - _others
