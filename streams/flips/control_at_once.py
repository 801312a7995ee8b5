"""Control at once: units let go of their arms without waiting for a boundary."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from controller.decisions.decide import Flip, release_now
from controller.decisions.roster import Roster
from controller.messages.inputs import CatalogEntry
from streams.flips.decision_records import Step, withheld
from streams.flips.shard import Shard, key_of_plan
from streams.worker.services import Parts


async def put_on_control(
    parts: Parts,
    shard: Shard,
    laid_out: Roster,
    market: str,
    at: datetime,
    why: str,
    catalog: Mapping[str, CatalogEntry],
) -> Step:
    """Put a market's units on control from the instant of a tick on. Raises Fenced.

    ``catalog``: prices the arms.
    """
    key = key_of_plan(laid_out, market)
    flip = because(release_now(laid_out, market, at, catalog), why)
    outcome = await parts.store.flip(shard.number, shard.epoch, flip, shard.remember)
    shard.relay.wake()
    # In memory at once, so that nothing more is decided for it by this tick.
    shard.plans[key] = plan = replace(shard.plan(laid_out, market), released=True)
    parts.metrics.flips.labels("at once").inc(outcome.flips)
    parts.log.warning("control at once", experiment=flip.experiment, market=market, flips=outcome.flips, reason=why)
    return Step({key: plan}, withheld(flip, outcome))


def because(flip: Flip, detail: str) -> Flip:
    """A flip that says why."""
    return replace(flip, proposals=tuple(replace(proposal, detail=detail) for proposal in flip.proposals))
