"""A worker in which an error that nobody foresaw is planted: the product's own composition, its store struck.

``python -m tests.chaos.faults.struck_worker NAME``, settings in FLIPSIDE_*; STRUCK_PLACE and STRUCK_CALL name the
place, see `tests.chaos.faults.strikes`; without them it is a worker like any other.
"""

import os
import sys
from dataclasses import replace
from typing import Any

from flipside.serve import serve
from streams.app import run_worker
from streams.runtime.settings import Settings
from streams.worker.services import Parts
from tests.chaos.faults.strikes import BitingPort, Strike


def main() -> None:
    name, settings = sys.argv[1], Settings(worker_id=sys.argv[1])
    strike = Strike(os.environ.get("STRUCK_PLACE", ""), os.environ.get("STRUCK_CALL", ""))

    def fitted(parts: Parts) -> Parts:
        store: Any = BitingPort(parts.store, strike)
        return replace(parts, store=store)

    serve(settings, lambda stop: run_worker(settings, name, stop, fitted=fitted))


if __name__ == "__main__":
    main()
