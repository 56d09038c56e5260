"""A piece of Python in a child process under ptrace: killed at one of its system calls, or one of them fails.

Each call that touches files is a place: open, read, write, seek, stat, chmod, sync, rename, close. What is done there:

kill    SIGKILL before the call
full    the call fails with ENOSPC, as if the disk were full
broken  the call fails with EIO
short   a write takes half of its bytes (other calls go their way)
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import signal
import sys
from collections.abc import Callable

WORKS = sys.platform == "linux" and platform.machine() == "x86_64"
CALLS = {
    0: "read", 1: "write", 2: "open", 3: "close", 4: "stat", 5: "fstat", 6: "lstat", 8: "lseek", 17: "pread64",
    18: "pwrite64", 20: "writev", 74: "fsync", 75: "fdatasync", 77: "ftruncate", 82: "rename", 87: "unlink",
    90: "chmod", 91: "fchmod", 257: "openat", 262: "newfstatat", 263: "unlinkat", 264: "renameat", 268: "fchmodat",
    285: "fallocate", 316: "renameat2", 326: "copy_file_range", 332: "statx", 452: "fchmodat2",
}  # fmt: skip
TRACEME, GETREGS, SETREGS, SYSCALL, SETOPTIONS, SYSGOOD = 0, 12, 13, 24, 0x4200, 1
RAX, RDX, ORIG_RAX = 10, 12, 15  # places in user_regs_struct
NO_CALL = 2**64 - 1


def _ptrace(request: int, pid: int, data: object = None) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    libc.ptrace.restype = ctypes.c_long
    if libc.ptrace(request, pid, None, data) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _child(work: Callable[[], object], expected: tuple[type[BaseException], ...]) -> None:
    status = 2
    try:
        _ptrace(TRACEME, 0)
        os.kill(os.getpid(), signal.SIGSTOP)
        work()
        status = 0
    except expected:
        status = 1
    finally:
        os._exit(status)


def run(work: Callable[[], object], expected: tuple[type[BaseException], ...] = (OSError,), at: int = -1,
        what: str = "") -> tuple[list[str], int]:
    """(names of the calls, status): what it did with the fault at call `at`; status 0: done, 1: an expected error, 2:
    another one, -9: killed."""
    pid = os.fork()
    if not pid:
        _child(work, expected)
    names: list[str] = []
    regs = (ctypes.c_ulonglong * 27)()
    where = ctypes.addressof(regs)
    entered, result = False, None  # within a call; what it shall give instead
    os.waitpid(pid, 0)
    _ptrace(SETOPTIONS, pid, SYSGOOD)
    deliver = 0
    while True:
        _ptrace(SYSCALL, pid, deliver)
        _, status = os.waitpid(pid, 0)
        if os.WIFEXITED(status) or os.WIFSIGNALED(status):
            return names, os.waitstatus_to_exitcode(status)
        deliver = os.WSTOPSIG(status)
        if deliver != signal.SIGTRAP | 0x80:  # a signal of its own
            continue
        deliver, entered = 0, not entered
        _ptrace(GETREGS, pid, where)
        if not entered:
            if result is not None:
                regs[RAX], result = 2**64 - result, None
                _ptrace(SETREGS, pid, where)
            continue
        name = CALLS.get(regs[ORIG_RAX])
        if name is None:
            continue
        names.append(name)
        if len(names) - 1 != at:
            continue
        if what == "kill":
            os.kill(pid, signal.SIGKILL)
            return names, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if what != "short":
            result = errno.ENOSPC if what == "full" else errno.EIO
            if name != "close":  # that closes, whatever it says
                regs[ORIG_RAX] = NO_CALL
                _ptrace(SETREGS, pid, where)
        elif name == "write":
            regs[RDX] = (regs[RDX] + 1) // 2
            _ptrace(SETREGS, pid, where)
