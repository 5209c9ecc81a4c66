"""Where the commands begin. Until they have been imported, an interrupt ends them as it ends any program: without a traceback."""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
from importlib import import_module

# In bf16 on a CPU, torch keeps a compiled product for each length of input, .7 MB each and 1,024 of them in each thread, so that
# a server grows by 750 MB within hours. To compile one again takes .3 ms.
_COMPILED_PRODUCTS = "64"


def start(module: str) -> None:
    """Import a command's module, which takes a moment, and run its `main`."""
    for name in ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"):  # torch reads both before its first product
        os.environ.setdefault(name, _COMPILED_PRODUCTS)
    own = (
        signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )  # else the caller wants interrupts to be ignored
    if own:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    # The last collection would look at each object of the libraries, for up to 2 s; the process ends and frees them all.
    atexit.register(gc.freeze)
    command = import_module(module)
    if own:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        command.main()
    except KeyboardInterrupt:
        sys.exit("Aborted!")
    finally:
        if own:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # while Python takes itself down


def main() -> None:
    """Run memgpt-rag."""
    start("memgpt_rag.cli.main")


if __name__ == "__main__":
    main()
