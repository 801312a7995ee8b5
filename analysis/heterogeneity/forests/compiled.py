"""numba's compiler, with its cache where there is a place for one.

Compiled code is kept in the folder of ``NUMBA_CACHE_DIR``, else next to the module, else in the user's cache. In a
container where none of them can be written, numba refuses to decorate at all; there each process compiles anew.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

Function = TypeVar("Function", bound=Callable[..., object])


def compiled(parallel: bool = False) -> Callable[[Function], Function]:
    """Compile a function of arrays. No fast-math: the same bits at any number of threads."""

    def decorate(function: Function) -> Function:
        made: Any
        try:
            made = njit(cache=True, parallel=parallel, nogil=True)(function)
        except RuntimeError as error:
            if "no locator" not in str(error):
                raise
            made = njit(parallel=parallel, nogil=True)(function)
        return cast(Function, made)

    return decorate
