"""Send one request once, and turn the answer into rows."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from .. import _routes
from .._connections import TRANSPORT_ERRORS, read_failure
from .._http import Http, read_capped
from .._retry import read_retry_after
from .._transfer.outcomes import TransferFailed
from .._transfer.signed import SignedTransfer, signed_transfer
from ..errors import ViError, ViNetworkError
from .report import Finding, Meaning, Outcome, Safe
from .rules import RULES
from .shapes import Difference, Shape, differences

MOST_BYTES = 64 << 20
SECONDS = 30.0


@attrs.frozen
class Reply:
    """An answer as it came. *status* is 0 where none came, and *reason* says why."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float
    reason: str = ""

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def document(self) -> Any:
        """The JSON of the body; None where it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    def items(self) -> list[Any]:
        """The items of a page; empty where there are none."""
        document = self.document
        found = document.get("items") if isinstance(document, dict) else None
        return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []

    def text(self, *path: str) -> str:
        """The text at a path of fields, empty where there is none."""
        found = dig(self.document, *path)
        return found if isinstance(found, str) else ""


def dig(document: Any, *path: str) -> Any:
    """Return the value at a path of fields; None if there is none."""
    for name in path:
        document = document.get(name) if isinstance(document, dict) else None
    return document


class Probe:
    """Asks the service of one client and keeps the rows."""

    def __init__(self, http: Http, tell: Callable[[Finding], None]) -> None:
        settings = http.settings
        self.http = http
        self.organization: str = settings.organization_id
        self.endpoint: str = settings.endpoint
        self.safe: Safe = Safe([settings.secret_key, settings.organization_id])
        self.findings: list[Finding] = []
        self.waits: list[bool] = []
        """For each answer that asked to wait, whether it said for how long."""
        self._tell = tell

    async def api(
        self,
        method: str,
        template: str,
        values: Mapping[str, str] | None = None,
        *,
        params: Mapping[str, str] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Ask the API once, with the client's key unless *headers* say otherwise."""
        path = _routes.fill(template, org=self.organization, **(values or {}))
        began = time.monotonic()
        try:
            answer = await self.http.once(method, path, params=params, body=body, headers=headers)
        except ViNetworkError as error:
            return Reply(0, {}, b"", time.monotonic() - began, error.message)
        except ViError as error:
            return Reply(error.status_code or 0, {}, b"", time.monotonic() - began, error.message)
        if answer.status in (429, 503):
            self.waits.append(read_retry_after(answer.headers) is not None)
        return Reply(answer.status, _lower(answer.headers), answer.body, time.monotonic() - began)

    def signed(self, contents: Any, method: str) -> SignedTransfer | None:
        """Check a signed transfer as the client does before use; None where the client would refuse it."""
        url, headers, expiry = dig(contents, "url"), dig(contents, "headers"), dig(contents, "expiry")
        if not isinstance(url, str):
            return None
        expires = expiry / 1000 if isinstance(expiry, int) else 0.0
        try:
            return signed_transfer(url, headers, method, expires, endpoint=self.endpoint)
        except TransferFailed:
            return None

    async def storage(
        self, transfer: SignedTransfer, *, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Use a signed URL once."""
        connections = self.http.connections
        began = time.monotonic()
        try:
            async with (
                asyncio.timeout(SECONDS),
                connections.current().storage.request(
                    transfer.method,
                    transfer.url,
                    data=body,
                    headers={**transfer.headers, **(headers or {})},
                    allow_redirects=False,
                    skip_auto_headers=("Content-Type",),
                    **connections.proxy_for(transfer.origin),
                ) as response,
            ):
                data = await read_capped(response, MOST_BYTES)
                return Reply(response.status, _lower(response.headers), data, time.monotonic() - began)
        except TRANSPORT_ERRORS as error:
            return Reply(0, {}, b"", time.monotonic() - began, read_failure(error, transfer.url).reason)

    def row(
        self,
        rule: str,
        asked: str,
        came: str,
        outcome: Outcome,
        *,
        expected: str = "",
        means: Meaning | None = None,
    ) -> None:
        """Keep a row and report it."""
        one = RULES[rule]
        found = Finding(
            rule=rule,
            section=one.section,
            asked=asked,
            expected=expected or one.says,
            came=came,
            outcome=outcome,
            means=(one.means if means is None else means) if outcome == "differs" else "",
            feature=one.feature if outcome == "differs" else "",
        )
        self.findings.append(found)
        self._tell(found)

    def hold(self, rule: str, asked: str, good: bool, came: str) -> bool:
        """Record whether an answer satisfies a rule, and return it."""
        self.row(rule, asked, came, "holds" if good else "differs")
        return good

    def skip(self, rule: str, why: str) -> None:
        """Record that a rule could not be checked, and why."""
        self.row(rule, "", why, "skipped")

    def compare(self, rule: str, asked: str, reply: Reply, shape: Shape, *, status: int = 200) -> bool:
        """Compare an answer with its document: one row for each difference, or one that it holds.

        Returns whether the answer is usable; unknown fields and new values do not prevent that.
        """
        if not reply.ok:
            self.row(rule, asked, said(reply), "differs", means="risk")
            return False
        if reply.document is None:
            self.row(rule, asked, f"{len(reply.body)} bytes that are not JSON", "differs", means="risk")
            return False
        if reply.status != status:
            expected = f"status {status}"
            self.row(rule, asked, said(reply), "differs", expected=expected, means="harmless")
        return self.describe(rule, asked, differences(reply.document, shape))

    def describe(self, rule: str, asked: str, found: list[Difference]) -> bool:
        """Keep the differences of a document as rows; see `compare`."""
        if not found:
            self.row(rule, asked, "as documented", "holds")
        for one in found:
            came, means = self._judge(one)
            self.row(rule, asked, came, "differs", expected=f"{one.path}: {one.expected}", means=means)
        return not any(self._judge(one)[1] == "risk" for one in found)

    def _judge(self, one: Difference) -> tuple[str, Meaning]:
        lost: Meaning = "risk" if one.needed else "handled"
        match one.kind:
            case "unknown field":
                return f"unknown field {self.safe.word(one.came)}", "harmless"
            case "new value":
                return f"new value {self.safe.word(one.came)}", "handled"
            case "missing":
                return "missing", lost
            case _:
                return f"{_type(one.came)} ({self.safe(one.came)})", lost


def said(reply: Reply) -> str:
    """Describe how a request ended, by its status alone."""
    return f"status {reply.status}" if reply.status else "no answer"


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _type(value: object) -> str:
    return {str: "text", bool: "boolean", int: "integer", float: "number", list: "list", dict: "object"}.get(
        type(value), "null"
    )
