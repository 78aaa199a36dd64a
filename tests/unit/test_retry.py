"""Which requests are repeated, after how long, and what ``Retry-After`` means (protocol sections 4.4 and 4.5)."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vi._retry import Attempt, FailureKind, RetryBudget, read_date, read_retry_after, wait_before_retry
from vi.config import RetryPolicy

POLICY = RetryPolicy()
SAFE = ["GET", "HEAD", "PUT", "DELETE"]
UNSAFE = ["POST", "PATCH"]
RETRIED = [408, 429, 500, 502, 503, 504]
FINAL = [400, 401, 403, 404, 405, 409, 410, 413, 418, 422, 501, 505]

# What happened -> is it tried again: by a safe method, by POST, by POST with a key that is honoured.
TABLE = [
    *((f"{status}", {"status": status}, (True, status == 429, True)) for status in RETRIED),
    ("503 with Retry-After", {"status": 503, "retry_after": 1.0}, (True, True, True)),
    ("500 with Retry-After", {"status": 500, "retry_after": 1.0}, (True, False, True)),
    ("429 with Retry-After", {"status": 429, "retry_after": 1.0}, (True, True, True)),
    *((f"{status}", {"status": status}, (False, False, False)) for status in FINAL),
    ("never sent", {"failure": FailureKind.NEVER_SENT}, (True, True, True)),
    ("cut", {"failure": FailureKind.CUT}, (True, False, True)),
    ("timed out", {"failure": FailureKind.TIMED_OUT}, (True, False, True)),
    ("refused", {"failure": FailureKind.REFUSED}, (False, False, False)),
]


def wait(attempt: Attempt, policy: RetryPolicy = POLICY, chance: float = 1.0) -> float | None:
    return wait_before_retry(attempt, policy, lambda: chance)


class TestWhatIsRepeated:
    @pytest.mark.parametrize(("happened", "again"), [(h, a) for _, h, a in TABLE], ids=[name for name, *_ in TABLE])
    def test_the_table(self, happened: dict[str, object], again: tuple[bool, bool, bool]) -> None:
        safe, unsafe, keyed = again
        for method in SAFE:
            assert (wait(Attempt(1, method, **happened)) is not None) == safe, method  # type: ignore[arg-type]
        for method in UNSAFE:
            assert (wait(Attempt(1, method, **happened)) is not None) == unsafe, method  # type: ignore[arg-type]
            repeatable = Attempt(1, method, **happened, repeatable=True)  # type: ignore[arg-type]
            assert (wait(repeatable) is not None) == keyed, method

    @pytest.mark.parametrize("number", [4, 5, 6])
    def test_five_attempts_are_the_end(self, number: int) -> None:
        assert (wait(Attempt(number, "GET", status=503)) is None) == (number >= 5)

    def test_the_number_of_attempts_is_the_callers_choice(self) -> None:
        assert wait(Attempt(1, "GET", status=503), RetryPolicy(max_attempts=1)) is None
        assert wait(Attempt(7, "GET", status=503), RetryPolicy(max_attempts=8)) is not None

    @pytest.mark.parametrize("elapsed", [0.0, 9.9, 10.0, 60.0])
    def test_connecting_is_bounded_by_time_and_not_by_count(self, elapsed: float) -> None:
        found = wait(Attempt(1000, "POST", failure=FailureKind.NEVER_SENT, elapsed=elapsed))
        assert (found is None) == (elapsed >= POLICY.connect_patience)


class TestHowLong:
    @pytest.mark.parametrize(("number", "most"), [(1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0)])
    def test_full_jitter_up_to_a_doubling_bound(self, number: int, most: float) -> None:
        attempt = Attempt(number, "GET", status=500)
        assert (wait(attempt, chance=0.0), wait(attempt, chance=0.5), wait(attempt, chance=1.0)) == (0, most / 2, most)

    def test_the_bound_has_a_cap(self) -> None:
        policy = RetryPolicy(max_attempts=5000)
        assert wait(Attempt(30, "GET", status=500), policy) == policy.backoff_max
        assert wait(Attempt(4000, "GET", status=500), policy) == policy.backoff_max

    @pytest.mark.parametrize("number", [1, 2, 3, 50, 4000])
    def test_connecting_is_tried_about_every_second(self, number: int) -> None:
        attempt = Attempt(number, "GET", failure=FailureKind.NEVER_SENT)
        least, most = wait(attempt, chance=0.0), wait(attempt, chance=1.0)
        assert least is not None
        assert most is not None
        assert 0 < least <= most <= 1.0

    @pytest.mark.parametrize("seconds", [0.0, 0.25, 60.0])
    def test_retry_after_is_obeyed_to_the_letter(self, seconds: float) -> None:
        assert wait(Attempt(1, "GET", status=429, retry_after=seconds), chance=0.0) == seconds

    def test_a_retry_after_that_is_too_long_is_not_waited_for(self) -> None:
        assert wait(Attempt(1, "GET", status=429, retry_after=60.1)) is None
        assert wait(Attempt(1, "GET", status=429, retry_after=86400)) is None
        assert wait(Attempt(1, "GET", status=429, retry_after=120), RetryPolicy(retry_after_max=120)) == 120


NOW = "Thu, 09 Oct 2025 08:53:20 GMT"


class TestRetryAfter:
    @pytest.mark.parametrize(
        ("value", "seconds"),
        [("0", 0), ("7", 7), (" 7 ", 7), ("1.5", 1.5), ("0.001", 0.001), ("86400", 86400)],
    )
    def test_seconds(self, value: str, seconds: float) -> None:
        assert read_retry_after({"Retry-After": value}) == seconds

    @pytest.mark.parametrize(
        "value", ["", " ", "-1", "soon", "nan", "inf", "-inf", "1,5", "5 s", "Thu, 99 Oct 2025", "1e999"]
    )
    def test_nonsense_is_no_instruction(self, value: str) -> None:
        assert read_retry_after({"Retry-After": value, "Date": NOW}) is None

    def test_no_header(self) -> None:
        assert read_retry_after({}) is None

    @pytest.mark.parametrize(
        ("until", "seconds"),
        [
            ("Thu, 09 Oct 2025 08:53:27 GMT", 7),
            ("Thu, 09 Oct 2025 09:53:20 GMT", 3600),
            ("Thu, 09 Oct 2025 08:53:20 GMT", 0),
            ("Thu, 09 Oct 2025 08:00:00 GMT", 0),
            ("Thursday, 09-Oct-25 08:53:27 GMT", 7),
            ("Thu Oct  9 08:53:27 2025", 7),
            ("Thu, 09 Oct 2025 10:53:27 +0200", 7),
        ],
    )
    def test_a_date_counts_from_the_answers_own_date(self, until: str, seconds: float) -> None:
        """Whatever our clock says: in these years it is far from the answer's."""
        assert read_retry_after({"Retry-After": until, "Date": NOW}) == seconds

    @pytest.mark.parametrize("date", [None, "yesterday", ""])
    def test_without_a_date_our_clock_has_to_do(self, date: str | None) -> None:
        until = (dt.datetime.now(dt.UTC) + dt.timedelta(seconds=3600)).strftime("%a, %d %b %Y %H:%M:%S GMT")
        seconds = read_retry_after({"Retry-After": until} | ({"Date": date} if date is not None else {}))
        assert seconds is not None
        assert 3590 < seconds <= 3600

    @given(st.text(max_size=40), st.text(max_size=40))
    def test_any_text_is_seconds_or_nothing(self, value: str, date: str) -> None:
        found = read_retry_after({"Retry-After": value, "Date": date})
        assert found is None or found >= 0

    @pytest.mark.parametrize("value", ["", "x", "0", "Thu, 00 Oct 2025 08:53:20 GMT", "Thu, 09 Oct 99999 08:53:20 GMT"])
    def test_what_is_no_date(self, value: str) -> None:
        assert read_date(value) is None


class TestBudget:
    def test_an_outage_cannot_multiply_the_load(self) -> None:
        """With everything failing, retries are at most the reserve and half of the first attempts."""
        budget = RetryBudget(reserve=20)
        retries = 0
        for _ in range(1000):
            budget.earn()
            while budget.spend():
                retries += 1
        assert retries <= 20 + 1000 / 2

    def test_it_recovers_but_never_above_its_reserve(self) -> None:
        budget = RetryBudget(reserve=3)
        assert [budget.spend() for _ in range(4)] == [True, True, True, False]
        budget.earn()
        assert not budget.spend()
        budget.earn()
        assert budget.spend()
        for _ in range(1000):
            budget.earn()
        assert [budget.spend() for _ in range(4)] == [True, True, True, False]
