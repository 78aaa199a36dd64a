"""Sessions take turns in the queue of objects to inspect."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from vi.server.store.sessions import Arrival
from vi.server.turns import Turns


def arrival(session: int, index: int) -> Arrival:
    return Arrival(session, index, f"{session}-{index}", 1, 0)


def queued(**sessions: int) -> Turns:
    turns = Turns()
    for session, count in sessions.items():
        turns.add(arrival(int(session[1:]), index) for index in range(count))
    return turns


def test_a_small_session_is_in_the_next_batch() -> None:
    turns = queued(s1=1000)
    turns.take(64)
    turns.add([arrival(2, 0)])
    assert arrival(2, 0) in turns.take(2)


def test_a_session_that_was_served_waits_for_the_others() -> None:
    turns = queued(s1=9, s2=9, s3=9)
    assert [one.session_seq for one in turns.take(2) + turns.take(2) + turns.take(2)] == [1, 2, 3, 1, 2, 3]


def test_a_small_session_does_not_wait_for_the_batch_of_another() -> None:
    turns = queued(s1=100)
    assert turns.take_few(200) == [], "nothing is being inspected: it comes with the next batch"
    batch = turns.take(64)
    turns.add([arrival(2, 0), arrival(2, 1)])
    assert turns.take_few(1) == []
    few = turns.take_few(8)
    assert few == [arrival(2, 0), arrival(2, 1)]
    turns.add([arrival(2, 2)])
    assert turns.take_few(8) == [], "some of it is being inspected"
    turns.done(few)
    assert turns.take_few(8) == [arrival(2, 2)]
    turns.done(batch)
    assert len(turns.take(64)) == 36


def test_what_was_put_back_comes_first_and_in_order() -> None:
    turns = queued(s1=4, s2=2)
    batch = turns.take(3)
    turns.put_back(batch)
    assert turns.take(3) == batch


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 40)), max_size=8), st.integers(1, 20))
def test_everything_comes_once_and_each_session_in_order(sessions: list[tuple[int, int]], most: int) -> None:
    turns, number = Turns(), Counter[int]()
    for session, count in sessions:
        turns.add(arrival(session, number[session] + index) for index in range(count))
        number[session] += count
    taken: list[Arrival] = []
    while turns:
        batch = turns.take(most)
        assert 0 < len(batch) <= most
        taken += batch
    assert Counter(one.session_seq for one in taken) == +number
    for session in number:
        indexes = [one.index for one in taken if one.session_seq == session]
        assert indexes == sorted(indexes)
