"""Freed memory kept for the next tensor: on a CPU, most of the time of a sum of two large maps goes into asking for memory."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of mallopt(3)
LARGEST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Tell the C library not to hand freed memory back to the system; whether it could be told.

    By default glibc asks Linux for every block above 32 MB and gives it back at once, and Linux clears it page by page: a sum
    of two maps of 1024 px with 32 channels takes 80 ms, of which 12 are the sum. For the whole process, for good; its
    memory stays at its highest point. Nothing changes, and False is returned, where the C library is another one.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, LARGEST))
