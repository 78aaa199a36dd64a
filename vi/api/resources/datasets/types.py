"""What callers send about datasets."""

from __future__ import annotations

from ..shared import Choice


class DatasetType(Choice):
    """What a dataset is labelled for."""

    PHRASE_GROUNDING = "phrase-grounding"
    VQA = "vqa"
    FREEFORM = "freeform"
