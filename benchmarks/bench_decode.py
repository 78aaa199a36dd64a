"""What does looking into an image cost a decoder of the local service, and what is it spent on?"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import pillow_heif
from harness import Cost, arguments, in_process, interleave, median
from PIL import Image
from results import Answer

from vi import _checksums, _samples
from vi.server.inspection import decoding, jpeg, previews
from vi.server.inspection.frames import InspectionLimits

LARGE = (4000, 3000)
SMALL = (960, 720)
SAVED: dict[str, dict[str, object]] = {
    "jpeg": {"format": "JPEG", "quality": 90},
    "png": {"format": "PNG", "compress_level": 1},
    "webp": {"format": "WEBP", "quality": 80, "method": 0},
    "heif": {"format": "HEIF", "quality": 60},
    "avif": {"format": "AVIF", "quality": 60, "speed": 10},
}


def main() -> None:
    given = arguments(__doc__)
    decoding.prepare()
    for load in decoding.libraries().values():
        load()
    pillow_heif.register_heif_opener()
    decoder, limits = decoding.Decoder(InspectionLimits()), InspectionLimits()
    scene = Image.open(io.BytesIO(_samples.encode(1, ".jpg", SMALL)))
    scene.load()
    small = [_samples.encode(seed, ".jpg", SMALL) for seed in range(16)]
    sets = {"JPEG of 100 KB": ("jpeg", [data + bytes(max(0, 100_000 - len(data))) for data in small])}
    large = scene.resize(LARGE if not given.quick else SMALL, Image.Resampling.BICUBIC)
    for family, options in SAVED.items():
        out = io.BytesIO()
        large.save(out, **options)  # type: ignore[arg-type]
        sets[f"{family.upper()} of 12 megapixels"] = (family, [out.getvalue()])
    rows: dict[str, dict[str, object]] = {}
    whole: dict[str, float] = {}
    for name, (family, files) in sets.items():
        opened = [_opened(family, data, limits.thumbnail_side) for data in files]

        def each(call: Callable[[int], object], count: int = len(files)) -> Callable[[], Cost]:
            return in_process(lambda: [call(index) for index in range(count)])

        costs = interleave(
            {
                "all": each(lambda index, f=family, d=files: decoder(f, f"image/{f}", d[index])),  # type: ignore[misc]
                "decode": each(lambda index, f=family, d=files: _opened(f, d[index], limits.thumbnail_side)),  # type: ignore[misc]
                "thumbnail": each(lambda index, o=opened: previews.thumbnail(o[index].copy(), limits.thumbnail_side)),  # type: ignore[misc]
                "hashes": each(lambda index, d=files: _hashes(d[index])),  # type: ignore[misc]
            },
            given.rounds,
        )
        cpu = {part: median([cost.cpu for cost in values]) / len(files) * 1e3 for part, values in costs.items()}
        whole[name] = cpu["all"]
        rows[name] = {
            "MB": round(sum(map(len, files)) / len(files) / 1e6, 2),
            "CPU ms a file": cpu["all"] + cpu["hashes"],
            **{f"{part}, ms": cpu[part] for part in ("decode", "thumbnail", "hashes")},
            "everything else, ms": max(0.0, cpu["all"] - cpu["decode"] - cpu["thumbnail"]),
        }
    answer = Answer(
        Path(__file__).stem,
        __doc__,
        "none; the decoder's own function in this process, without its walls. SHA-256 and CRC32C are the service's.",
    )
    answer.ratio("a JPEG of 100 KB: CPU", whole["JPEG of 100 KB"], most=2, unit=" ms")
    answer.table("One file", rows)
    answer.give(given)


def _opened(family: str, data: bytes, side: int) -> Image.Image:
    """Return the decoded picture, as the decoder has it."""
    image = Image.open(io.BytesIO(jpeg.to_decode(data)[0] if family == "jpeg" else data))
    if family == "jpeg":
        image.draft(None, previews.fit(image.size, side * 3 // 2))
    image.load()
    return image


def _hashes(data: bytes) -> None:
    hashlib.sha256(data).digest()
    _checksums.crc32c(data)


if __name__ == "__main__":
    main()
