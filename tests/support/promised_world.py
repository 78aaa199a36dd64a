"""A dataset with a picture of every extension, and what each documented call gave, in sync or async form."""

from __future__ import annotations

import asyncio
import contextlib
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import vi
from vi import _routes, _wire
from vi.api.pagination import PaginatedResponse
from vi.api.resources.datasets.assets.responses import AssetIngestionSession

METADATA = {"custom_field": "value", "height_m": 12.5, "count": 3, "night": False}
NAME = "picture-10.png"


class World:
    """*client* is a `vi.Client`, or a `vi.AsyncClient` driven by *runner*."""

    def __init__(self, client: Any, pictures: Path, folder: Path, runner: asyncio.Runner | None = None) -> None:
        self.client = client
        self.folder = folder
        self._runner = runner
        self.originals = {path.name: path.read_bytes() for path in sorted(pictures.iterdir())}
        self.dataset_id: str = self.do(lambda: client.datasets.create(name="everything")).dataset_id
        self.upload = self.call("upload", paths=str(pictures), custom_metadata={NAME: METADATA})
        self.page = self.call("list")
        self.assets = {asset.filename: asset for page in self.pages() for asset in page.items}
        self.asset_id: str = self.assets[NAME].asset_id
        self.asset = self.call("get", asset_id=self.asset_id, contents=True)
        self.session = self.call("wait_until_done", asset_ingestion_session_id=self.upload.session_ids[0])
        self.save_dir = folder / "copy"
        self.download = self.call("download", save_dir=self.save_dir, show_progress=False)
        self.opened = self._open_session()
        self.announced = self.opened.status.assets[0]
        """A file as a session's answer has it, before it is sent."""

    def do(self, call: Any) -> Any:
        """Call, and wait where the form asks for it."""
        if self._runner is None:
            return call()

        async def wait() -> Any:
            return await call()

        return self._runner.run(wait())

    def call(self, method: str, *args: Any, **arguments: Any) -> Any:
        """Call a method of the assets, for this dataset unless another is given."""
        if not args:
            arguments = {"dataset_id": self.dataset_id, **arguments}
        return self.do(lambda: getattr(self.client.assets, method)(*args, **arguments))

    def pages(self, **arguments: Any) -> list[Any]:
        """Iterate a listing as the documentation does."""
        listing = self.client.assets.list(**{"dataset_id": self.dataset_id, **arguments})
        if self._runner is None:
            return list(listing)

        async def gather() -> list[Any]:
            return [page async for page in listing]

        return self._runner.run(gather())

    def names(self, **arguments: Any) -> list[str]:
        """The file names of a whole listing, in order."""
        return [asset.filename for page in self.pages(**arguments) for asset in page.items]

    def fresh_dataset(self) -> str:
        return str(self.do(lambda: self.client.datasets.create(name="fresh")).dataset_id)

    def upload_bytes(self, content: dict[str, bytes], **arguments: Any) -> Any:
        """Upload *content* into a dataset of its own."""
        return self.call(
            "upload",
            dataset_id=arguments.pop("dataset_id", None) or self.fresh_dataset(),
            paths=list(content.items()),
            **arguments,
        )

    def _open_session(self) -> AssetIngestionSession:
        """Open a session as an upload does, read its answer, and cancel it."""
        http = (self.client if self._runner else self.client._client)._http
        base = {
            "org": http.settings.organization_id,
            "dataset": _routes.composite(http.settings.organization_id, self.dataset_id),
            **_routes.MANAGED_SOURCE,
        }
        file = {"filename": "announced.png", "kind": "Image", "mime": "image/png", "size": 9, "crc32c": -486108541}
        body = {"spec": {"kind": "Upload", "assets": [{**file, "customMetadata": METADATA}]}}
        run = self.do if self._runner else self.client.assets._run
        document = run(lambda: http.document("POST", _routes.fill(_routes.SESSIONS, **base), body=body))
        session = _wire.structure(document, AssetIngestionSession)
        self.call("cancel", asset_ingestion_session_id=session.asset_ingestion_session_id)
        return session

    @property
    def first_page_type(self) -> type:
        return PaginatedResponse if self._runner is None else vi.api.pagination.Page


@contextlib.contextmanager
def sync_world(service: Any, pictures: Path, folder: Path) -> Iterator[World]:
    with service.client() as client:
        yield World(client, pictures, folder)


@contextlib.contextmanager
def async_world(service: Any, pictures: Path, folder: Path) -> Iterator[World]:
    with asyncio.Runner() as runner:
        client = service.async_client()
        try:
            yield World(client, pictures, folder, runner)
        finally:
            runner.run(client.aclose())


class Terminal(io.StringIO):
    """A stderr that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@contextlib.contextmanager
def terminal() -> Iterator[Terminal]:
    """Stand a terminal in for stderr and hand out what is written to it."""
    real, sys.stderr = sys.stderr, Terminal()
    try:
        yield sys.stderr
    finally:
        sys.stderr = real
