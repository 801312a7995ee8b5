"""Many experiments at once: among processes of this machine (joblib), or on a cluster (Dask)."""

import copyreg
import gc
import pickle
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from functools import lru_cache
from importlib import import_module
from typing import Any

from analysis.sequential.running_sequences import Sums
from analysis.worker.analyse import Finding, Job, Share, findings
from controller.decisions.roster import Roster
from controller.errors import FlipsideError
from controller.messages.faults import Fault, fault_of

#: fewer jobs than this are done at once: to hand them over would take longer
WORTH_SHARING = 8
#: parts that each process gets, so that one with long experiments does not keep the others waiting
PARTS_EACH = 8

#: Dask's workers come and go; with so many in mind the jobs are divided
DASK_PROCESSES = 8
#: how long a Dask scheduler may take to answer, and its first worker to be there
DASK_SECONDS = 10.0

#: rosters that a process remembers
ROSTERS = 4096

Result = tuple[list[Finding] | Fault, Sums]


def compute(jobs: list[Job]) -> list[Result]:
    """A part of the jobs, in one go."""
    return [(_computed(job), job.sums) for job in jobs]


def _computed(job: Job) -> list[Finding] | Fault:
    """What fails with an unforeseen error is this experiment's fault, unless the machine is out of memory."""
    try:
        return list(findings(job))
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - one experiment is set aside, the others go on
        return fault_of(error)


def compute_elsewhere(jobs: bytes) -> bytes:
    """The same in another process. Spelled here: what joblib and Dask pickle with takes half as long again."""
    with _no_cycles():
        return pickle.dumps(compute(pickle.loads(jobs)), pickle.HIGHEST_PROTOCOL)


@contextmanager
def _no_cycles() -> Iterator[None]:
    """A part makes many thousand values and hardly a cycle: these are looked for once it is done."""
    looking = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if looking:
            gc.enable()


def share_of(processes: int, dask: str = "", dask_seconds: float = DASK_SECONDS) -> Share | None:
    """Who computes: None for this process, else so many processes, or the Dask scheduler at ``host:port``.

    Raises:
        FlipsideError: Dask is asked for and not installed, does not answer or has no worker. What is returned raises
            it too, once the scheduler is gone.
    """
    if dask:
        return _shared(_among_dask_workers(dask, dask_seconds), DASK_PROCESSES)
    if processes < 2:
        return None

    import joblib  # not loaded where one process does it all

    def among_processes(parts: Iterator[bytes]) -> Iterator[bytes]:
        done: Iterator[bytes] = joblib.Parallel(n_jobs=processes, return_as="generator", batch_size=1)(
            joblib.delayed(compute_elsewhere)(part) for part in parts
        )
        return done

    return _shared(among_processes, processes)


def _shared(run: Callable[[Iterator[bytes]], Iterator[bytes]], processes: int) -> Share:
    def share(jobs: list[Job]) -> Iterator[Result]:
        if len(jobs) < WORTH_SHARING:
            for job in jobs:
                yield from compute([job])
            return
        size = max(1, -(-len(jobs) // (PARTS_EACH * processes)))
        # one after the other: the first ones are at work while the next are spelled
        parts = (pickle.dumps(jobs[k : k + size], pickle.HIGHEST_PROTOCOL) for k in range(0, len(jobs), size))
        for results in run(parts):
            with _no_cycles():
                read = pickle.loads(results)
            yield from read

    return share


def _among_dask_workers(address: str, seconds: float) -> Callable[[Iterator[bytes]], Iterator[bytes]]:
    client = _dask_client(address, seconds)

    # A client that has noticed the loss first refuses new parts with an error of its own.
    gone: tuple[type[BaseException], ...] = (
        OSError,
        CancelledError,
        import_module("distributed.client").ClosedClientError,
    )

    def run(parts: Iterator[bytes]) -> Iterator[bytes]:
        try:
            # Not pure: otherwise the scheduler would hash every part to find out whether it knows the result.
            futures = deque(client.submit(compute_elsewhere, part, pure=False) for part in parts)
            while futures:
                result: bytes = futures.popleft().result()
                yield result
        except gone as error:
            raise FlipsideError(
                f"the Dask scheduler at {address} went away before all experiments were computed ({error}):"
                " start it and its workers again, then the analysis, which continues from what it has published"
            ) from error

    return run


def _dask_client(address: str, seconds: float) -> Any:
    try:
        distributed = import_module("distributed")
    except ImportError as error:
        raise FlipsideError(
            f"FLIPSIDE_ANALYSIS_DASK is {address}, but Dask is not installed: pip install 'dask[distributed]' here and"
            " on its workers, or leave the setting out and set FLIPSIDE_ANALYSIS_PROCESSES"
        ) from error
    try:
        client = distributed.Client(address, timeout=seconds)
    except (OSError, ValueError) as error:
        raise FlipsideError(
            f"FLIPSIDE_ANALYSIS_DASK is {address}, and no Dask scheduler answers there ({error}): start one with"
            " `dask scheduler`, or leave the setting out"
        ) from error
    try:
        client.wait_for_workers(1, timeout=seconds)
    except TimeoutError as error:
        client.close()
        raise FlipsideError(
            f"the Dask scheduler at {address} has no worker after {seconds:g} s: start some with `dask worker"
            f" {address} --nworkers 4 --nthreads 1`, each where Flipside is installed"
        ) from error
    return client


#: id of a roster -> it, so that the id stays its own, and its spelling
_SPELLED: dict[int, tuple[Roster, bytes]] = {}


def _spelled(roster: Roster) -> tuple[Callable[[bytes], Roster], tuple[bytes]]:
    """A roster is spelled once, and read once by each process: it goes out with every refresh and never changes."""
    held = _SPELLED.get(id(roster))
    if held is None:
        fields = tuple(getattr(roster, name) for name in Roster.__slots__)
        held = _SPELLED[id(roster)] = roster, pickle.dumps(fields, pickle.HIGHEST_PROTOCOL)
    return _read, (held[1],)


@lru_cache(maxsize=ROSTERS)
def _read(spelling: bytes) -> Roster:
    return Roster(*pickle.loads(spelling))


copyreg.pickle(Roster, _spelled)
