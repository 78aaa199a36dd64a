"""Transfers that did not come to their end on this machine: list them, or forget them.

The same `upload` or `download` call goes on with an unfinished one by itself. Forgetting an upload only means that it
will compare less and send more; forgetting a download removes what it has of files that are not whole.
"""

from __future__ import annotations

from ._transfer.journals.locked_lines import cache_folder as folder
from ._transfer.journals.unfinished import UnfinishedTransfer, forget, unfinished

__all__ = ["UnfinishedTransfer", "folder", "forget", "unfinished"]
