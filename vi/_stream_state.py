"""How far a training was, as `vi.torch.ImageStream` writes it down: read as a document that anybody may have made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from ._redact import brief
from .errors import ViInvalidParameterError

_MOST = 1 << 53


@attrs.frozen
class StreamState:
    """A state: *share* is that of one worker, who had *taken* so many samples of it."""

    epoch: int
    samples: int
    seed: Any
    index: Any
    share: list[Any] | None
    taken: int

    @classmethod
    def read(cls, state: Mapping[str, Any]) -> StreamState:
        """Read a state; raises `ViInvalidParameterError` for what is none."""
        try:
            share = state.get("share")
            found = cls(
                state["epoch"],
                state["samples"],
                state["seed"],
                state["index"],
                None if share is None else list(share),
                state.get("taken", 0),
            )
        except (KeyError, TypeError, AttributeError):
            raise ViInvalidParameterError("The state is not one of an ImageStream.", parameter="state") from None
        for name, value in (("epoch", found.epoch), ("samples", found.samples), ("taken", found.taken)):
            if type(value) is not int or not 0 <= value < _MOST:
                raise ViInvalidParameterError(
                    f"The state is not one of an ImageStream: its {name} is {brief(value)}, not a count.",
                    parameter="state",
                )
        return found
