"""A queue in which sessions take turns: a small upload waits for one batch, however much another one has queued."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Iterable

from .store.sessions import Arrival


class Turns:
    """Objects that wait for inspection; each batch takes one of every session in turn until it is full.

    A batch is being inspected until `done` is called for it.
    """

    def __init__(self) -> None:
        self._sessions: OrderedDict[int, deque[Arrival]] = OrderedDict()
        self._in_hand: Counter[int] = Counter()

    def __bool__(self) -> bool:
        return bool(self._sessions)

    def add(self, arrivals: Iterable[Arrival]) -> None:
        """Queue objects behind those of their own sessions."""
        for arrival in arrivals:
            self._sessions.setdefault(arrival.session_seq, deque()).append(arrival)

    def put_back(self, arrivals: Iterable[Arrival]) -> None:
        """Put objects back that could not be inspected, before the others of their sessions."""
        for arrival in reversed(list(arrivals)):
            self._sessions.setdefault(arrival.session_seq, deque()).appendleft(arrival)
            self._sessions.move_to_end(arrival.session_seq, last=False)

    def take(self, most: int) -> list[Arrival]:
        """Take up to *most* objects; a session that was served waits until all others were."""
        batch: list[Arrival] = []
        while self._sessions and len(batch) < most:
            session, queue = next(iter(self._sessions.items()))
            batch.append(queue.popleft())
            if queue:
                self._sessions.move_to_end(session)
            else:
                del self._sessions[session]
        self._in_hand.update(arrival.session_seq for arrival in batch)
        return batch

    def take_few(self, most: int) -> list[Arrival]:
        """Take what waits of a session with up to *most* objects, if many of only other ones are being inspected."""
        for session, queue in self._sessions.items() if self._in_hand.total() > 2 * most else ():
            if len(queue) <= most and not self._in_hand[session]:
                del self._sessions[session]
                self._in_hand[session] += len(queue)
                return list(queue)
        return []

    def done(self, batch: Iterable[Arrival]) -> None:
        """Note that objects which were taken are no longer being inspected."""
        self._in_hand.subtract(arrival.session_seq for arrival in batch)
        self._in_hand = +self._in_hand
