"""How many threads linear algebra gets: one where a second would cost more than it brings."""

from contextlib import AbstractContextManager, nullcontext
from functools import cache

from threadpoolctl import ThreadpoolController

#: smaller panels are fitted on one BLAS thread
CELLS_FOR_THREADS = 2_000_000


def blas_threads(cells: int) -> AbstractContextManager[object]:
    """One BLAS thread for a panel of so many cells where a second would cost more than it brings."""
    return nullcontext() if cells >= CELLS_FOR_THREADS else one_blas_thread()


def one_blas_thread() -> AbstractContextManager[object]:
    """One BLAS thread; two round differently from one."""
    limited: AbstractContextManager[object] = _controller().limit(limits=1, user_api="blas")
    return limited


@cache
def _controller() -> ThreadpoolController:
    """Looking the libraries up takes forty times as long as setting their threads, so it is done once."""
    return ThreadpoolController()
