"""Running many refits: on how many processes, and telling a progress bar."""

from collections.abc import Callable, Iterable
from typing import TypeVar

import joblib
from threadpoolctl import threadpool_limits

Item = TypeVar("Item")
Result = TypeVar("Result")
#: called with the number of replications finished since the last call
Progress = Callable[[int], None]


def silent(_: int) -> None:
    """No progress bar."""


def replicate(
    function: Callable[[Item], Result], items: Iterable[Item], jobs: int = 1, progress: Progress = silent
) -> list[Result]:
    """Apply ``function`` to each item, in order, each with one BLAS thread.

    Chance belongs in the items (indices or seeds drawn beforehand): then the result does not depend on ``jobs``.
    A joblib backend that is set by the caller (Dask by address, say) is honoured when ``jobs`` is not 1.
    """
    if jobs == 1:
        results = []
        with threadpool_limits(1):
            for item in items:
                results.append(function(item))
                progress(1)
        return results
    done: list[Result] = []
    for result in joblib.Parallel(n_jobs=jobs, return_as="generator")(
        joblib.delayed(_single_threaded)(function, item) for item in items
    ):
        done.append(result)
        progress(1)
    return done


def _single_threaded(function: Callable[[Item], Result], item: Item) -> Result:
    with threadpool_limits(1):
        return function(item)
