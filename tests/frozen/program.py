"""A program to be frozen: a local service, all its decoders, and a round trip."""

import sys
from pathlib import Path

import vi
from vi._samples import make_samples

print("began", flush=True)
folder = Path(sys.argv[1])
make_samples(folder / "images", count=14)
with vi.Client.local(folder / "data") as client:
    dataset = client.datasets.create(name="frozen").dataset_id
    sent = client.assets.upload(dataset, folder / "images", failure_mode="FailAfterAll", show_progress=False)
    print(sent.total_succeeded, [str(failure) for failure in sent.failures])
    print(client.assets.download(dataset, folder / "copy", show_progress=False).total_downloaded)
    print(client.assets.verify(dataset, folder / "copy").ok)
