"""The blocks of the page about training, as they are printed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.readme_blocks import ROOT, page
from vi import _samples
from vi.testing import TestedService

torch = pytest.importorskip("torch", reason="torch is not installed")

pytestmark = [pytest.mark.torch, pytest.mark.timeout(300), pytest.mark.filterwarnings("default")]

COUNT = 200


def pixels(image: Any) -> Any:
    """Make a tensor of a picture, as transforms do."""
    width, height = image.size
    return torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).reshape(height, width, 3)


def test_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service = TestedService.start(tmp_path / "data")
    for name, value in service.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    taken: list[tuple[int, int]] = []
    files = [(f"{number:03}.png", _samples.encode(number, ".png", (8, 6))) for number in range(COUNT)]
    metadata = {name: {"label": number % 3, "split": "train"} for number, (name, _) in enumerate(files)}
    try:
        with service.client() as client:
            dataset = client.datasets.create(name="train").dataset_id
            client.assets.upload(dataset, files, custom_metadata=metadata, show_progress=False)
        scope: dict[str, Any] = {
            "dataset": dataset,
            "augment": pixels,
            "model": torch.nn.Linear(1, 1),
            "step": lambda image, label: taken.append((len(image), len(label))),
        }
        for block in page("train.md", (ROOT / "docs" / "train.md").read_text("utf-8")).blocks:
            exec(compile("\n" * block.line + block.text, "train.md", "exec"), scope)
    finally:
        service.stop()
    assert sum(images for images, _ in taken) == sum(labels for _, labels in taken) == 11 * COUNT
