"""Unfinished transfers of this machine: list or discard them.

The same `upload` or `download` call resumes an unfinished one. Forgetting an upload only means that it
will compare less and send more; forgetting a download removes what it has of files that are not whole.
"""

from __future__ import annotations

from ._transfer.journals.locked_lines import cache_folder as folder
from ._transfer.journals.unfinished import UnfinishedTransfer, forget, unfinished

__all__ = ["UnfinishedTransfer", "folder", "forget", "unfinished"]
