"""Which bytes a request asks for, and on which conditions (RFC 9110, sections 13 and 14)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from vi._ranges import select

ETAG = '"a1b2"'
SIZE = 100


def asked(size: int = SIZE, etag: str | None = ETAG, **headers: str) -> tuple[int, int, int]:
    named = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    chosen = select(named, size, etag)
    return chosen.status, chosen.start, chosen.stop


@pytest.mark.parametrize(
    ("header", "start", "stop"),
    [
        ("bytes=0-5", 0, 6),
        ("bytes=0-", 0, 100),
        ("bytes=99-", 99, 100),
        ("bytes=-1", 99, 100),
        ("bytes=-100", 0, 100),
        ("bytes=-101", 0, 100),
        ("bytes=10-1000", 10, 100),
        ("bytes=007-008", 7, 9),
        ("Bytes=0-5", 0, 6),  # the names of units know no case
        ("bytes= 0-5", 0, 6),  # a list may have spaces around its items, and empty items
        ("bytes=0-5 ", 0, 6),
        ("bytes=,0-5,", 0, 6),
        ("bytes=\t0-5", 0, 6),
        (f"bytes=0-{'9' * 5000}", 0, 100),
        (f"bytes=-{'9' * 40}", 0, 100),
        (f"bytes={'0' * 5000}1-2", 1, 3),
    ],
)
def test_a_range(header: str, start: int, stop: int) -> None:
    assert asked(Range=header) == (206, start, stop)
    assert select({"Range": header}, SIZE, ETAG).content_range == {"Content-Range": f"bytes {start}-{stop - 1}/100"}


@pytest.mark.parametrize(
    "header",
    ["bytes=0 - 5", "bytes=0- 5", "bytes=0 -5", "bytes=- 5", "bytes =0-5", "bytes=5-4", "bytes=-", "bytes=", "bytes",
     "bytes=0-1,3-4", "bytes=0-5x", "bytes=+0-5", "bytes=0--5", "bytes=0x0-5", "bytes=\u0661-5", "items=0-5", "", "0-5"],
)  # fmt: skip
def test_what_is_no_range_is_passed_over(header: str) -> None:
    assert asked(Range=header) == (200, 0, 100)


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=-0", f"bytes={'9' * 40}-"])
def test_a_range_beyond_the_end_is_refused(header: str) -> None:
    assert asked(Range=header)[0] == 416
    assert select({"Range": header}, SIZE, ETAG).content_range == {"Content-Range": "bytes */100"}


@pytest.mark.parametrize("header", ["bytes=0-", "bytes=0-0", "bytes=-5"])
def test_an_empty_object_has_no_ranges(header: str) -> None:
    assert asked(0, Range=header)[0] == 416


@pytest.mark.parametrize(
    ("tags", "strongly", "weakly"),
    [
        (ETAG, True, True),
        (f'"x", {ETAG}', True, True),
        (f'"x",{ETAG},"y"', True, True),
        ("*", True, True),
        (" * ", True, True),
        (f"W/{ETAG}", False, True),
        (f'"x", W/{ETAG}', False, True),
        (f"w/{ETAG}", True, True),  # not a weak tag: a strong one behind something else
        ('"x"', False, False),
        ('"a1b2,"', False, False),
        ('"x,y"', False, False),
        ("a1b2", False, False),
        ("", False, False),
    ],
)
def test_conditions(tags: str, strongly: bool, weakly: bool) -> None:
    assert asked(If_Match=tags)[0] == (200 if strongly else 412)
    assert asked(If_None_Match=tags)[0] == (304 if weakly else 200)


def test_a_tag_may_hold_a_comma() -> None:
    assert asked(etag='"a,b"', If_None_Match='"x", "a,b"')[0] == 304


def test_an_object_without_a_tag_is_there_all_the_same() -> None:
    assert asked(etag=None, If_Match="*")[0] == 200
    assert asked(etag=None, If_Match='"x"')[0] == 412
    assert asked(etag=None, If_None_Match="*")[0] == 304
    assert asked(etag=None, If_Range='"x"', Range="bytes=0-1")[0] == 200


@pytest.mark.parametrize(
    ("tag", "status"),
    [(ETAG, 206), ('"x"', 200), (f"W/{ETAG}", 200), ("Sun, 06 Nov 1994 08:49:37 GMT", 200)],
)
def test_a_range_may_depend_on_the_tag(tag: str, status: int) -> None:
    assert asked(If_Range=tag, Range="bytes=0-1")[0] == status


def test_conditions_come_before_ranges() -> None:
    assert asked(If_Match='"x"', If_None_Match=ETAG, Range="bytes=0-1")[0] == 412
    assert asked(If_None_Match=ETAG, Range="bytes=200-")[0] == 304


@given(st.integers(0, 50), st.integers(0, 60), st.one_of(st.none(), st.integers(0, 60)))
def test_a_range_is_what_a_slice_is(size: int, first: int, last: int | None) -> None:
    data = bytes(range(size))
    status, start, stop = asked(size, Range=f"bytes={first}-{'' if last is None else last}")
    if last is not None and last < first:
        assert (status, start, stop) == (200, 0, size)
    elif first >= size:
        assert status == 416
    else:
        assert (status, data[start:stop]) == (206, data[first : None if last is None else last + 1])


@given(st.text(alphabet="bytes=-,0123456789 \t", max_size=30))
def test_no_header_breaks_it(header: str) -> None:
    status, start, stop = asked(Range=header)
    assert status in (200, 206, 416)
    assert 0 <= start <= stop <= SIZE
