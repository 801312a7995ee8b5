"""One thread of linear algebra: products of a forest's size gain nothing from two, and two round differently."""

from contextlib import AbstractContextManager
from functools import cache

from threadpoolctl import ThreadpoolController


def one_blas_thread() -> AbstractContextManager[object]:
    """Linear algebra of this process on one thread."""
    limited: AbstractContextManager[object] = _controller().limit(limits=1, user_api="blas")
    return limited


@cache
def _controller() -> ThreadpoolController:
    """The libraries are looked up once: that takes forty times as long as setting their threads."""
    return ThreadpoolController()
