"""A decoder that has been taken over: it reads nothing, writes nothing, starts nothing, and its lies reach no row."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

pytest.importorskip("PIL")

import vi
from tests.unit.arrived import Box, children, encode, forget_children, picture, vulnerable
from vi import _checksums
from vi.server.inspection import walls
from vi.server.inspection.inspector import InspectionLimits, Inspector

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Box:
    vulnerable(tmp_path / "vulnerable", monkeypatch)
    return Box(tmp_path)


@pytest.fixture(autouse=True)
def only_own_children() -> None:
    forget_children()


@pytest.fixture
async def inspector() -> AsyncIterator[Inspector]:
    async with aclosing(Inspector(workers=1)) as inspector:
        yield inspector


def needs(*names: str) -> None:
    """Skip where the system has none of the walls *names*, with the reason."""
    found = walls.available()
    if not any(found[name] == walls.STANDS for name in names):
        pytest.skip("; ".join(f"no {name} wall: {found[name]}" for name in names))


IN_SECRET = "dtvi_of_the_environment"
READING = {
    "the key": "open({identity!r}).read()",
    "the folder": "__import__('os').listdir({folder!r})",
    "whether a file is there": "__import__('os').stat({identity!r})",
    "the environment of the parent": "open('/proc/{parent}/environ').read()",
    "the memory of the parent": "open('/proc/{parent}/mem', 'rb')",
    "the files of the parent": "__import__('os').listdir('/proc/{parent}/fd')",
    "its own files by their names": "open('/proc/self/fd/0', 'rb')",
}
WRITING = {
    "a new file": "open({folder!r} + '/new', 'w')",
    "an old file": "open({identity!r}, 'r+b')",
    "a file without a name": "__import__('os').memfd_create('x')",
    "the rights of a file": "__import__('os').chmod({identity!r}, 0o777)",
    "the rights of what it reads": "[__import__('os').fchmod(number, 0o777) for number in range(3, 64)]",
    "a link": "__import__('os').symlink('/', {folder!r} + '/link')",
    "a folder": "__import__('os').mkdir({folder!r} + '/new')",
    "a removal": "__import__('os').unlink({identity!r})",
    "another name": "__import__('os').rename({identity!r}, {identity!r} + 'x')",
}
STARTING = {
    "a copy": "__import__('os').fork()",
    "another program": "__import__('os').execv('/bin/true', ['true'])",
    "a signal": "__import__('os').kill({parent}, 0)",
    "a signal to its group": "__import__('os').killpg(0, 9)",
    "other limits of the parent": "__import__('resource').prlimit({parent}, 7, (1, 1))",
}
CONNECTING = {
    "a socket": "__import__('_socket').socket(2, 1)",
    "a datagram": "__import__('_socket').socket(2, 2)",
    "a local socket": "__import__('_socket').socket(1, 1)",
    "a pair of sockets": "__import__('_socket').socketpair()",
}
CALLS = {
    "ptrace": (101, 117, "16, {parent}, 0, 0"),
    "process_vm_readv": (310, 270, "{parent}, 0, 0, 0, 0, 0"),
    "process_vm_writev": (311, 271, "{parent}, 0, 0, 0, 0, 0"),
    "pidfd_open": (434, 434, "{parent}, 0"),
    "open_by_handle_at": (304, 265, "-100, 0, 0"),
    "openat2": (437, 437, "-100, 0, 0, 0"),
    "execveat": (322, 281, "-1, 0, 0, 0, 0x1000"),
    "clone3": (435, 435, "0, 0"),
    "io_uring_setup": (425, 425, "1, 0"),
    "bpf": (321, 280, "0, 0, 0"),
    "perf_event_open": (298, 241, "0, 0, -1, -1, 0"),
    "userfaultfd": (323, 282, "0"),
    "unshare": (272, 97, "0x10000000"),
    "keyctl": (250, 219, "0, 0, 0, 0, 0"),
    "prctl": (157, 167, "4, 1, 0, 0, 0"),
    "more memory": (302, 261, "0, 9, (ctypes.c_long * 2)(-1, -1), 0"),
    "sendmsg": (46, 211, "0, 0, 0"),
    "ioctl": (16, 29, "0, 0x5412, 0"),
    "tgkill": (234, 131, "{parent}, {parent}, 0"),
}


async def _attempt(source: str, box: Box, inspector: Inspector) -> str:
    """Let the decoder of a picture run *source*, and return what became of it; "done" when nothing kept it from it."""
    lines = (
        "import errno",
        "try:",
        f"    {source}",
        "except OSError as e:",
        "    raise ValueError(errno.errorcode[e.errno])",
    )
    code = "\n".join([*lines, "raise ValueError('done')"])
    [verdict] = await inspector.inspect([box.code(code)])
    return (verdict.message or "").rpartition(": ")[2].rstrip(".")


@pytest.fixture
def named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    monkeypatch.setenv("DATATURE_VI_SECRET_KEY", IN_SECRET)
    identity = tmp_path / "identity.json"
    identity.write_text("secret")
    return {"identity": str(identity), "folder": str(tmp_path), "parent": os.getpid()}


async def test_A14_a_decoder_that_is_taken_over_runs_what_the_picture_says(box: Box, inspector: Inspector) -> None:
    """Without this, every test below would pass for the wrong reason."""
    assert await _attempt("sum([1])", box, inspector) == "done"


@pytest.mark.parametrize("what", READING)
async def test_A14_it_reads_nothing(what: str, box: Box, inspector: Inspector, named: dict[str, object]) -> None:
    needs(*([walls.CALLS] if "whether" in what else [walls.FILES, walls.CALLS]))
    assert await _attempt(READING[what].format(**named), box, inspector) in ("EPERM", "EACCES")


async def test_A14_its_environment_holds_no_secret(box: Box, inspector: Inspector, named: dict[str, object]) -> None:
    source = "import os; raise ValueError(str([name for name in os.environ if 'VI_SECRET' in name or 'AWS' in name]))"
    [verdict] = await inspector.inspect([box.code(source)])
    assert (verdict.message or "").endswith(": [].")


@pytest.mark.parametrize("what", WRITING)
async def test_A14_it_writes_nothing(what: str, box: Box, inspector: Inspector, named: dict[str, object]) -> None:
    needs(*([walls.CALLS] if "rights" in what or "without" in what else [walls.FILES, walls.CALLS]))
    before = set(Path(box.folder).iterdir())
    assert await _attempt(WRITING[what].format(**named), box, inspector) in ("EPERM", "EACCES")
    assert Path(str(named["identity"])).read_text() == "secret"
    assert set(Path(box.folder).iterdir()) - before == {box.folder / str(box.count)}


@pytest.mark.parametrize("what", STARTING)
async def test_A14_it_starts_and_stops_nothing(
    what: str, box: Box, inspector: Inspector, named: dict[str, object]
) -> None:
    needs(walls.CALLS)
    assert await _attempt(STARTING[what].format(**named), box, inspector) == "EPERM"


@pytest.mark.parametrize("what", CONNECTING)
async def test_A14_it_connects_nowhere(what: str, box: Box, inspector: Inspector) -> None:
    needs(walls.CALLS)
    assert await _attempt(CONNECTING[what], box, inspector) == "EPERM"


@pytest.mark.parametrize("call", CALLS)
async def test_A14_it_has_no_other_way(call: str, box: Box, inspector: Inspector, named: dict[str, object]) -> None:
    """System calls that the standard library does not know."""
    needs(walls.CALLS)
    numbers = dict(zip(("x86_64", "aarch64"), CALLS[call], strict=False))
    given = CALLS[call][2].format(**named)
    source = (
        "import ctypes; c = ctypes.CDLL(None, use_errno=True); "
        f"r = c.syscall({numbers[os.uname().machine]}, {given}); n = ctypes.get_errno()\n"
        "    if r < 0: raise OSError(n, '')"
    )
    assert await _attempt(source, box, inspector) in ("EPERM", "ENOSYS")


@pytest.mark.skipif(sys.platform != "linux", reason="the wall of threads is a filter of Linux")
async def test_A14_helper_threads_of_a_decoder_start_and_are_enclosed(box: Box, inspector: Inspector) -> None:
    """Threads are no processes: a decoder may have them, and they can do no more."""
    needs(walls.CALLS)
    source = """
import os, threading
found = []
def work():
    try: os.listdir("/")
    except OSError as error: found.append(error.errno)
one = threading.Thread(target=work); one.start(); one.join()
raise ValueError(f"threads said {found}")
"""
    [verdict] = await inspector.inspect([box.code(source)])
    assert "threads said [1" in (verdict.message or ""), verdict.message


async def test_A14_the_thread_that_reads_is_enclosed_too(box: Box, inspector: Inspector) -> None:
    """A wall around one thread is none: they share their memory."""
    needs(walls.CALLS)
    # It says itself which process it is: others of these tests have services here, with decoders of theirs.
    worker = int(await _attempt("raise ValueError(__import__('os').getpid())", box, inspector))
    assert worker != os.getpid()
    states = [(task / "status").read_text() for task in Path(f"/proc/{worker}/task").iterdir()]
    assert len(states) >= 2
    assert all("Seccomp:\t2" in state and "NoNewPrivs:\t1" in state for state in states)


async def test_A14_its_lies_reach_no_verdict(box: Box, inspector: Inspector) -> None:
    """It writes an answer of its own: what the service measured stays, and what is out of range is refused."""
    lie = {"error": None, "message": None, "width": 5, "height": 5, "frames": 1, "picture": False, "number": 1}
    lie |= {"size": 1, "crc32c": 1, "sha256": "zz", "mime": "text/html"}
    source = f"""
import json, os, struct
text = json.dumps({lie!r}).encode()
for number in range(3, 10):
    try: os.write(number, struct.pack(">II", len(text), 0) + text)
    except OSError: pass
"""
    job = box.code(source)
    data = Path(job.path).read_bytes()
    [verdict] = await inspector.inspect([job])
    assert (verdict.error, verdict.width) == (None, 5), "the lie was heard"
    assert (verdict.size, verdict.mime) == (len(data), "image/heic")
    assert (verdict.crc32c, verdict.sha256) == (_checksums.crc32c(data), hashlib.sha256(data).hexdigest())
    # The honest answer that followed is not taken for one about the next picture.
    [next_] = await inspector.inspect([box.job(encode("PNG", picture(size=(7, 3))))])
    assert (next_.error, next_.width, next_.height) == (None, 7, 3)


SAY = """
import builtins, json, os, struct
builtins.taken = True
def say(data):
    for number in range(3, 10):
        try: os.write(number, data)
        except OSError: pass
def frame(text, blob=b""):
    return struct.pack(">II", len(text), len(blob)) + text + blob
honest = {"error": None, "message": None, "width": 96, "height": 64, "frames": 1, "picture": False, "number": 1}
def lied(**changes):
    return frame(json.dumps(honest | changes).encode())
def lie(**changes):
    say(lied(**changes))
"""
ANOMALIES = {
    "a crash": "os._exit(3)",
    "a signal": "import ctypes; ctypes.string_at(0)",
    "a picture without width": "lie(width=0)",
    "a width that is none": "lie(width='5')",
    "an unknown code": "lie(error='EVIL')",
    "the number of another file": "lie(number=9)",
    "a preview that is none": "say(frame(json.dumps(honest | {'picture': True}).encode(), b'<svg/>'))",
    "a preview that does not come": "lie(picture=True)",
    "no JSON": "say(frame(b'{'))",
    "no object": "say(frame(b'[1]'))",
    "deep JSON": "say(frame(b'[' * 900_000))",
    "a frame without end": "say(struct.pack('>II', 1 << 31, 0))",
    "a second answer": "say(lied() + lied(number=3))",
    "a frame that was not asked for": "say(lied() + b'12345')",
}


@pytest.mark.parametrize("what", ANOMALIES)
async def test_A14_after_an_anomaly_another_decoder_looks(what: str, box: Box, inspector: Inspector) -> None:
    """What took it over ends with it: the next picture is decoded by a process that has not seen that one."""
    await inspector.inspect([box.job(encode("PNG"))])
    [before] = children()
    [verdict] = await inspector.inspect([box.code(f"{SAY}\n{ANOMALIES[what]}".replace('"number": 1', '"number": 2'))])
    assert verdict.error in (None, "ECORRUPT")
    [verdict] = await inspector.inspect([box.code("import builtins; assert not hasattr(builtins, 'taken'), 'taken'")])
    assert verdict.error is None, verdict.message
    assert before not in children()


TAKE_OVER = """
import sys, time
from os import _exit
from vi.server.inspection.frames import Answer
package = sys.modules["vi.server.inspection.checking"]
honest = package.inspect
def lie(job, file, *rest, **options):
    answer = honest(job, file, *rest, **options)
    {lie}
package.inspect = lie
"""
LIES = {
    "another width": "return Answer(None, None, 7, 64, 1, answer.thumbnail)",
    "its sides swapped": "return Answer(None, None, 64, 96, 1, answer.thumbnail)",
    "more frames": "return Answer(None, None, 96, 64, 9, answer.thumbnail)",
    "damaged": "return Answer('ECORRUPT', 'The content cannot be read.')",
    "too large": "return Answer('EBADSIZE', 'The image has too many pixels.')",
    "of no type at all": "return Answer('EBADMIME', None)",
    "not to be read": "return Answer('EUNKNOWN', 'The stored bytes cannot be read.')",
    "in need of memory": "return Answer(None, None, alone=True)",
    "a crash": "_exit(3)",
    "without end": "\n    while True: pass",
}


@pytest.mark.parametrize("what", LIES)
async def test_A14_its_lies_about_other_pictures_reach_no_verdict(what: str, box: Box) -> None:
    """What it says of sound pictures that come after it is compared with their headers, or said anew by another."""
    source = TAKE_OVER.format(lie=LIES[what])
    async with aclosing(Inspector(workers=1, limits=InspectionLimits(seconds_per_file=0.7))) as inspector:
        sound = [box.job(encode("PNG")), box.job(encode("JPEG"), "image/jpeg")]
        verdicts = await inspector.inspect([box.code(source), *sound])
        assert [(v.error, v.width, v.height, v.frames) for v in verdicts] == [(None, 96, 64, 1)] * 3
        # It was ended where it could be told from one that is honest.
        [verdict] = await inspector.inspect([box.job(encode("PNG", picture(size=(9, 5))))])
        assert (verdict.error, verdict.width, verdict.height) == (None, 9, 5)


async def test_A14_what_it_calls_broken_is_decoded_by_another_that_may_agree(box: Box, inspector: Inspector) -> None:
    broken = encode("JPEG")[:900]
    jobs = [box.job(encode("PNG")), box.job(broken, "image/jpeg"), box.job(encode("PNG"))]
    verdicts = await inspector.inspect(jobs)
    assert [verdict.error for verdict in verdicts] == [None, "ECORRUPT", None]
    assert len(children()) == 1


async def test_A14_its_message_is_cleaned(box: Box, inspector: Inspector) -> None:
    """No text that a database or a terminal cannot take."""
    [verdict] = await inspector.inspect([box.code(f"{SAY}\nlie(error='ECORRUPT', message='a\\ud800\\x1b[2J\\0b')")])
    assert (verdict.error, verdict.message) == ("ECORRUPT", "a  [2J b")


GROW = "import builtins; builtins.held = bytearray({size}); raise ValueError('done')"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux holds a process to such a limit")
async def test_A14_it_takes_no_more_memory_than_its_share(box: Box) -> None:
    """Side by side each has a share; a picture that needs more is decoded alone, and even then there is a limit."""
    limits = InspectionLimits(share_bytes=100 << 20, memory_bytes=300 << 20)
    async with aclosing(Inspector(workers=1, limits=limits)) as inspector:
        said = []
        for size in (50 << 20, 200 << 20, 400 << 20):
            [verdict] = await inspector.inspect([box.code(GROW.format(size=size))])
            said.append((verdict.error, (verdict.message or "").rpartition(": ")[2], len(children())))
    assert said[:2] == [("ECORRUPT", "done.", 1), ("ECORRUPT", "done.", 2)]
    assert said[2][0] == "EBADSIZE"
    assert "300 MiB of memory" in said[2][1]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux holds a process to such a limit")
@pytest.mark.parametrize("how", ["os.abort()", "raise RuntimeError('out of memory')"], ids=["dies", "says so oddly"])
async def test_A14_a_picture_whose_decoder_fails_in_its_share_is_decoded_alone(how: str, box: Box) -> None:
    """Few decoders say that there was no memory: some end the process, to others the picture is broken."""
    limits = InspectionLimits(share_bytes=100 << 20)
    async with aclosing(Inspector(workers=1, limits=limits)) as inspector:
        source = f"import os\ntry: bytearray(200 << 20)\nexcept MemoryError: {how}\n" + "#" * (20 << 20)
        [verdict] = await inspector.inspect([box.code(source)])
    assert (verdict.error, verdict.width) == (None, 96)


def test_A14_its_lies_reach_no_row(box: Box, tmp_path: Path) -> None:
    """Through the whole service: the row has what arrived, and the batch is settled."""
    lie = {"error": None, "message": None, "width": 10**30, "height": 5, "frames": 1, "picture": False, "number": 1}
    source = f"""
import json, os, struct
text = json.dumps({lie!r}).encode()
for number in range(3, 10):
    try: os.write(number, struct.pack(">II", len(text), 0) + text)
    except OSError: pass
"""
    folder = tmp_path / "pictures"
    folder.mkdir()
    Path(box.code(source).path).rename(folder / "lie.heic")
    (folder / "good.png").write_bytes(encode("PNG"))
    with vi.Client.local(tmp_path / "data") as client:
        dataset = client.datasets.create(name="d").dataset_id
        result = client.assets.upload(dataset, folder, failure_mode="FailAfterAll", timeout=100)
        assert [failure.code for failure in result.failures] == ["ECORRUPT"]
        assert [asset.filename for asset in client.assets.list(dataset).all_items()] == ["good.png"]


# The process that holds the key.


# Who may trace every process reads everything, administrators among them: it is given up first.
GIVE_UP = """
import ctypes, os, sys
for capability in (19, 21, 38):  # to trace, to administrate, to measure performance
    ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
READ = """
import sys
for name in ("environ", "mem", "maps"):
    try:
        with open(f"/proc/{sys.argv[1]}/{name}", "rb", buffering=0):
            print("opened")
    except OSError as error:
        print(error.errno)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has it")
def test_A14_the_memory_of_the_service_is_its_own(tmp_path: Path) -> None:
    """Another process of the same user reads neither its environment nor its memory, as it could of any other."""
    serving = ("-m", "vi", "serve", "--data", str(tmp_path / "data"), "--port", "0")
    other = ("-c", "print('Serving', flush=True); input()")
    found = [_read_by_another(*command) for command in (other, serving)]
    assert found == [["opened"] * 3, ["13"] * 3]


def _read_by_another(*command: str) -> list[str]:
    start = (sys.executable, "-c", GIVE_UP)
    with subprocess.Popen([*start, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert "Serving" in process.stdout.readline()
            read = [*start, "-c", READ, str(process.pid)]
            return subprocess.run(read, capture_output=True, text=True, check=True).stdout.split()
        finally:
            process.terminate()
