"""When a file of a watched folder is taken, without a clock."""

from __future__ import annotations

from vi._transfer.settled import LONGEST_PAUSE, Settling
from vi._transfer.sources.local import Stamp


def test_a_file_is_taken_once_it_has_stood_still() -> None:
    settling = Settling(2.0)
    for now, size in ((0.0, 1), (1.0, 2), (2.5, 3)):  # three writes
        settling.look({"a": Stamp(size, size)}, now)
        assert settling.due(now, 10) == {}
    settling.look({"a": Stamp(3, 3)}, 4.4)
    assert settling.due(4.4, 10) == {}
    assert settling.due(4.5, 10) == {"a": Stamp(3, 3)}
    settling.finish("a", Stamp(3, 3))
    settling.look({"a": Stamp(3, 3)}, 100.0)
    assert not settling.waits
    settling.look({"a": Stamp(3, 4)}, 101.0)
    assert settling.due(103.0, 10) == {"a": Stamp(3, 4)}


def test_pauses_grow_and_a_change_begins_anew() -> None:
    settling = Settling(1.0)
    settling.look({"a": Stamp(1, 1)}, 0.0)
    now, pauses = 1.0, []
    for count in range(1, 10):
        assert settling.due(now, 1)
        assert settling.again("a", now) == count
        pause = next(p for p in (1, 2, 4, 8, 16, 32, LONGEST_PAUSE) if settling.due(now + p, 1))
        assert not settling.due(now + pause - 0.1, 1)
        pauses.append(pause)
        now += pause
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    settling.look({"a": Stamp(2, 2)}, now)
    assert not settling.is_again("a")
    settling.look({}, now)
    assert not settling.waits
    assert settling.again("a", now) == 0


def test_an_outage_makes_pauses_grow_and_is_no_failure_of_the_file() -> None:
    settling = Settling(1.0)
    settling.look({"a": Stamp(1, 1)}, 0.0)
    assert [settling.again("a", 1.0, failed=False) for _ in range(6)] == [0] * 6
    assert settling.again("a", 1.0) == 1
    assert not settling.due(LONGEST_PAUSE, 1)
    assert settling.due(1.0 + LONGEST_PAUSE, 1)


def test_a_file_that_failed_for_good_stays_out_until_it_changes() -> None:
    settling = Settling(1.0)
    settling.look({"a": Stamp(1, 1), "b": Stamp(1, 1)}, 0.0)
    assert list(settling.due(1.0, 1)) == ["a"]
    settling.finish("a", Stamp(1, 1))
    assert list(settling.due(1.0, 5)) == ["b"]
