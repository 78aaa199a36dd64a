"""Check whether a service keeps the wire contract: ``vi.contract.check(client)``.

Every answer is held against the wire contract, and each question becomes one `Finding`. Checking reads only, unless
*write* is given: then a dataset of its own is made, filled, changed and removed. The report holds no key, signature, id
or text of the service, so it can be shared as it is.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, overload

import anyio

from .. import _routes
from ..errors import ViInvalidParameterError
from . import leftovers, shapes
from .probe import Probe, said
from .reading import Reading
from .report import Finding, Report
from .rules import RULES, Rule
from .writing import Writing

if TYPE_CHECKING:
    from ..client import AsyncClient, Client

__all__ = ["RULES", "Finding", "Report", "Rule", "check"]

_CLEANING_SECONDS = 30.0


@overload
def check(
    client: Client,
    dataset_id: str | None = None,
    *,
    write: bool = False,
    slow: bool = False,
    on_finding: Callable[[Finding], None] | None = None,
) -> Report: ...


@overload
def check(
    client: AsyncClient,
    dataset_id: str | None = None,
    *,
    write: bool = False,
    slow: bool = False,
    on_finding: Callable[[Finding], None] | None = None,
) -> Coroutine[Any, Any, Report]: ...


def check(
    client: Client | AsyncClient,
    dataset_id: str | None = None,
    *,
    write: bool = False,
    slow: bool = False,
    on_finding: Callable[[Finding], None] | None = None,
) -> Report | Coroutine[Any, Any, Report]:
    """Compare every answer of the service with the wire contract.

    Args:
        client: The client whose settings are used. An `AsyncClient` makes the call awaitable.
        dataset_id: The dataset to read; without one, the first of the listing, or with *write* the run's own.
        write: Make a dataset with a marked name, upload, overwrite, cancel, rename, query and delete in it, and remove
            it at the end, also after a failure or Ctrl+C. Nothing that the run did not make is touched.
        slow: With *write*, wait until an upload URL has expired (up to 20 minutes) and use it.
        on_finding: Called with each row as it is found.

    Returns:
        The report. An answer of another form is a row of it, never an exception. Requests are sent once, without
        retries.

    Raises:
        ViInvalidParameterError: *dataset_id* is not an id, or *slow* is given without *write*.
    """
    if dataset_id is not None and not _routes.is_identifier(dataset_id):
        raise ViInvalidParameterError(
            "dataset_id is not a dataset id.", suggestion="List the ids with client.datasets.list()."
        )
    if slow and not write:
        raise ViInvalidParameterError("slow=True needs write=True: only an upload URL of a new session expires soon.")
    from ..client import Client

    if isinstance(client, Client):
        inner = client._client
        return client._loop_thread.run(lambda: _check(inner, dataset_id, write, slow, on_finding))
    return _check(client, dataset_id, write, slow, on_finding)


async def _check(
    client: AsyncClient,
    dataset_id: str | None,
    write: bool,
    slow: bool,
    on_finding: Callable[[Finding], None] | None,
) -> Report:
    began = time.monotonic()
    probe = Probe(client._http, on_finding or (lambda _: None))
    # A writing run reads in its own dataset, once that holds something, unless another one is named.
    reading = Reading(probe, dataset_id)
    await reading.walk(with_dataset=dataset_id is not None or not write)
    left = await _write(probe, reading, slow) if write else None
    if probe.waits:
        came = f"{sum(probe.waits)} of {len(probe.waits)} say for how long"
        probe.hold("answer.retry_after", "every request", all(probe.waits), came)
    else:
        probe.skip("answer.retry_after", "no answer asked to wait")
    named = {one.rule for one in probe.findings}
    for rule in RULES:
        if rule not in named:
            needed = RULES[rule].writes and not write
            probe.skip(rule, "it writes: use --write" if needed else "what it depends on did not come")
    return Report(tuple(probe.findings), time.monotonic() - began, write, left)


async def _write(probe: Probe, reading: Reading, slow: bool) -> str | None:
    """Write in a dataset of our own, and remove it; return what could not be removed."""
    await leftovers.remove_leftovers(probe)
    note = leftovers.Note(probe.organization)
    dataset_id, gone = None, False
    try:
        dataset_id = await _make(probe, note.name)
        if dataset_id is not None:
            await Writing(probe, reading, dataset_id, slow=slow).walk()
    finally:
        with anyio.move_on_after(_CLEANING_SECONDS, shield=True):
            gone = dataset_id is not None and await _remove(probe, dataset_id)
        if gone:
            note.remove()
        else:
            note.keep()
    return (
        None if gone or dataset_id is None else "The dataset of the check was not removed: the next check removes it."
    )


async def _make(probe: Probe, name: str) -> str | None:
    """Make the dataset twice with one key, which must make it once."""
    asked = "POST /workspaces/{org}/datasets"
    key = {"Idempotency-Key": uuid.uuid4().hex}
    body = {"name": name, "owner": probe.organization, "type": "phrase-grounding", "content": "Image"}
    first = await probe.api("POST", _routes.DATASETS, body=body, headers=key)
    if not probe.compare("write.dataset", asked, first, shapes.DATASET, status=201):
        return None
    made = _routes.short(probe.organization, first.text("datasetId"))
    if first.headers.get("idempotency-key"):
        second = await probe.api("POST", _routes.DATASETS, body=body, headers=key)
        same = second.text("datasetId") == first.text("datasetId")
        probe.hold("write.idempotency", f"{asked} twice", same, "the first answer" if same else said(second))
    else:
        probe.hold("write.idempotency", asked, False, "the key is not echoed, so creations are not repeated")
    return made


async def _remove(probe: Probe, dataset_id: str) -> bool:
    composite = _routes.composite(probe.organization, dataset_id)
    asked = "DELETE {ds}"
    reply = await probe.api("DELETE", _routes.DATASET, {"dataset": composite})
    good = probe.compare("write.delete_dataset", asked, reply, shapes.DELETED_DATASET)
    after = await probe.api("GET", _routes.DATASET, {"dataset": composite})
    if good and after.status != 404:
        probe.hold("write.delete_dataset", f"{asked}, then GET", False, said(after))
    return reply.ok
