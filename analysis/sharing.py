"""Many experiments at once: among processes of this machine (joblib), or on a cluster (Dask)."""

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

from analysis.analyse import Finding, Job, Share, findings
from analysis.running import Sums
from controller.errors import FlipsideError

#: fewer jobs than this are done at once: to hand them over would take longer
WORTH_SHARING = 8
#: parts that each process gets, so that one with long experiments does not keep the others waiting
PARTS_EACH = 4

Result = tuple[list[Finding], Sums]


def compute(jobs: list[Job]) -> list[Result]:
    """A part of the jobs, in one go."""
    return [(list(findings(job)), job.sums) for job in jobs]


def share_of(processes: int, dask: str = "") -> Share | None:
    """Who computes: None for this process, else so many processes, or the Dask scheduler at ``host:port``.

    Raises:
        FlipsideError: Dask is asked for and not installed, or does not answer.
    """
    if dask:
        client = _dask_client(dask)
        return _shared(lambda parts: iter(client.gather(client.map(compute, parts, pure=False))), 8)
    if processes < 2:
        return None

    import joblib  # not loaded where one process does it all

    def among_processes(parts: list[list[Job]]) -> Iterator[list[Result]]:
        done: Iterator[list[Result]] = joblib.Parallel(n_jobs=processes, return_as="generator", mmap_mode=None)(
            joblib.delayed(compute)(part) for part in parts
        )
        return done

    return _shared(among_processes, processes)


def _shared(run: Callable[[list[list[Job]]], Iterator[list[Result]]], processes: int) -> Share:
    def share(jobs: list[Job]) -> Iterator[Result]:
        if len(jobs) < WORTH_SHARING:
            for job in jobs:
                yield from compute([job])
            return
        size = max(1, -(-len(jobs) // (PARTS_EACH * processes)))
        for results in run([jobs[k : k + size] for k in range(0, len(jobs), size)]):
            yield from results

    return share


def _dask_client(address: str) -> Any:
    try:
        distributed = import_module("distributed")
    except ImportError as error:
        raise FlipsideError(
            f"FLIPSIDE_ANALYSIS_DASK is {address}, but Dask is not installed: pip install 'dask[distributed]' here and"
            " on its workers, or leave the setting out and set FLIPSIDE_ANALYSIS_PROCESSES"
        ) from error
    try:
        return distributed.Client(address, timeout="10s")
    except (OSError, TimeoutError) as error:
        raise FlipsideError(f"no Dask scheduler answers at {address}: {error}") from error
