"""Files as the inspector finds them: made of bytes, or such that a worker hangs at them."""

from __future__ import annotations

import io
import os
import random
from pathlib import Path

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

    def fifo(self, size: int = 1) -> InspectionJob:
        """A file at which a worker hangs."""
        self.count += 1
        path = self.folder / f"{self.count}"
        os.mkfifo(path)
        return InspectionJob(str(path), "Image", "image/png", size)
