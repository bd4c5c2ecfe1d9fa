"""Work shared among the threads that torch itself computes with.

Between two products these threads do not sleep: they spin, for a millisecond or so, waiting for the next. Threads of
our own would compete with them for the cores, and lose up to ten times what they save. So a function is handed to
torch's OpenMP runtime, through the entry that compilers use; where that is not GNU's, a thread pool does.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import torch

TASK = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
PARTS = 4  # a thread: whoever is done first, takes the next
ALIGNED = 16  # parts begin at multiples of it: whole cache lines of numbers


def share(function: Any, count: int, *arguments: Any, least: int = 512) -> None:
    """Call ``function(begin, end, *arguments)`` on parts of 0 to ``count``, in as many threads as torch may use.

    A part is of ``least`` or more; the parts must not depend on each other.
    """
    threads = min(torch.get_num_threads(), -(-count // least))
    if threads <= 1:
        function(0, count, *arguments)
        return
    part = -(-max(least, -(-count // (threads * PARTS))) // ALIGNED) * ALIGNED
    starts = iter(range(0, count, part))  # shared: the interpreter's lock gives every number to one thread

    def work() -> None:
        for begin in starts:
            function(begin, min(count, begin + part), *arguments)

    together(work, threads)


def together(work: Callable[[], None], threads: int) -> None:
    """Call ``work`` in each of up to ``threads`` threads, this one among them; raise what one of them raised."""
    parallel = openmp()
    if parallel is None:
        jobs = [pool(threads).submit(work) for _ in range(threads - 1)]
        work()
        for job in jobs:
            job.result()
        return
    errors: list[BaseException] = []
    caller, entered = threading.get_ident(), set()

    def task(_: Any) -> None:
        try:
            entered.add(threading.get_ident())
            work()
        except BaseException as error:
            errors.append(error)

    parallel(TASK(task), None, threads, 0)
    if errors:
        raise errors[0]
    if caller not in entered:  # what a signal handler raises before the first line is lost in the callback
        raise KeyboardInterrupt


@cache
def openmp() -> Any:
    """``GOMP_parallel(task, data, threads, flags)`` of the library that torch brings; None where it brings another."""
    home = Path(torch.__file__).parent
    for path in (*sorted(home.glob("lib/libgomp*.so*")), *sorted(home.parent.glob("torch.libs/libgomp*.so*"))):
        try:
            parallel = ctypes.CDLL(str(path)).GOMP_parallel
        except (OSError, AttributeError):
            continue
        parallel.argtypes, parallel.restype = [TASK, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint], None
        return parallel
    return None


@cache
def pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="snnlab-kernel")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=pool.cache_clear)  # its threads are not there
