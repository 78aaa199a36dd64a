"""What the kernel keeps from a decoder process: files, the network, programs and other processes.

Two walls of Linux, each where the system has it. Landlock: no path can be opened. seccomp: of the system calls, those
that computing needs are allowed, and no other; a thread may be started, a process may not. A decoder reads descriptors
that it was handed, and writes to those that it has.

Without a library: the bindings of libseccomp need its shared object, which container images lack, and those of Landlock
are unmaintained. What is needed of both is a few calls whose numbers never change.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Callable

STANDS = "on"
LIMITS, RIGHTS, FILES, CALLS = "limits", "bar to new privileges", "landlock", "seccomp"

_NO_NEW_PRIVILEGES, _DUMPABLE = 38, 4  # prctl(2)
_LANDLOCK_CREATE, _LANDLOCK_RESTRICT = 444, 446
_LANDLOCK_VERSION = 1
_FILTER, _ALL_THREADS, _IS_KNOWN = 1, 1, 2  # seccomp(2)
_CLONE_THREAD = 0x10000
_EPERM, _ENOSYS = 1, 38
_PROCESSOR_TIME = 0  # getrlimit(2)

# Names in the order of both tables: reading and writing what is open, memory, threads, signals, clocks, and the end.
_X86_64 = {
    *(0, 1, 3, 7, 8, 17, 19, 20, 47, 271),  # read write close poll lseek pread64 readv writev recvmsg ppoll
    *(9, 10, 11, 12, 25, 27, 28),  # mmap mprotect munmap brk mremap mincore madvise
    *(24, 186, 202, 204, 218, 273, 309, 324, 334),  # sched_yield gettid futex sched_getaffinity ... membarrier rseq
    *(13, 14, 15, 131, 219),  # rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack restart_syscall
    *(35, 39, 63, 96, 97, 98, 99, 100, 228, 229, 230, 318),  # nanosleep getpid uname ... clock_gettime getrandom
    *(60, 231),  # exit exit_group
}
_ARM64 = {
    *(57, 62, 63, 64, 65, 66, 67, 73, 212),
    *(214, 215, 216, 222, 226, 232, 233),
    *(96, 98, 99, 123, 124, 168, 178, 283, 293),
    *(128, 132, 134, 135, 139),
    *(101, 113, 114, 115, 153, 160, 163, 165, 169, 172, 179, 278),
    *(93, 94),
}
# Audit architecture, seccomp(2), the allowed calls, clone, tgkill, prlimit64, clone3.
_MACHINES = {
    "x86_64": (0xC000003E, 317, _X86_64, 56, 234, 302, 435),
    "aarch64": (0xC00000B7, 277, _ARM64, 220, 131, 261, 435),
}


def available() -> dict[str, str]:
    """Return for each wall whether a decoder gets it here: "on", or why not."""
    if sys.platform == "win32":
        none = "Windows has none for such processes"
        return dict.fromkeys((LIMITS, RIGHTS, FILES, CALLS), none)
    walls = {LIMITS: STANDS}
    if sys.platform != "linux":
        return walls | dict.fromkeys((RIGHTS, FILES, CALLS), "only Linux has it")
    walls[RIGHTS] = STANDS
    walls[FILES] = STANDS if _landlock_version() > 0 else "this kernel has none, or a container forbids it (Linux 5.13)"
    walls[CALLS] = STANDS if _has_seccomp() else "this kernel or processor has none, or a container forbids it"
    return walls


def raise_all() -> dict[str, str]:
    """Put up what this system has, around this process as it is now; return the same as `available`.

    To be called while there is one thread: Landlock encloses the thread that asks and those that it starts.
    """
    walls = available()
    if sys.platform != "linux":
        return walls
    _call("prctl", _NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    builders: dict[str, Callable[[], None]] = {FILES: _close_files, CALLS: _close_calls}
    for name, build in builders.items():
        if walls[name] == STANDS:
            try:
                build()
            except OSError as error:
                walls[name] = f"it cannot be put up: {error.strerror}"
    return walls


def hide_memory() -> None:
    """Keep the memory and the environment of this process from others of the same user, where the system can."""
    if sys.platform == "linux":
        _call("prctl", _DUMPABLE, 0, 0, 0, 0)


def _call(name: str, *values: int | ctypes.Array[ctypes.c_char] | None) -> int:
    """Call a function of the C library with integers and buffers; raises OSError."""
    function = getattr(ctypes.CDLL(None, use_errno=True), name)
    given = [ctypes.c_long(value) if isinstance(value, int) else value for value in values]
    answer = int(function(*given))
    if answer < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return answer


def _landlock_version() -> int:
    try:
        return _call("syscall", _LANDLOCK_CREATE, None, 0, _LANDLOCK_VERSION)
    except OSError:
        return 0


def _close_files() -> None:
    version = _landlock_version()
    # Each version handles more kinds of access; what is handled is refused unless a rule grants it, and there is none.
    files = (1 << {1: 13, 2: 14, 3: 15, 4: 15}.get(version, 16)) - 1
    network = 0b11 if version >= 4 else 0
    scopes = 0b11 if version >= 6 else 0
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    asked = ctypes.create_string_buffer(struct.pack("=QQQ", files, network, scopes)[:size], size)
    rules = _call("syscall", _LANDLOCK_CREATE, asked, size, 0)
    try:
        _call("syscall", _LANDLOCK_RESTRICT, rules, 0)
    finally:
        os.close(rules)


def _machine() -> str:
    if sys.platform == "win32":
        return ""
    return os.uname().machine


def _has_seccomp() -> bool:
    machine = _MACHINES.get(_machine())
    if machine is None or sys.maxsize < 1 << 32:
        return False
    action = ctypes.create_string_buffer(struct.pack("=I", 0x00050000), 4)  # to answer with an error number
    try:
        return _call("syscall", machine[1], _IS_KNOWN, 0, action) == 0
    except OSError:
        return False


def _close_calls() -> None:
    program = _program(*_MACHINES[_machine()])
    code = ctypes.create_string_buffer(program, len(program))
    head = ctypes.create_string_buffer(struct.pack("@HP", len(program) // 8, ctypes.addressof(code)))
    _call("syscall", _MACHINES[_machine()][1], _FILTER, _ALL_THREADS, head)


def _program(architecture: int, _: int, allowed: set[int], clone: int, tgkill: int, prlimit: int, clone3: int) -> bytes:
    """Return the filter: a call is looked up, and for three of them arguments as well (both are little-endian)."""
    load, equal, any_of, answer = 0x20, 0x15, 0x45, 0x06
    number, machine, first, second = 0, 4, 16, 24
    kill, allow, refuse = 0x80000000, 0x7FFF0000, 0x00050000

    def line(code: int, value: int, then: int = 0, otherwise: int = 0) -> bytes:
        return struct.pack("=HBBI", code, then, otherwise, value)

    lines = [line(load, machine), line(equal, architecture, 1), line(answer, kill), line(load, number)]
    for call in sorted(allowed):
        lines += [line(equal, call, 0, 1), line(answer, allow)]
    # The C library starts threads by clone where there is no clone3, whose flags a filter cannot see.
    lines += [line(equal, clone3, 0, 1), line(answer, refuse | _ENOSYS)]
    conditions = {
        clone: [(first, any_of, _CLONE_THREAD)],
        tgkill: [(first, equal, os.getpid())],
        # Its own limit of processor time; an administrator could raise the others.
        prlimit: [(first, equal, 0), (second, equal, _PROCESSOR_TIME)],
    }
    for call, tests in conditions.items():
        lines.append(line(equal, call, 0, 2 * len(tests) + 2))
        for left, (argument, test, value) in zip(range(len(tests))[::-1], tests, strict=True):
            lines += [line(load, argument), line(test, value, 0, 2 * left + 1)]
        lines += [line(answer, allow), line(answer, refuse | _EPERM)]
    return b"".join([*lines, line(answer, refuse | _EPERM)])
