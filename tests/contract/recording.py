"""Recorded answers of a service: what a reading check was told, to be told again without the service.

``python -m tests.contract.recording`` records the local service anew. A recording holds no key and no signature: who
asked is kept as whether the key and the organization were right, a signed URL as whether it is one that was given out.
"""

from __future__ import annotations

import base64
import json
import re
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
from aiohttp import web

import vi
import vi.contract
from tests.contract.different import DifferentService, Passing, Served
from vi import _samples
from vi.testing import TestedService

FOLDER = Path(__file__).parent / "recorded"
KEY, ORGANIZATION = "dtvi_" + "1" * 98, "recorded-organization"
_SIGNED = re.compile(r"(\{base\}/[^\"?]+)\?[^\"]*")
_LEFT_OUT = ("Date", "Server", "Set-Cookie")


@attrs.frozen
class Asked:
    """What tells one request of a reading check from another."""

    method: str
    path: str
    query: str = ""
    known_key: bool = True
    own_organization: bool = True
    given_out: bool = True
    range: str = ""
    if_match: str = ""

    @classmethod
    def of(cls, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], **who: bool) -> Asked:
        is_api = path.startswith("/workspaces")
        words = "&".join(f"{name}={value}" for name, value in query.items()) if is_api else ""
        return cls(method, path, words, **who, range=headers.get("Range", ""), if_match=headers.get("If-Match", ""))


class Recorder(DifferentService):
    """A proxy that keeps what passes."""

    def __init__(self, service: TestedService) -> None:
        self._service = service
        self.kept: dict[Asked, dict[str, Any]] = {}
        self._given: set[str] = set()
        super().__init__(service.url)

    def passed(self, passing: Passing) -> None:
        organization = self._service.organization_id
        is_api = passing.path.startswith("/workspaces")
        signed = "&".join(f"{name}={value}" for name, value in passing.query.items())
        asked = Asked.of(
            passing.method,
            passing.path.replace(organization, ORGANIZATION),
            passing.query,
            passing.asked,
            known_key=not is_api or passing.asked["Authorization"].endswith(self._service.secret_key),
            own_organization=not is_api or passing.asked["Organization-Id"] == organization,
            given_out=is_api or any(signed in url for url in self._given),
        )
        text = passing.body.decode() if is_api else ""
        self._given.update(re.findall(r"http[^\"]+\?[^\"]+", text))
        text = text.replace(organization, ORGANIZATION).replace(self.url, "{base}")
        answer = {
            "status": passing.status,
            "headers": {name: value for name, value in passing.headers.items() if name not in _LEFT_OUT},
        }
        if is_api:
            answer["json"] = _lasting(json.loads(_SIGNED.sub(r"\1?signed=yes", text))) if text else None
        else:
            answer["bytes"] = base64.b64encode(passing.body).decode()
        self.kept[asked] = answer


def _lasting(document: Any) -> Any:
    """Return a document in which URLs expire as many milliseconds after the answer as they did."""
    if isinstance(document, list):
        return [_lasting(one) for one in document]
    if not isinstance(document, dict):
        return document
    now = int(time.time() * 1000)
    return {k: v - now if k == "expiry" and isinstance(v, int) else _lasting(v) for k, v in document.items()}


def _dated(document: Any) -> Any:
    if isinstance(document, list):
        return [_dated(one) for one in document]
    if not isinstance(document, dict):
        return document
    now = int(time.time() * 1000)
    return {k: v + now if k == "expiry" and isinstance(v, int) else _dated(v) for k, v in document.items()}


class RecordedService(Served):
    """Answers as the service that a recording was made of."""

    def __init__(self, recording: Path) -> None:
        document = json.loads(recording.read_text())
        self.dataset_id: str = document["dataset"]
        self.unknown: list[Asked] = []
        self._answers = {Asked(**one["asked"]): one["answer"] for one in document["answers"]}
        super().__init__()

    async def answer(self, request: web.Request) -> web.Response:
        is_api = request.path.startswith("/workspaces")
        asked = Asked.of(
            request.method,
            request.path,
            request.query,
            request.headers,
            known_key=not is_api or request.headers["Authorization"] == f"Bearer {KEY}",
            own_organization=not is_api or request.headers["Organization-Id"] == ORGANIZATION,
            given_out=is_api or request.query_string == "signed=yes",
        )
        answer = self._answers.get(asked)
        if answer is None:
            self.unknown.append(asked)
            return web.Response(status=599)
        body = base64.b64decode(answer.get("bytes", ""))
        if answer.get("json") is not None:
            body = json.dumps(_dated(answer["json"])).replace("{base}", self.url).encode()
        return web.Response(status=answer["status"], headers=answer["headers"], body=body)


def record(target: Path) -> None:
    """Record what the local service answers to a reading check."""
    with tempfile.TemporaryDirectory() as folder:
        service = TestedService.start(Path(folder) / "data")
        recorder = Recorder(service)
        try:
            with service.client() as client:
                dataset = client.datasets.create(name="signs").dataset_id
                files = [(f"p{side}.png", _samples.encode(side, ".png", (side, side))) for side in (16, 20, 24)]
                client.assets.upload(dataset, files, show_progress=False)
            with vi.Client(service.secret_key, service.organization_id, recorder.url, allow_http=True) as client:
                vi.contract.check(client, dataset)
        finally:
            recorder.stop()
            service.stop()
        answers = [{"asked": attrs.asdict(asked), "answer": answer} for asked, answer in recorder.kept.items()]
        text = json.dumps(
            {"dataset": dataset.replace(service.organization_id, ORGANIZATION), "answers": answers}, indent=1
        )
        assert service.secret_key not in text
        assert service.organization_id not in text
        target.write_text(text + "\n")


if __name__ == "__main__":
    record(FOLDER / "local.json")
