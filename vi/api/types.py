"""What callers send to any listing."""

from __future__ import annotations

import attrs

from ..errors import ViInvalidParameterError

MAX_PAGE_SIZE = 1000


@attrs.frozen
class PaginationParams:
    """How to page: *page_size* items (1 to 1000), starting at *page_token* if one was kept from an earlier page."""

    page_size: int = 10
    page_token: str | None = None

    def __attrs_post_init__(self) -> None:
        if isinstance(self.page_size, bool) or not isinstance(self.page_size, int):
            raise ViInvalidParameterError(
                f"page_size must be an integer, got {self.page_size!r}.", parameter="page_size"
            )
        if not 1 <= self.page_size <= MAX_PAGE_SIZE:
            raise ViInvalidParameterError(
                f"page_size must be between 1 and {MAX_PAGE_SIZE}, got {self.page_size}.", parameter="page_size"
            )
