"""What holds after every scenario, whatever faults it had."""

from __future__ import annotations

import logging
import re
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence

import attrs

from tests.faults.proxy import Seen
from vi._retry import read_retry_after

API_HEADERS = ("authorization", "organization-id", "cookie", "idempotency-key", "proxy-authorization")

# A request that was on its way when the answer left is no request made after it.
ON_ITS_WAY = 0.15
EARLY = 0.03

_SECRETS = (
    re.compile(r"dtvi_[A-Za-z0-9-]{8,}"),
    re.compile(r"(?i)x-signature=[0-9a-f]{6,}"),
    re.compile(r"(?i)bearer\s+(?!\*|dtvi_\*)\S{6,}"),
)


def check_text(text: str) -> None:
    """Fail if *text* shows a key or a signature."""
    for secret in _SECRETS:
        assert not secret.search(text), f"a secret is shown: {text[:400]}"


def check_error(error: BaseException) -> None:
    """Fail if an error, or anything chained to it, shows a secret or comes from the transport."""
    for one in _chain(error):
        check_text(f"{one!s} {one!r} {one.args!r} {getattr(one, '__dict__', {})!r}")
        module = type(one).__module__.partition(".")[0]
        assert module not in ("aiohttp", "yarl", "cattrs", "ssl"), f"{type(one)} is chained to {error!r}"
        for part in getattr(one, "failures", ()):
            check_text(repr(part))
    check_text("".join(traceback.format_exception(error)))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    pending = [error]
    while pending:
        one = pending.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        pending += [one.__cause__, one.__context__]
        if isinstance(one, BaseExceptionGroup):
            pending += one.exceptions


class Listener(logging.Handler):
    """Keeps every log record as it would be printed."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            line += "".join(traceback.format_exception(record.exc_info[1]))
            check_error(record.exc_info[1])
        self.lines.append(line)

    def check(self) -> None:
        for line in self.lines:
            check_text(line)


@attrs.frozen
class Wire:
    """What was on the wire."""

    log: Sequence[Seen]

    def of(self, method: str | None = None, path: str = "", origin: str | None = None) -> list[Seen]:
        return [
            seen
            for seen in self.log
            if method in (None, seen.method) and re.search(path, seen.path) and origin in (None, seen.origin)
        ]

    def count(self, method: str | None = None, path: str = "", origin: str | None = None) -> int:
        return len(self.of(method, path, origin))

    def show(self) -> str:
        return "\n".join(map(str, self.log))

    def check(self, attempts: int, on_its_way: float = ON_ITS_WAY) -> None:
        """Check what every request of every scenario must keep to."""
        for seen in self.log:
            if not seen.is_api or seen.origin == "foreign":
                told = [name for name in API_HEADERS if name in seen.headers]
                assert not told, f"{told} went to storage or another origin: {seen}"
            assert "transfer-encoding" not in seen.headers, f"not a body of known length: {seen}"
            assert seen.headers.get("accept-encoding", "identity") == "identity" or seen.is_api, seen
        self._check_attempts(attempts)
        self._check_holds(on_its_way)

    def _check_attempts(self, attempts: int) -> None:
        """Check that nothing was tried more often than allowed, counted where it cannot be hidden."""
        tries: Counter[tuple[str, ...]] = Counter()
        for seen in self.log:
            if seen.is_api and seen.method == "POST" and "idempotency-key" in seen.headers:
                tries[(seen.method, seen.path, seen.headers["idempotency-key"])] += 1
            elif not seen.is_api:
                tries[(seen.method, seen.target, seen.headers.get("range", ""))] += 1
            elif seen.method in ("DELETE", "PATCH"):
                tries[(seen.method, seen.path)] += 1
        often = {key: count for key, count in tries.items() if count > attempts}
        assert not often, f"tried too often: {[(k[0], k[1].partition('?')[0], c) for k, c in often.items()]}"

    def _check_holds(self, on_its_way: float) -> None:
        for told in self.log:
            if told.status not in (429, 503) or told.retry_after is None or told.answered is None:
                continue
            seconds = read_retry_after({"Retry-After": told.retry_after})
            if seconds is None or seconds > 60:
                continue
            for seen in self.log:
                after = seen.began - told.answered
                early = seen.origin == told.origin and on_its_way < after < seconds - EARLY
                assert not early, f"{seen} came {after:.3f} s after {told} asked for {seconds} s"
