"""Which files of a watched folder have stood still long enough to be taken. Callers say what time it is."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from .sources.local import Stamp

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0


@attrs.define
class _Waiting:
    stamp: Stamp
    due: float
    tries: int = 0
    failures: int = 0


class Settling:
    """Files are given out once their size and time have not changed for *settle* seconds."""

    def __init__(self, settle: float) -> None:
        self._settle = settle
        self._waiting: dict[str, _Waiting] = {}
        self._finished: dict[str, Stamp] = {}

    def look(self, found: Mapping[str, Stamp], now: float) -> None:
        """Read the folder *now*; a file that has changed waits again, one that is gone is forgotten."""
        self._waiting = {path: one for path, one in self._waiting.items() if path in found}
        self._finished = {path: stamp for path, stamp in self._finished.items() if path in found}
        for path, stamp in found.items():
            if self._finished.get(path) == stamp:
                continue
            one = self._waiting.get(path)
            if one is None or one.stamp != stamp:
                self._waiting[path] = _Waiting(stamp, now + self._settle)

    def due(self, now: float, limit: int) -> dict[str, Stamp]:
        """Return up to *limit* files that are to be taken, in the order of the folder."""
        ready = [(path, one.stamp) for path, one in self._waiting.items() if one.due <= now]
        return dict(ready[:limit])

    def finish(self, path: str, stamp: Stamp) -> None:
        """Give the file out no more, unless it changes."""
        self._waiting.pop(path, None)
        self._finished[path] = stamp

    def again(self, path: str, now: float, *, failed: bool = True) -> int:
        """Give the file out again after a pause, which doubles each time; return how often it has *failed* itself."""
        one = self._waiting.get(path)
        if one is None:
            return 0
        one.due = now + min(FIRST_PAUSE * 2**one.tries, LONGEST_PAUSE)
        one.tries += 1
        one.failures += failed
        return one.failures

    def stamp(self, path: str) -> Stamp | None:
        """Return what a waiting file was like at the last look."""
        one = self._waiting.get(path)
        return None if one is None else one.stamp

    def is_again(self, path: str) -> bool:
        """Tell whether the file was tried before."""
        return path in self._waiting and self._waiting[path].tries > 0

    @property
    def waits(self) -> bool:
        """Whether a file is still to be taken."""
        return bool(self._waiting)
