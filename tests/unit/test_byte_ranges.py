"""How files are cut into parts and ranges: gapless, in order, as the protocol says (section 10.2)."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vi._transfer.byte_ranges import ByteRange, parts, ranges
from vi.errors import ViOperationError

sizes = st.integers(1, 1 << 45)


def check_covers(byte_ranges: list[ByteRange], size: int) -> None:
    assert [byte_range.number for byte_range in byte_ranges] == list(range(1, len(byte_ranges) + 1))
    assert byte_ranges[0].start == 0
    assert byte_ranges[-1].end == size
    assert all(one.end == two.start for one, two in itertools.pairwise(byte_ranges))
    assert all(byte_range.size > 0 for byte_range in byte_ranges)


@given(sizes, st.integers(1, 300))
def test_parts_cover_the_file(size: int, count: int) -> None:
    count = min(count, size)
    byte_ranges = parts(size, count)
    assert len(byte_ranges) == count
    check_covers(byte_ranges, size)
    q = size // count
    assert all((one.start, one.end) == ((one.number - 1) * q, one.number * q) for one in byte_ranges[:-1])
    assert byte_ranges[-1].size < q + count


@given(st.integers(1, 1 << 20), st.integers(1, 1 << 18))
def test_ranges_cover_the_file(size: int, each: int) -> None:
    each = max(each, size // 500 or 1)
    byte_ranges = ranges(size, each)
    check_covers(byte_ranges, size)
    assert all(byte_range.size == each for byte_range in byte_ranges[:-1])
    assert byte_ranges[-1].size <= each


def test_the_example_of_the_protocol() -> None:
    assert [(p.number, p.start, p.end) for p in parts(10, 3)] == [(1, 0, 3), (2, 3, 6), (3, 6, 10)]
    assert [p.size for p in parts(2147483648, 32)] == [67108864] * 32


@pytest.mark.parametrize(("size", "count"), [(10, 0), (10, -1), (10, 11), (0, 2)])
def test_an_impossible_number_of_parts_is_refused(size: int, count: int) -> None:
    with pytest.raises(ViOperationError, match=f"asked for {count} parts of a file of {size} bytes"):
        parts(size, count)


def test_an_empty_file_is_one_empty_part_and_no_range() -> None:
    assert parts(0, 1) == [ByteRange(1, 0, 0)]
    assert ranges(0, 10) == []
