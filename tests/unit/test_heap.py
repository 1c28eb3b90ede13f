"""How many heaps the C library has for many threads."""

from __future__ import annotations

import subprocess
import sys

import pytest

THREADS = """
import ctypes, sys, threading
from trapd.heap import one_heap
if sys.argv[1] == "one":
    one_heap()
together = threading.Barrier(4)
def take():
    blocks = [bytearray(2000 + number) for number in range(100)]
    together.wait()
threads = [threading.Thread(target=take) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
library = ctypes.CDLL(None)
library.malloc_info(0, ctypes.c_void_p.in_dll(library, "stdout"))
library.fflush(None)
"""


@pytest.mark.parametrize(("how", "is_one"), [("one", True), ("as it is", False)])
def test_all_threads_share_one_heap(how: str, *, is_one: bool) -> None:
    told = subprocess.run([sys.executable, "-c", THREADS, how], capture_output=True, text=True, check=True).stdout
    assert (told.count("<heap nr=") == 1) == is_one
