"""How a large file is cut, as pure arithmetic."""

from __future__ import annotations

import attrs

from ..errors import ViOperationError
from . import dictated

MAX_RANGES = 100_000


@attrs.frozen
class ByteRange:
    """Bytes *start* up to but excluding *end*; *number* counts from 1."""

    number: int
    start: int
    end: int

    @property
    def size(self) -> int:
        return self.end - self.start


def parts(size: int, count: int) -> list[ByteRange]:
    """Cut *size* bytes into *count* parts as the protocol does (section 10.2): the last takes the remainder."""
    if not 1 <= count <= min(dictated.MAX_PARTS, max(size, 1)):
        raise ViOperationError(f"The service asked for {count} parts of a file of {size} bytes.")
    each = size // count
    return [ByteRange(n, (n - 1) * each, size if n == count else n * each) for n in range(1, count + 1)]


def range_size(size: int, each: int) -> int:
    """Return *each*, or more where an announced *size* would make more than `MAX_RANGES` of it."""
    return max(each, -(-size // MAX_RANGES))


def ranges(size: int, each: int) -> list[ByteRange]:
    """Cut *size* bytes into ranges of *each*, the last one shorter."""
    each = range_size(size, each)
    starts = range(0, size, each)
    return [ByteRange(n, start, min(start + each, size)) for n, start in enumerate(starts, 1)]
