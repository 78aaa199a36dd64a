"""Whatever can be uploaded beside paths: bytes, open files, streams, and lists of all of them."""

from __future__ import annotations

import hashlib
import io
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import vi


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def pieces(data: bytes, size: int = 50) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, io.BytesIO])
def test_bytes_go_up_under_the_name_beside_them(
    client: vi.Client, dataset: str, png: Any, stored: Any, kind: Any
) -> None:
    client.assets.upload(dataset, ("made.png", kind(png(1))))
    assert stored(dataset) == {"made.png": sha256(png(1))}


def test_an_open_file_is_read_from_its_beginning_and_left_open(
    client: vi.Client, dataset: str, folder: Any, contents: Any, stored: Any
) -> None:
    images = folder(1)
    with (images / "image-000.png").open("rb") as file:
        file.seek(20)
        client.assets.upload(dataset, file)
        assert not file.closed
    assert stored(dataset) == contents(images)


def test_a_spooled_file_goes_up_like_any_other(client: vi.Client, dataset: str, png: Any, stored: Any) -> None:
    with tempfile.SpooledTemporaryFile() as file:
        file.write(png(2))
        client.assets.upload(dataset, ("web.png", file))
    assert stored(dataset) == {"web.png": sha256(png(2))}


@pytest.mark.parametrize("sized", [True, False], ids=["with size", "without size"])
@pytest.mark.parametrize("side", [8, 2400], ids=["small", "large"])
def test_a_stream_goes_up(client: vi.Client, dataset: str, png: Any, stored: Any, sized: bool, side: int) -> None:
    data = png(3, side)
    stream = pieces(data, 50 if side == 8 else 4096)
    result = client.assets.upload(dataset, ("live.png", stream, len(data)) if sized else ("live.png", stream))
    assert stored(dataset) == {"live.png": sha256(data)}
    assert result.bytes_sent == len(data)


@pytest.mark.anyio
async def test_a_stream_without_size_may_be_larger_than_memory_should_hold(
    service: Any, dataset: str, stored: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2" + bytes(3 << 20)
    monkeypatch.setattr("vi._transfer.sources.local.SPOOL_IN_MEMORY", 1 << 20)
    async with service.async_client() as client:
        await client.assets.upload(dataset, ("film.mp4", pieces(data, 1 << 16)))
        (asset,) = (await client.assets.list(dataset)).items
    assert asset.metadata.hash.contents == sha256(data)


@pytest.mark.parametrize(("change", "word"), [(-1, "short"), (1, "long")])
def test_a_stream_of_another_size_than_announced_is_not_stored(
    client: vi.Client, dataset: str, png: Any, stored: Any, change: int, word: str
) -> None:
    data = png(4)
    with pytest.raises(vi.ViUploadError) as raised:
        client.assets.upload(dataset, ("live.png", pieces(data), len(data) - change))
    assert raised.value.result.failures[0].code == "ECHANGED"
    assert stored(dataset) == {}


@pytest.mark.parametrize("sized", [True, False], ids=["with size", "without size"])
@pytest.mark.parametrize("after", [0, 3], ids=["at once", "later"])
def test_a_stream_that_breaks_fails_alone_with_its_reason(
    client: vi.Client, dataset: str, png: Any, stored: Any, sized: bool, after: int
) -> None:
    data = png(5)

    async def breaking() -> AsyncIterator[bytes]:
        for number in range(10):
            if number == after:
                raise RuntimeError("the camera is gone")
            yield data[number * 10 : number * 10 + 10]

    broken = ("live.png", breaking(), 100) if sized else ("live.png", breaking())
    result = client.assets.upload(dataset, [broken, ("good.png", data)], failure_mode="FailAfterAll")
    assert [(f.filename, f.code) for f in result.failures] == [("live.png", "ESOURCE")]
    assert "the camera is gone" in result.failures[0].message
    assert sorted(stored(dataset)) == ["good.png"]


def test_a_list_may_hold_all_of_them(
    client: vi.Client, dataset: str, folder: Any, png: Any, contents: Any, stored: Any
) -> None:
    images = folder(3)
    with (images / "image-000.png").open("rb") as file:
        result = client.assets.upload(
            dataset,
            [
                file,
                images / "image-001.png",
                str(images / "image-002.png"),
                ("made.png", png(50)),
                ("opened.png", io.BytesIO(png(51))),
                ("live.png", pieces(png(52)), len(png(52))),
                folder(2, name="more", names=["x.png", "y.png"]),
            ],
        )
    made = {"made.png": png(50), "opened.png": png(51), "live.png": png(52)}
    assert stored(dataset) == {
        **contents(images),
        **contents(images.parent / "more"),
        **{name: sha256(data) for name, data in made.items()},
    }
    assert result.total_succeeded == 8


def test_paths_may_come_from_a_generator(client: vi.Client, dataset: str, folder: Any) -> None:
    images = folder(4)
    assert client.assets.upload(dataset, (path for path in images.iterdir())).total_succeeded == 4


@pytest.mark.parametrize(
    "given",
    [
        b"bytes alone",
        io.BytesIO(b"no name"),
        ("", b"empty name"),
        ("a.png", "text", 4),
        ("a.png", b"1", 2, 3),
        (7, b"x"),
        [None],
        None,
        5,
        [("a.png", object())],
    ],
    ids=["bytes", "nameless", "no name", "text", "too long", "number", "none in list", "none", "integer", "object"],
)
def test_what_cannot_be_uploaded_is_refused_before_a_request(
    client: vi.Client, service: Any, dataset: str, given: Any
) -> None:
    with pytest.raises(vi.ViInvalidParameterError) as raised:
        client.assets.upload(dataset, given)
    assert raised.value.parameter == "paths"
    assert service.requests() == []


def test_a_file_open_as_text_is_refused(client: vi.Client, service: Any, dataset: str, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("x")
    with (tmp_path / "text.png").open() as file, pytest.raises(vi.ViInvalidParameterError, match="binary"):
        client.assets.upload(dataset, file)
    assert service.requests("POST") == []


@pytest.mark.parametrize("name", ["\udcff.png", "a\0b.png"], ids=["surrogate", "nul"])
def test_a_name_that_no_service_can_take_fails_alone(client: vi.Client, dataset: str, png: Any, name: str) -> None:
    result = client.assets.upload(dataset, [(name, png(1)), ("good.png", png(2))], failure_mode="FailAfterAll")
    assert [f.code for f in result.failures] == ["EBADNAME"]
    assert result.total_succeeded == 1
