"""When a file was last changed in any way, also where its time of modification was set back."""

from __future__ import annotations

import os
import sys

if sys.platform == "win32":
    import ctypes
    from ctypes import wintypes

    class _BasicInfo(ctypes.Structure):  # FILE_BASIC_INFO of winbase.h
        _fields_ = (
            ("made", ctypes.c_int64),
            ("accessed", ctypes.c_int64),
            ("written", ctypes.c_int64),
            ("changed", ctypes.c_int64),
            ("attributes", wintypes.DWORD),
        )

    _system = ctypes.WinDLL("kernel32", use_last_error=True)
    _system.CreateFileW.restype = wintypes.HANDLE
    _system.GetFileInformationByHandleEx.argtypes = (wintypes.HANDLE, ctypes.c_int, ctypes.c_void_p, wintypes.DWORD)
    _system.CloseHandle.argtypes = (wintypes.HANDLE,)
    _NO_HANDLE = ctypes.c_void_p(-1).value
    _LOOK, _WITH_OTHERS, _THERE, _ANY_KIND = 0x80, 7, 3, 0x02000000

    def change_time(path: str, status: os.stat_result) -> int:
        """Return a number that tells one change of the file from the next; *status* has that of its making alone."""
        handle = _system.CreateFileW(path, _LOOK, _WITH_OTHERS, None, _THERE, _ANY_KIND, None)
        if handle == _NO_HANDLE:
            return status.st_ctime_ns
        try:
            info = _BasicInfo()
            told = _system.GetFileInformationByHandleEx(handle, 0, ctypes.byref(info), ctypes.sizeof(info))
            return info.changed if told else status.st_ctime_ns
        finally:
            _system.CloseHandle(handle)
else:

    def change_time(path: str, status: os.stat_result) -> int:
        """Return a number that tells one change of the file from the next."""
        return status.st_ctime_ns
