"""What a client does to a service, step by step, in a way that goes on when the service fails or dies in the middle.

A request is repeated until it is answered as it should be. What was acknowledged is written down and never sent again:
the end of the scenario is right only if the service kept all of it.
"""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote, urlsplit

import attrs

from tests.support.pictures import picture

SOURCE = "/assetSources/managed/datature/default"
PART_BYTES = 3000
_PATIENCE = 30.0
_STEP = 0.01


class WentWrongError(Exception):
    """The service did not answer as it should, although it was asked again and again."""


@attrs.frozen
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)


Revive = Callable[[], dict[str, Any]]


class Client:
    """Requests to a service that may be another process after each of them; *revive* says which it is now."""

    def __init__(self, revive: Revive) -> None:
        self.revive = revive
        self.seen: set[int] = set()

    @property
    def organization(self) -> str:
        return f"/workspaces/{self.revive()['organization_id']}"

    def api(
        self, method: str, path: str, document: Any = None, *, key: str = "", good: Iterable[int] = (200,)
    ) -> Reply:
        told = self.revive()
        headers = {
            "Authorization": f"Bearer {told['secret_key']}",
            "Organization-Id": told["organization_id"],
            "Content-Type": "application/json",
        }
        if key:
            headers["Idempotency-Key"] = key
        body = b"" if document is None else json.dumps(document).encode()
        return self.send(method, path, body, headers, good)

    def put(self, signed: Mapping[str, Any], data: bytes, *, after_loss: Iterable[int] = ()) -> Reply:
        parts = urlsplit(signed["url"])
        path = f"{parts.path}?{parts.query}"
        return self.send("PUT", path, data, signed["headers"], (200,), after_loss=after_loss)

    def get(self, url: str) -> Reply:
        parts = urlsplit(url)
        return self.send("GET", f"{parts.path}?{parts.query}", b"", {}, (200,))

    def send(
        self,
        method: str,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        good: Iterable[int],
        *,
        after_loss: Iterable[int] = (),
    ) -> Reply:
        """Send a request until it is answered with one of *good*, or with one of *after_loss* once no answer came."""
        deadline = time.monotonic() + _PATIENCE
        lost = False
        while True:
            reply = self._once(method, path, body, headers)
            lost = lost or reply is None
            if reply is not None:
                self.seen.add(reply.status)
                if reply.status in good or (lost and reply.status in after_loss):
                    return reply
                if reply.status < 500:
                    raise WentWrongError(f"{method} {path}: {reply.status} {reply.body[:300]!r}")
            if time.monotonic() > deadline:
                raise WentWrongError(f"{method} {path}: no good answer, the last was {reply}")
            time.sleep(_STEP)

    def _once(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Reply | None:
        address = urlsplit(self.revive()["url"])
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=20)
        try:
            connection.request(method, path, body, dict(headers))
            answer = connection.getresponse()
            return Reply(answer.status, dict(answer.getheaders()), answer.read())
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()


class Session:
    """An ingestion session, and those of its files that no PUT was acknowledged for."""

    def __init__(self, client: Client, dataset: str, files: Mapping[str, bytes], key: str) -> None:
        self.client = client
        self.dataset = dataset
        self.files = files
        assets = [
            {"filename": name, "kind": "Image", "mime": f"image/{name.rpartition('.')[2]}", "size": len(data)}
            for name, data in files.items()
        ]
        body = {"spec": {"kind": "Upload", "failureMode": "FailAfterAll", "assets": assets}}
        opened = client.api("POST", dataset + SOURCE + "/assetIngestionSessions", body, key=key, good=(201,)).document
        self.path = opened["selfLink"]
        self.ingestion = opened["ingestionId"]
        self.uploads = {upload["metadata"]["filename"]: upload["upload"] for upload in opened["status"]["assets"]}

    def put(self, *names: str) -> None:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(self._put, names))

    def _put(self, name: str) -> None:
        reply = self.client.put(self.uploads[name], self.files[name], after_loss=(410,))
        if reply.status == 410:
            # An answer that was lost was the last that the session waited for, or this is a fault.
            _require(self.ended(), total=len(self.files))

    def put_in_parts(self, name: str) -> None:
        data, client = self.files[name], self.client
        spec = {"ingestionId": self.ingestion, "filename": name, "sizeBytes": len(data)}
        uploads = self.dataset + SOURCE + "/multipartUploads"
        upload = client.api("POST", uploads, {"spec": spec}, key=f"parts of {name}", good=(201,)).document
        count = upload["status"]["partCount"]
        step = len(data) // count
        for number in range(1, count + 1):
            part = f"{upload['selfLink']}/parts/{number}"
            signed = client.api("POST", part, {}).document
            piece = data[(number - 1) * step : None if number == count else number * step]
            etag = client.put(signed, piece).headers["ETag"]
            client.api("POST", part + "/completion", {"responseHeaders": {"ETag": etag}})
        client.api("POST", upload["selfLink"] + "/completion", {})

    def ended(self) -> dict[str, Any]:
        """Wait for the end and return the counts."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            status = self.client.api("GET", self.path).document["status"]
            if status["conditions"][0]["status"] != "Waiting":
                return dict(status["progressCount"])
            if time.monotonic() > deadline:
                raise WentWrongError(f"the session does not end: {status['progressCount']}")
            time.sleep(_STEP)


def run(client: Client) -> tuple[str, dict[str, bytes]]:
    """Do everything and return the path of the dataset with what it must hold in the end."""
    dataset = _create(client, "kept")
    unfinished = Session(client, dataset, {"early.png": picture(1), "late.png": picture(2)}, "unfinished")
    unfinished.put("early.png")
    first = Session(
        client,
        dataset,
        {
            "over.png": picture(10),
            "old-name.png": picture(11),
            "bulk.png": picture(12, size=(99, 5)),
            "gone.png": picture(13),
            "parts.bmp": picture(14, (50, 50), "BMP"),
            "large.bmp": picture(15, (700, 520), "BMP"),
        },
        "first",
    )
    first.put("over.png", "old-name.png", "bulk.png", "gone.png", "large.bmp")
    first.put_in_parts("parts.bmp")
    _require(first.ended(), total=6)
    again = Session(client, dataset, {"over.png": picture(20), "new.png": picture(21)}, "again")
    again.put("over.png", "new.png")
    _require(again.ended(), total=2)

    cancelled = Session(
        client, dataset, {"cancelled.bmp": picture(30, format="BMP"), "never.png": picture(31)}, "cancelled"
    )
    cancelled.put_in_parts("cancelled.bmp")
    client.api("POST", cancelled.path + ":cancel")
    ids = {asset["filename"]: asset["selfLink"] for asset in listed(client, dataset)}
    client.api("POST", ids["old-name.png"] + "/name", {"filename": "new-name.png"})
    client.api("DELETE", ids["gone.png"], good=(200, 204, 404))
    spec = {"spec": {"filter": '{"width": 99}', "metadataQuery": None, "ruleQuery": None, "strictQuery": None}}
    deletion = client.api("POST", dataset + "/deleteManyAssetsSessions", spec, key="bulk", good=(201,)).document
    _reached(client, deletion["selfLink"])
    other = _create(client, "dropped")
    dropped = Session(client, other, {"a.png": picture(40), "b.png": picture(41)}, "dropped")
    dropped.put("a.png")
    client.api("DELETE", other, good=(200, 204, 404))
    _reached(client, other + "/deleteOperation")

    unfinished.put("late.png")
    _require(unfinished.ended(), total=2)
    if "cancelled.bmp" in ids:
        client.api("DELETE", ids["cancelled.bmp"], good=(200, 204, 404))
    return dataset, {
        "early.png": picture(1),
        "late.png": picture(2),
        "over.png": picture(20),
        "new.png": picture(21),
        "new-name.png": picture(11),
        "parts.bmp": first.files["parts.bmp"],
        "large.bmp": first.files["large.bmp"],
    }


def listed(client: Client, dataset: str, **query: str) -> list[dict[str, Any]]:
    """Return every asset of a dataset."""
    asked = "&".join(f"{name}={quote(value)}" for name, value in {"s": "1000", **query}.items())
    return list(client.api("GET", f"{dataset}/assets?{asked}").document["items"])


def _create(client: Client, name: str) -> str:
    path = f"{client.organization}/datasets"
    made = client.api("POST", path, {"name": name}, key=name, good=(201,)).document
    return f"{path}/{made['datasetId']}"


def _require(counts: dict[str, Any], total: int) -> None:
    if counts != {"total": total, "succeeded": total, "errored": 0}:
        raise WentWrongError(f"of a session with {total} good files: {counts}")


def _reached(client: Client, path: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while client.api("GET", path).document["status"]["conditions"][0]["status"] != "Reached":
        if time.monotonic() > deadline:
            raise WentWrongError(f"a deletion does not end: {path}")
        time.sleep(_STEP)
