"""Pictures in memory, of Pillow or as NumPy arrays, encoded by the extension of their name when their turn comes."""

from __future__ import annotations

import io
from typing import Any

from ..._optional import require
from ..outcomes import SourceFailedError
from ..threads.stopping import to_end_in_thread
from .local import BytesSource, Facts, Reach

LOSSY_QUALITY = 95


def is_picture(content: Any) -> bool:
    """Tell whether *content* is a picture of Pillow or an array, by its shape."""
    return _is_image(content) or hasattr(content, "__array_interface__")


def _is_image(content: Any) -> bool:
    return all(hasattr(content, name) for name in ("save", "mode", "tobytes", "size"))


class PictureSource(BytesSource):
    """A picture that is encoded when it is prepared, and whose bytes are released once they are sent."""

    __slots__ = ("_picture",)

    def __init__(self, label: str, picture: Any) -> None:
        super().__init__(label, b"")
        self._picture = picture

    async def examine(self, reach: Reach) -> Facts:
        self.data = memoryview(await to_end_in_thread(encode, self._picture, self.label))
        return await super().examine(reach)

    def close(self) -> None:
        """Release the bytes; the picture is the caller's."""
        self.data = memoryview(b"")


def encode(picture: Any, name: str) -> bytes:
    """Return the picture as a file of the type that *name* ends in; lossy formats at quality 95. Blocking."""
    Image = require("PIL.Image", "Uploading a NumPy array")  # noqa: N806
    extension = f".{name.rpartition('.')[2].lower()}"
    format = Image.registered_extensions().get(extension)
    if format is None:
        raise SourceFailedError(f"{name}: Pillow cannot write files of type {extension}")
    out = io.BytesIO()
    try:
        image = picture if _is_image(picture) else Image.fromarray(picture)
        image.save(out, format, **({"quality": LOSSY_QUALITY} if format in ("JPEG", "WEBP", "AVIF") else {}))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise SourceFailedError(f"{name} cannot be encoded: {error}") from error
    return out.getvalue()
