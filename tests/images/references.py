"""The same images judged by the local service and by two independent references, libvips and OpenCV.

Run by ``nox -s images`` over the images in source archives of packages, which are fetched for it and never kept here:
``python tests/images/references.py ARCHIVE...``. Ends with 1 when a stored image has dimensions that no reference that
opens it agrees with.
"""

from __future__ import annotations

import asyncio
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from vi import _media
from vi.server.inspection.inspector import InspectionJob, Inspector, Verdict

Size = tuple[int, int]


def by_libvips(path: str) -> Size | None:
    """Decode every pixel of the first picture; a warning is no failure."""
    import pyvips

    try:
        image = pyvips.Image.new_from_file(path)
        image.avg()
    except pyvips.Error:
        return None
    return image.width, image.height


def by_opencv(path: str) -> Size | None:
    """Decode the first picture as it is stored."""
    import cv2

    try:
        image = cv2.imread(path, cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        return None
    return None if image is None else (image.shape[1], image.shape[0])


REFERENCES: dict[str, Callable[[str], Size | None]] = {"libvips": by_libvips, "OpenCV": by_opencv}


def extracted(archives: Iterable[str], folder: Path) -> list[Path]:
    """Write the images of *archives* into *folder*."""
    found = []
    for archive in archives:
        with tarfile.open(archive) as tar:
            for member in tar:
                if member.isfile() and _media.extension_of(member.name) in _media.IMAGE_TYPES:
                    tar.extract(member, folder, filter="data")
                    found.append(folder / member.name)
    return found


def asked(reference: Callable[[str], Size | None], paths: list[Path]) -> list[Size | None]:
    """Ask a reference in a process of its own; what kills it is not opened."""
    answers: list[Size | None] = []
    while len(answers) < len(paths):
        with ProcessPoolExecutor(1) as pool:
            for path in paths[len(answers) :]:
                try:
                    answers.append(pool.submit(reference, str(path)).result(120))
                except BrokenProcessPool:
                    answers.append(None)
                    break
    return answers


async def verdicts_on(paths: list[Path]) -> list[Verdict]:
    """Return what the service says of each file, announced as the type that its first bytes show."""
    jobs = []
    for path in paths:
        with path.open("rb") as file:
            family = _media.sniff(file.read(_media.SNIFF_BYTES))
        named = _media.IMAGE_TYPES[_media.extension_of(path.name)]
        known = family in (None, "video") or family == _media.family_of(named)
        jobs.append(
            InspectionJob(str(path), "Image", named if known else _media.type_of(str(family)), path.stat().st_size)
        )
    inspector = Inspector()
    try:
        return await inspector.inspect(jobs)
    finally:
        await inspector.aclose()


def main(archives: list[str]) -> int:
    """Compare, and print every difference."""
    counts: Counter[str] = Counter()
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        paths = extracted(archives, Path(folder))
        verdicts = asyncio.run(verdicts_on(paths))
        answers = {name: asked(reference, paths) for name, reference in REFERENCES.items()}
        for index, (path, verdict) in enumerate(zip(paths, verdicts, strict=True)):
            sizes = {name: given for name in REFERENCES if (given := answers[name][index]) is not None}
            label = path.relative_to(folder)
            counts["stored" if verdict.error is None else f"refused {verdict.error}"] += 1
            if verdict.error is not None:
                if sizes:
                    counts["refused and opened by a reference"] += 1
                    print(f"refused  {label}: {verdict.error} {verdict.message} (opened by {', '.join(sizes)})")
                continue
            if not sizes:
                counts["stored and opened by no reference"] += 1
                print(f"alone    {label}: {verdict.width} x {verdict.height}")
                continue
            other = {name: size for name, size in sizes.items() if size != (verdict.width, verdict.height)}
            counts["stored and compared"] += 1
            if other:
                agreed = len(other) < len(sizes)
                # libvips shows HEIF and AVIF upright, and so does OpenCV.
                turned = set(other.values()) == {(verdict.height, verdict.width)}
                counts["dimensions differ in one" if agreed else "turned" if turned else "dimensions differ"] += 1
                wrong += not agreed and not turned
                print(f"size     {label}: {verdict.width} x {verdict.height}, but {other}")
    print(", ".join(f"{count} {what}" for what, count in sorted(counts.items())))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
