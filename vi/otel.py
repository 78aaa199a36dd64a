"""OpenTelemetry spans and metrics of a client, made of its hooks (extra ``otel``)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ._events import RequestEvent, RetryEvent, TransferProgress
from ._optional import require
from .client import AsyncClient, Client

require("opentelemetry", "vi.otel")
from opentelemetry import metrics, trace  # noqa: E402

NAME = "vi"


def instrument(
    client: AsyncClient | Client,
    *,
    tracer_provider: trace.TracerProvider | None = None,
    meter_provider: metrics.MeterProvider | None = None,
) -> Callable[[], None]:
    """Record spans and metrics of *client* from now on; returns a function that ends it.

    Each request is a span ``GET``, ``PUT`` and so on under the caller's current span, each upload and download a span
    ``vi.upload`` or ``vi.download``. Metrics: ``http.client.request.duration``, ``vi.retries``, ``vi.transfer.files``,
    ``vi.transfer.bytes`` and ``vi.transfer.duration``. Without arguments the global providers are used.
    """
    return client.hooks.add(_Recorder(trace.get_tracer(NAME, tracer_provider=tracer_provider), _meter(meter_provider)))


def _meter(provider: metrics.MeterProvider | None) -> metrics.Meter:
    return metrics.get_meter(NAME, meter_provider=provider)


class _Recorder:
    def __init__(self, tracer: trace.Tracer, meter: metrics.Meter) -> None:
        self._tracer = tracer
        self._requests = meter.create_histogram("http.client.request.duration", "s", "Requests on the wire")
        self._retries = meter.create_counter("vi.retries", "{retry}", "Requests made again")
        self._files = meter.create_counter("vi.transfer.files", "{file}", "Files that ended, by outcome")
        self._bytes = meter.create_counter("vi.transfer.bytes", "By", "Bytes transferred")
        self._transfers = meter.create_histogram("vi.transfer.duration", "s", "Uploads and downloads")

    def __call__(self, event: Any) -> None:
        if isinstance(event, RequestEvent):
            self._request(event)
        elif isinstance(event, RetryEvent):
            self._retries.add(1, {"vi.kind": event.kind})
        elif isinstance(event, TransferProgress) and event.finished:
            self._transfer(event)

    def _request(self, event: RequestEvent) -> None:
        common: dict[str, str | int] = {"http.request.method": event.method, "server.address": event.host}
        if event.status is not None:
            common["http.response.status_code"] = event.status
        if event.reason is not None:
            common["error.type"] = "lost"
        self._requests.record(event.seconds, common)
        more: dict[str, str | int] = {"vi.kind": event.kind}
        if event.path:
            more["url.path"] = event.path
        if event.attempt is not None and event.attempt > 1:
            more["http.request.resend_count"] = event.attempt - 1
        if event.request_id is not None:
            more["vi.request_id"] = event.request_id
        failed = event.reason or (f"status {event.status}" if event.status is None or event.status >= 400 else None)
        self._span(event.method, trace.SpanKind.CLIENT, event.seconds, {**common, **more}, failed)

    def _transfer(self, event: TransferProgress) -> None:
        of = {"vi.operation": event.operation}
        self._files.add(event.files_done - event.files_failed, {**of, "vi.outcome": "done"})
        self._files.add(event.files_failed, {**of, "vi.outcome": "failed"})
        self._bytes.add(event.bytes_done, of)
        self._transfers.record(event.seconds, of)
        counts = {
            "vi.files.done": event.files_done,
            "vi.files.failed": event.files_failed,
            "vi.bytes": event.bytes_done,
        }
        failed = f"{event.files_failed} files failed" if event.files_failed else None
        self._span(f"vi.{event.operation}", trace.SpanKind.INTERNAL, event.seconds, {**of, **counts}, failed)

    def _span(
        self, name: str, kind: trace.SpanKind, seconds: float, attributes: dict[str, Any], failed: str | None
    ) -> None:
        """Record what has ended; its parent is the span that the caller is in."""
        end = time.time_ns()
        span = self._tracer.start_span(
            name, kind=kind, attributes=attributes, start_time=end - int(seconds * 1_000_000_000)
        )
        if failed is not None:
            span.set_status(trace.StatusCode.ERROR, failed)
        span.end(end)
