"""What a client tells those who watch it: requests, retries with their reasons, transfers; and spans made of these."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import vi
from vi import RequestEvent, RetryEvent, TransferProgress, _samples
from vi.testing import TestedService

RETRIES = vi.RetryPolicy(backoff=0.01)


@pytest.fixture(scope="session")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedService]:
    service = TestedService.start(tmp_path_factory.mktemp("watched") / "data")
    yield service
    service.stop()


@pytest.fixture
def client(watched: TestedService) -> Iterator[vi.Client]:
    with watched.client(retries=RETRIES) as client:
        yield client
    watched.faults.clear()


@pytest.fixture
def dataset(client: vi.Client) -> str:
    return client.datasets.create(name="watched").dataset_id


@pytest.fixture
def events(client: vi.Client, dataset: str) -> list[Any]:
    """Everything that the client tells from now on."""
    told: list[Any] = []
    client.hooks.add(told.append)
    return told


def of(events: list[Any], kind: type) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def picture(number: int = 1) -> tuple[str, bytes]:
    return f"{number}.png", _samples.encode(number, ".png", (30, 20))


def test_every_request_is_told(client: vi.Client, dataset: str, events: list[Any]) -> None:
    client.assets.count(dataset)
    (event,) = events
    assert isinstance(event, RequestEvent)
    assert (event.kind, event.method, event.status, event.attempt) == ("api", "GET", 200, 1)
    assert event.path.endswith("/assets:count")
    assert event.request_id
    assert 0 < event.seconds < 30


def test_an_image_is_uploaded_and_settled_in_four_requests_at_most(
    client: vi.Client, dataset: str, events: list[Any]
) -> None:
    assert client.assets.upload(dataset, picture(), show_progress=False).total_succeeded == 1
    assert len(of(events, RequestEvent)) <= 4


def test_transfers_are_told_without_their_urls(
    client: vi.Client, dataset: str, events: list[Any], tmp_path: Path
) -> None:
    client.assets.upload(dataset, picture(), show_progress=False)
    client.assets.download(dataset, tmp_path / "copy", show_progress=False)
    storage = [event for event in of(events, RequestEvent) if event.kind == "storage"]
    answered = [event for event in storage if event.status != 307]  # by which a service with a store answers
    assert [(event.method, event.status, event.path) for event in answered] == [("PUT", 200, ""), ("GET", 200, "")]
    ended = [event for event in of(events, TransferProgress) if event.finished]
    assert [(event.operation, event.files_done) for event in ended] == [("upload", 1), ("download", 1)]
    assert "ignature" not in repr(events)


Fault = Callable[[TestedService], Any]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (lambda service: service.faults.status(503, to="api", method="GET"), "status 503"),
        (lambda service: service.faults.reset(to="api", method="GET", path="*:count"), "failed"),
        (lambda service: service.faults.status(500, to="storage", method="PUT"), "status 500"),
        (lambda service: service.faults.truncate(10), "cut"),
    ],
    ids=["api refuses", "api reset", "upload refused", "download cut"],
)
def test_every_retry_is_told_and_logged_once_with_its_reason(
    watched: TestedService,
    client: vi.Client,
    dataset: str,
    events: list[Any],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    fault: Fault,
    reason: str,
) -> None:
    made = fault(watched)
    with caplog.at_level(logging.INFO, "vi"):
        client.assets.upload(dataset, picture(), show_progress=False)
        client.assets.count(dataset)
        client.assets.download(dataset, tmp_path / "copy", show_progress=False)
    assert made.hits == 1
    (retry,) = of(events, RetryEvent)
    assert reason in retry.reason
    assert (retry.attempt, retry.seconds >= 0) == (1, True)
    lines = [record.getMessage() for record in caplog.records if "attempt" in record.getMessage()]
    assert len(lines) == 1
    assert retry.reason.rstrip(".") in lines[0]
    lost = [event for event in of(events, RequestEvent) if event.reason or event.status in (500, 503)]
    assert len(lost) == 1


def test_a_listener_that_breaks_is_logged_and_does_no_harm(
    client: vi.Client, dataset: str, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: Any) -> None:
        raise RuntimeError("watching failed")

    remove = client.hooks.add(broken)
    assert client.assets.count(dataset) == 0
    assert "A hook failed on RequestEvent" in caplog.text
    remove()
    remove()
    caplog.clear()
    client.assets.count(dataset)
    assert caplog.text == ""


@pytest.mark.anyio
async def test_the_async_client_tells_alike(watched: TestedService) -> None:
    told: list[Any] = []
    async with watched.async_client() as client:
        client.hooks.add(told.append)
        await client.datasets.list()
    assert [type(event) for event in told] == [RequestEvent]


def test_spans_and_metrics(watched: TestedService, client: vi.Client, dataset: str) -> None:
    pytest.importorskip("opentelemetry.sdk")
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from vi.otel import instrument

    spans, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracers, meters = TracerProvider(), MeterProvider([reader])
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    end = instrument(client, tracer_provider=tracers, meter_provider=meters)
    watched.faults.status(503, to="storage", method="PUT")
    with tracers.get_tracer("test").start_as_current_span("mine") as mine:
        client.assets.upload(dataset, picture(), show_progress=False)
    end()
    client.assets.count(dataset)

    found = spans.get_finished_spans()
    assert all(span.parent and span.parent.span_id == mine.context.span_id for span in found if span.name != "mine")
    puts = [span for span in found if span.name == "PUT"]
    assert [span.attributes["http.response.status_code"] for span in puts] == [503, 200]
    assert [span.status.is_ok for span in puts] == [False, True]
    assert puts[1].attributes["http.request.resend_count"] == 1
    (upload,) = [span for span in found if span.name == "vi.upload"]
    assert upload.attributes["vi.files.done"] == 1
    assert 0 < upload.end_time - upload.start_time < 30e9
    assert not [span for span in found if span.name == "GET" and span.attributes["url.path"].endswith(":count")]

    data = reader.get_metrics_data()
    metrics = {m.name: m for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics}
    assert {"http.client.request.duration", "vi.retries", "vi.transfer.files", "vi.transfer.bytes"} <= set(metrics)
    assert [point.value for point in metrics["vi.retries"].data.data_points] == [1]
    tracers.shutdown()
    meters.shutdown()
