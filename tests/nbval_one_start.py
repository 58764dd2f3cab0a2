"""pytest plugin: kernels of parallel nbval workers start one after the other.

A kernel is given ports that were free a moment ago. Two workers that start theirs in the same moment can be given the same
ports, and one kernel dies before it has answered: ten cells in error, once in many runs. The Makefile loads this with
`-p nbval_one_start`.
"""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import nbval.kernel


@contextlib.contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Holds a lock between processes; without POSIX locks (Windows) it holds nothing."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


_start = nbval.kernel.start_new_kernel


def start_new_kernel(*args, **kwargs):
    """nbval's own, behind the lock until the kernel has answered."""
    with one_at_a_time(Path(tempfile.gettempdir()) / "pspnb-nbval-start.lock"):
        return _start(*args, **kwargs)


nbval.kernel.start_new_kernel = start_new_kernel
