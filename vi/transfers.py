"""Uploads that did not come to their end on this machine: list them, or forget them.

The same `upload` call goes on with an unfinished one by itself; forgetting only means that it will compare less and
send more.
"""

from __future__ import annotations

from ._transfer.journal import UnfinishedTransfer, forget, unfinished
from ._transfer.journal import journal_folder as folder

__all__ = ["UnfinishedTransfer", "folder", "forget", "unfinished"]
