"""How much faster than a class over `open` does `vi.torch` feed a training loop of two workers, at 30 ms a request?"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from harness import arguments, in_process, interleave, make_files, median, rate, scratch_folder
from PIL import Image
from results import Answer
from service import own_client
from slow import slow_service
from torch.utils.data import DataLoader, Dataset

import vi
from vi.torch import Images, ImageStream

COUNT, QUICK, SIZE, BATCH = 480, 96, 100_000, 16
DELAY = 0.03


class Naive(Dataset):
    """What users write: one asset after another."""

    def __init__(self, client: vi.Client, dataset: str) -> None:
        self.client, self.dataset = client, dataset
        self.ids = [asset.asset_id for asset in client.assets.list(dataset).all_items()]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, position: int) -> dict[str, Any]:
        with self.client.assets.open(self.dataset, self.ids[position]) as file:
            return {"image": small(file)}


def small(file: Any) -> bytes:
    """What a training takes of a picture: 224 pixels square, so that the pipe from worker to loop does not count."""
    with Image.open(file) as image:
        image.draft("RGB", (480, 360))
        return image.convert("RGB").resize((224, 224)).tobytes()


def decode(data: bytes) -> bytes:
    return small(io.BytesIO(data))


def keep(samples: list[Any]) -> list[Any]:
    return samples


def main() -> None:
    given = arguments(__doc__)
    count = QUICK if given.quick else COUNT
    with scratch_folder() as scratch, slow_service(scratch, DELAY) as settings, own_client(settings) as client:
        dataset = client.datasets.create(name="train").dataset_id
        client.assets.upload(dataset, make_files(scratch / "images", count, SIZE), show_progress=False)

        def loop(of: Any, *, shuffle: bool) -> None:
            loader = DataLoader(of, batch_size=BATCH, shuffle=shuffle, num_workers=2, collate_fn=keep)
            assert sum(len(batch) for batch in loader) == count

        naive, images = Naive(client, dataset), Images(dataset, client, decode=decode)
        stream = ImageStream(dataset, client, decode=decode, shuffle=1, batch_size=BATCH)
        runs = {
            "class over open": in_process(lambda: loop(naive, shuffle=True)),
            "Images": in_process(lambda: loop(images, shuffle=True)),
            "ImageStream": in_process(lambda: loop(stream, shuffle=False)),
        }
        costs = interleave(runs, given.rounds)
    answer = Answer(Path(__file__).stem, __doc__, "a map-style class of ten lines over `assets.open`, same loader.")
    line = f"{count} x 100 KB, {DELAY * 1000:.0f} ms, 2 workers: times the rate of a class over open"
    for name in ("Images", "ImageStream"):
        answer.ratio(f"{line}, {name}", rate(costs, name, "class over open"), least=5)
    answer.table(
        f"{count} x 100 KB decoded, each request {DELAY * 1000:.0f} ms later",
        {name: {"images/s": count / median([c.wall for c in values])} for name, values in costs.items()},
    )
    answer.give(given)


if __name__ == "__main__":
    main()
