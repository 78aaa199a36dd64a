"""Small valid images for tests; equal arguments give equal bytes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import attrs

from .. import _samples


@attrs.define(eq=False)
class ImageFactory:
    """Makes images in every format that the service takes."""

    _root: Path
    _folders: Iterator[int] = attrs.field(factory=lambda: itertools.count(1), init=False)

    extensions: ClassVar[tuple[str, ...]] = _samples.EXTENSIONS

    def __call__(
        self,
        count: int | None = None,
        *,
        extensions: Sequence[str] = _samples.EXTENSIONS,
        size: tuple[int, int] = (32, 24),
        seed: int = 0,
    ) -> Path:
        """Return a new folder with *count* images that go through *extensions*; one of each if None."""
        folder = self._root / f"images-{next(self._folders)}"
        folder.mkdir()
        for number, extension in enumerate(itertools.islice(itertools.cycle(extensions), count or len(extensions))):
            path = folder / f"image-{number + 1:04d}{extension}"
            path.write_bytes(self.encode(extension, seed=seed * 100_000 + number, size=size))
        return folder

    def encode(self, extension: str = ".png", *, seed: int = 0, size: tuple[int, int] = (32, 24)) -> bytes:
        """Return the bytes of one image."""
        return _samples.encode(seed, extension, size)
