"""The journal of an upload: what it says after any death, who holds it, and what it never holds."""

from __future__ import annotations

import json
import os
import random
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vi.transfers
from vi._lock import try_lock
from vi._transfer.journals import locked_lines
from vi._transfer.journals.uploads import BegunMultipart, Identity, Journal, JournalKey, Unfinished, read_journal
from vi.errors import ViPathError

KEY = JournalKey("https://vi.example", "acme", "ds1")
IDENTITY = Identity(1820, 1_700_000_000_123_456_789, 0xE3069283)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "transfers"


@pytest.fixture
def open_journal(folder: Path) -> Iterator[Callable[[], Journal]]:
    """Opens journals; those that a test leaves open are closed as a dead run leaves them."""
    opened: list[Journal] = []

    def open_one(key: JournalKey = KEY) -> Journal:
        opened.append(Journal.open(key, folder))
        return opened[-1]

    yield open_one
    for one in opened:
        locked_lines.close_all(one._held)


def die(journal: Journal) -> None:
    """What is left of a journal whose process was killed: the file, without the lock."""
    locked_lines.close_all(journal._held)


def fill(journal: Journal) -> None:
    journal.opened("s1")
    journal.sent("a.png", IDENTITY, "s1")
    journal.begun(BegunMultipart("m1", "big.tif", "s1", IDENTITY, 3))
    journal.part("m1", 1, 11)
    journal.part("m1", 3, 33)


# What is read


names = st.text(st.characters(codec=None, exclude_characters="\0"), min_size=1, max_size=8)
identifiers = st.sampled_from(["s1", "s2", "S-3_x"])
identities = st.builds(
    Identity, st.integers(0, 1 << 40), st.integers(-(1 << 62), 1 << 62), st.integers(0, (1 << 32) - 1)
)
uploads = st.sampled_from(["m1", "m2", "m/3=="])
calls = st.one_of(
    st.tuples(st.just("opened"), identifiers),
    st.tuples(st.just("ended"), identifiers),
    st.tuples(st.just("sent"), names, identities, identifiers | st.just("")),
    st.tuples(st.just("begun"), st.builds(BegunMultipart, uploads, names, identifiers, identities, st.integers(1, 9))),
    st.tuples(st.just("part"), uploads, st.integers(1, 9), st.integers(0, (1 << 32) - 1)),
    st.tuples(st.just("dropped"), uploads),
)


def model(steps: list[tuple[object, ...]]) -> tuple[object, object, object]:
    """What a journal of *steps* should say, told without files."""
    sessions: dict[object, set[object]] = {}
    sent: dict[object, object] = {}
    begun: dict[object, tuple[object, dict[object, object]]] = {}
    for what, *given_ in steps:
        if what == "opened":
            sessions.setdefault(given_[0], set())
        elif what == "ended":
            sessions.pop(given_[0], None)
        elif what == "sent":
            name, identity, session = given_
            sent[name] = identity
            if session:
                sessions.setdefault(session, set()).add(name)
                gone = [u for u, (of, _) in begun.items() if (of.filename, of.session_id) == (name, session)]  # type: ignore[attr-defined]
                for upload in gone:
                    del begun[upload]
        elif what == "begun":
            begun[given_[0].upload_id] = (given_[0], {})  # type: ignore[attr-defined]
        elif what == "part" and given_[0] in begun and given_[1] <= begun[given_[0]][0].part_count:  # type: ignore[attr-defined, operator]
            begun[given_[0]][1][given_[1]] = given_[2]
        elif what == "dropped":
            begun.pop(given_[0], None)
    return sessions, sent, {upload: (of.identity, parts) for upload, (of, parts) in begun.items()}  # type: ignore[attr-defined]


def said(found: Unfinished) -> tuple[object, object, object]:
    return found.sessions, found.sent, {u.upload_id: (u.identity, u.parts) for u in found.multiparts.values()}


@given(steps=st.lists(calls, max_size=12), where=st.floats(0, 1))
@settings(max_examples=200, deadline=None)
def test_cut_at_any_byte_it_says_what_its_whole_lines_say(steps: list[tuple[object, ...]], where: float) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        journal = Journal.open(KEY, Path(scratch))
        ends = [journal.path.stat().st_size]
        for what, *given_ in steps:
            getattr(journal, str(what))(*given_)
            ends.append(journal.path.stat().st_size)
        content = journal.path.read_bytes()
        journal.close(finished=True)
        path = Path(scratch) / "cut.jsonl"
        cut = round(where * len(content))
        path.write_bytes(content[:cut])
        found = read_journal(path)
        assert found is not None
        whole = sum(end <= cut for end in ends) - 1
        assert said(found) == (model(steps[:whole]) if whole >= 0 else ({}, {}, {}))
        path.write_bytes(content)
        everything = read_journal(path)
        assert everything is not None
        assert said(everything) == model(steps)


GARBAGE = [
    b"null", b"[]", b"3", b'"text"', b"{}", b"{", b"NaN", b'{"session":5}', b'{"session":"../../etc"}', b'{"session":null}',
    b'{"sent":"a","in":"s1","id":[1,2]}', b'{"sent":"a","in":"s1","id":["1","2","3"]}', b'{"sent":5,"in":"s1","id":[1,2,3]}',
    b'{"sent":"a"}', b'{"multipart":"","name":"a","in":"s1","id":[1,2,3],"parts":3}',
    b'{"multipart":"..","name":"a","in":"s1","id":[1,2,3],"parts":3}',
    b'{"multipart":"\\ud800","name":"a","in":"s1","id":[1,2,3],"parts":3}',
    b'{"multipart":"m9","name":"a","in":"s/1","id":[1,2,3],"parts":3}',
    b'{"multipart":"m9","name":"a","in":"s1","id":[1,2,3],"parts":0}',
    b'{"multipart":"m9","name":"a","in":"s1","id":[1,2,3],"parts":99999999999}',
    b'{"part":1,"of":"m404","crc":1}', b'{"part":99,"of":"m1","crc":1}', b'{"part":1.5,"of":"m1","crc":1}',
    b'{"part":1,"of":"m1","crc":-1}', b'{"part":1,"of":["m1"],"crc":1}', b"[" * 3000, b'{"a":' * 3000, b"9" * 5000,
    b'{"ended":{}}', b'{"dropped":[]}', b'{"vi":1,"endpoint":1,"organization":2,"dataset":3,"began":4}', b"\xff\xfe{", b"\0" * 50,
]  # fmt: skip


@given(
    lines=st.lists(st.binary(max_size=60) | st.sampled_from(GARBAGE), max_size=30),
    chance=st.randoms(use_true_random=False),
)
@settings(max_examples=200, deadline=None)
def test_lines_of_others_are_passed_over(lines: list[bytes], chance: random.Random) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        journal = Journal.open(KEY, Path(scratch))
        fill(journal)
        head, *ours = journal.path.read_bytes().splitlines(keepends=True)
        journal.close(finished=True)
        foreign = [line.replace(b"\n", b"") + b"\n" for line in lines]
        mixed = sorted(range(len(ours) + len(foreign)), key=lambda _: chance.random())
        order = sorted(mixed[: len(ours)])
        merged, mine, theirs = [], iter(ours), iter(foreign)
        for position in range(len(mixed)):
            merged.append(next(mine) if position in order else next(theirs))
        path = Path(scratch) / "mixed.jsonl"
        path.write_bytes(head + b"".join(merged))
        found = read_journal(path)
        assert found is not None
        assert found.key == KEY
        assert said(found) == (
            {"s1": {"a.png"}},
            {"a.png": IDENTITY},
            {"m1": (IDENTITY, {1: 11, 3: 33})},
        )


def test_the_end_of_an_endless_line_is_not_taken_for_a_line(folder: Path, open_journal: Callable[[], Journal]) -> None:
    journal = open_journal()
    fill(journal)
    with journal.path.open("ab") as file:
        file.write(b"x" * (2 * locked_lines.MAX_LINE) + b'{"session":"s9"}\n{"session":"s10"}\n')
    found = read_journal(journal.path)
    assert found is not None
    assert found.sessions.keys() == {"s1", "s10"}


def test_a_journal_of_another_version_or_dataset_is_left_alone(
    folder: Path, open_journal: Callable[..., Journal]
) -> None:
    first = open_journal()
    fill(first)
    die(first)
    newer = folder / f"{KEY.digest}.newer.jsonl"
    newer.write_text('{"vi":2,"something":"else"}\n{"session":"s5"}\n')
    other = folder / f"{KEY.digest}.other.jsonl"
    other.write_bytes(first.path.read_bytes().replace(b'"ds1"', b'"ds2"'))
    journal = open_journal()
    assert journal.found.sessions.keys() == {"s1"}
    journal.close(finished=True)
    assert sorted(path.name for path in folder.iterdir()) == sorted([newer.name, other.name])


def test_one_that_cannot_be_opened_hinders_nothing(folder: Path, open_journal: Callable[[], Journal]) -> None:
    first = open_journal()
    fill(first)
    die(first)
    (folder / f"{KEY.digest}.folder.jsonl").mkdir()
    (folder / f"{KEY.digest}.link.jsonl").symlink_to("/dev/null")
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / f"{KEY.digest}.pipe.jsonl")
    journal = open_journal()
    assert journal.found.sessions.keys() == {"s1"}
    assert [one.dataset_id for one in vi.transfers.unfinished(folder)] == ["ds1", "ds1"]


# Who holds it


def test_what_a_dead_run_left_is_taken_over_and_removed(folder: Path, open_journal: Callable[[], Journal]) -> None:
    first = open_journal()
    assert not first.found
    fill(first)
    die(first)
    second = open_journal()
    assert said(second.found) == ({"s1": {"a.png"}}, {"a.png": IDENTITY}, {"m1": (IDENTITY, {1: 11, 3: 33})})
    second.carry(second.found)
    second.resolved()
    assert list(folder.iterdir()) == [second.path]
    die(second)
    third = open_journal()
    assert said(third.found) == said(second.found), "carried over whole, the files of its session too"
    third.close(finished=True)
    assert not list(folder.iterdir())


def test_two_runs_exclude_each_other_and_both_go_on(folder: Path, open_journal: Callable[[], Journal]) -> None:
    first, second = open_journal(), open_journal()
    first.opened("s1")
    second.opened("s2")
    assert not second.found
    assert first.path != second.path
    first.close(finished=True)
    assert list(folder.iterdir()) == [second.path]
    assert not open_journal().found, "the living one's is not taken"
    die(second)
    assert open_journal().found.sessions.keys() == {"s2"}


def test_many_runs_at_once_each_get_a_journal_and_lose_nothing(folder: Path) -> None:
    """Openings, ends and deaths in many threads: every opening succeeds, and what the dead left is found."""
    failures: list[BaseException] = []
    ends = threading.Barrier(6)

    def run(number: int) -> None:
        try:
            ends.wait()
            for turn in range(40):
                journal = Journal.open(KEY, folder)
                journal.opened(f"s{number}-{turn}")
                journal.carry(journal.found)
                journal.resolved()
                die(journal)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures
    last = Journal.open(KEY, folder)
    assert last.found.sessions.keys() == {f"s{number}-{turn}" for number in range(6) for turn in range(40)}
    last.close(finished=True)
    assert not list(folder.iterdir())


def test_a_name_that_another_run_locks_in_the_making_is_given_up(
    folder: Path, open_journal: Callable[[], Journal], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, taken = os.open, []

    def contested(path: str | Path, flags: int, mode: int = 0o777) -> int:
        descriptor = real(path, flags, mode)
        if flags & os.O_CREAT and not taken:
            taken.append(real(path, os.O_RDWR))
            assert try_lock(taken[0])
        return descriptor

    monkeypatch.setattr(os, "open", contested)
    journal = open_journal()
    assert taken
    monkeypatch.undo()
    os.close(taken[0])
    journal.opened("s1")
    assert read_journal(journal.path)


def test_a_process_that_is_killed_lets_go(folder: Path, open_journal: Callable[[], Journal]) -> None:
    code = (
        "import sys, time; from pathlib import Path; from vi._transfer.journals.uploads import *\n"
        f"journal = Journal.open(JournalKey('https://vi.example', 'acme', 'ds1'), Path({str(folder)!r}))\n"
        "journal.opened('s7'); print(flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    assert [one.running for one in vi.transfers.unfinished(folder)] == [True]
    early = open_journal()
    assert not early.found
    early.close(finished=True)
    process.kill()
    process.wait()
    process.stdout.close()
    assert [one.running for one in vi.transfers.unfinished(folder)] == [False]
    assert open_journal().found.sessions.keys() == {"s7"}


def test_a_caller_cancelled_while_it_is_opened_leaves_no_lock(
    folder: Path, open_journal: Callable[[], Journal]
) -> None:
    def nobody_waits() -> None:
        Journal.open(KEY, folder).opened("s1")

    nobody_waits()
    assert open_journal().found.sessions.keys() == {"s1"}


# Its end


def test_a_run_that_began_nothing_leaves_nothing(folder: Path) -> None:
    Journal.open(KEY, folder).close(finished=False)
    assert not list(folder.iterdir())


def test_one_that_could_not_ask_leaves_the_old_ones_as_they_are(
    folder: Path, open_journal: Callable[[], Journal]
) -> None:
    first = open_journal()
    fill(first)
    die(first)
    for _ in range(3):
        open_journal().close(finished=False)
    assert list(folder.iterdir()) == [first.path]


def test_what_concerns_other_files_outlives_a_run_that_ended(folder: Path, open_journal: Callable[[], Journal]) -> None:
    first = open_journal()
    fill(first)
    first.sent("b.png", IDENTITY)
    die(first)
    second = open_journal()
    left = Unfinished(sent={"b.png": IDENTITY}, began=second.found.began)
    second.close(finished=True, left=left)
    third = open_journal()
    assert said(third.found) == ({}, {"b.png": IDENTITY}, {})
    assert third.found.began == pytest.approx(time.time(), abs=60)


def test_after_a_month_it_is_forgotten(
    folder: Path, open_journal: Callable[[], Journal], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = open_journal()
    fill(first)
    die(first)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + locked_lines.KEPT_SECONDS + 1)
    second = open_journal()
    assert not second.found
    second.close(finished=True)
    assert not list(folder.iterdir())


# What it takes and holds


@pytest.mark.skipif(sys.platform == "win32", reason="modes are of POSIX")
def test_it_is_the_owners_alone(folder: Path, open_journal: Callable[[], Journal]) -> None:
    journal = open_journal()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(journal.path.stat().st_mode) == 0o600


def test_its_size_is_bounded(open_journal: Callable[[], Journal], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locked_lines, "MAX_BYTES", 5000)
    journal = open_journal()
    for number in range(1000):
        journal.sent(f"{number}.png", IDENTITY)
    journal.sent("n" * locked_lines.MAX_LINE, IDENTITY)
    assert 4000 < journal.path.stat().st_size <= 5000
    found = read_journal(journal.path)
    assert found is not None
    assert "0.png" in found.sent


def test_a_full_disk_costs_lines_and_not_the_lines_after_them(
    open_journal: Callable[[], Journal], monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = open_journal()
    real = os.write
    room = iter([7, None, OSError(28, "No space left on device")])

    def full(descriptor: int, data: bytes) -> int:
        count = next(room, None)
        if isinstance(count, OSError):
            raise count
        return real(descriptor, data[:count])

    monkeypatch.setattr(os, "write", full)
    journal.opened("torn")
    journal.opened("s2")
    journal.opened("lost")
    journal.opened("s4")
    found = read_journal(journal.path)
    assert found is not None
    assert found.sessions.keys() == {"s2", "s4"}


def test_only_what_is_needed_is_written(open_journal: Callable[[], Journal]) -> None:
    journal = open_journal()
    fill(journal)
    journal.dropped("m1")
    journal.ended("s1")
    lines = [json.loads(line) for line in journal.path.read_bytes().splitlines()]
    known = {"vi", "endpoint", "organization", "dataset", "began", "host", "pid", "started"}
    known |= {"session", "ended", "sent", "in", "id"}
    assert {field for line in lines for field in line} <= known | {
        "multipart",
        "name",
        "parts",
        "part",
        "of",
        "crc",
        "dropped",
    }


# vi.transfers


def test_one_with_nothing_to_resume_does_not_stay(folder: Path, open_journal: Callable[[], Journal]) -> None:
    journal = open_journal()
    journal.opened("s1")
    journal.ended("s1")
    journal.close(finished=False)
    assert not list(folder.iterdir())


def test_one_with_an_open_session_stays(folder: Path, open_journal: Callable[[], Journal]) -> None:
    journal = open_journal()
    journal.opened("s1")
    journal.close(finished=False)
    (found,) = vi.transfers.unfinished(folder)
    assert found.can_be_resumed


def test_only_what_can_be_resumed_is_listed(folder: Path, open_journal: Callable[[], Journal]) -> None:
    journal = open_journal()
    journal.opened("s1")
    journal.ended("s1")
    assert [one.running for one in vi.transfers.unfinished(folder)] == [True]
    die(journal)
    assert vi.transfers.unfinished(folder) == []


def test_old_ones_are_removed_by_whoever_lists_them(
    folder: Path, open_journal: Callable[[], Journal], monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = open_journal()
    fill(journal)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + locked_lines.KEPT_SECONDS + 1)
    assert len(vi.transfers.unfinished(folder)) == 1, "its run lives"
    die(journal)
    assert vi.transfers.unfinished(folder) == []
    assert not list(folder.iterdir())


def test_unfinished_uploads_are_listed_and_forgotten(folder: Path, open_journal: Callable[[], Journal]) -> None:
    assert vi.transfers.unfinished(folder) == []
    journal = open_journal()
    fill(journal)
    (found,) = vi.transfers.unfinished(folder)
    assert (found.endpoint, found.organization_id, found.dataset_id) == ("https://vi.example", "acme", "ds1")
    assert (found.files_sent, found.multipart_uploads, found.running) == (1, 1, True)
    assert not vi.transfers.forget(found.id, folder), "a living run's is not removed"
    die(journal)
    assert not vi.transfers.unfinished(folder)[0].running
    assert vi.transfers.forget(found.id, folder)
    assert not vi.transfers.forget(found.id, folder)
    assert vi.transfers.unfinished(folder) == []


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "", ".", "a/b", "nul\0", "..\\x"])
def test_forgetting_never_leaves_the_folder(folder: Path, name: str) -> None:
    folder.mkdir(parents=True)
    (folder.parent / "outside.jsonl").write_text("x")
    assert not vi.transfers.forget(name, folder)
    assert (folder.parent / "outside.jsonl").exists()


def test_what_cannot_be_forgotten_is_said(
    folder: Path, open_journal: Callable[[], Journal], monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = open_journal()
    die(journal)

    def denied(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", denied)
    with pytest.raises(ViPathError, match="cannot be removed: Permission denied"):
        vi.transfers.forget(journal.path.stem, folder)
