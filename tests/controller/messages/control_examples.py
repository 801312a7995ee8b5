"""One message of each kind that controls a running experiment, with its record key."""

from datetime import UTC, datetime

from controller.definition.field_types import Message
from controller.messages.control import (
    CatalogActed,
    Entered,
    GuardrailBreached,
    Kill,
    LifecycleChanged,
    LifecycleRequest,
    LimitKept,
    SeedRevealed,
    SetAside,
    TriggerFired,
    TriggerIgnored,
)
from tests.controller.builders import START

AT = datetime(2026, 3, 1, 5, tzinfo=UTC)

CONTROL_EXAMPLES: dict[type[Message], tuple[Message, str]] = {
    LifecycleRequest: (
        LifecycleRequest(id="l1", experiment="x", action="pause", role="owner", who="ada", why="sale", requested_at=AT),
        "x/request",
    ),
    LifecycleChanged: (
        LifecycleChanged(id="l1", experiment="x", experiment_version=1, action="pause", from_state="running",
                         to_state="paused", frozen=False, role="owner", who="ada", why="sale", changed_at=AT),
        "x",
    ),
    Kill: (Kill(id="k1", scope="market", name="m0", who="ada", why="wrong prices", requested_at=AT), "kill/k1"),
    TriggerFired: (
        TriggerFired(id="x.1/m0~p1/e1", experiment="x", experiment_version=1, market="m0", cluster="m0/p1",
                     unit="m0/p1", competitor="rival", event="e1", rule="price_drop", observed_at=AT),
        "m0",
    ),
    Entered: (
        Entered(id="t/entry", experiment="x", experiment_version=1, design_hash="0" * 64, market="m0", cluster="m0/p1",
                ordinal=0, arm="cheap", trigger="t", triggered_at=AT, starts_at=AT, first_day=START, end_day=START,
                decided_at=AT),
        "x/m0",
    ),
    TriggerIgnored: (
        TriggerIgnored(id="t/ignored", experiment="x", experiment_version=1, market="m0", cluster="m0/p1", trigger="t",
                       triggered_at=AT, reason="stale", detail="2:00:00 old", decided_at=AT),
        "x/m0",
    ),
    GuardrailBreached: (
        GuardrailBreached(id="g", experiment="x", experiment_version=1, design_hash="0" * 64, metric="units",
                          arm="cheap", upper_limit=-0.2, tolerance=0.1, alpha=0.05, blocks=9, on_breach="revert",
                          breached_at=AT),
        "x/units",
    ),
    LimitKept: (
        LimitKept(id="lk", experiment="x", experiment_version=1, unit="m0/p1", day=START, planned_arm="cheap",
                  price_minor=270, rule="no price is below the floor", bound_minor=280, decided_at=AT),
        "m0/p1",
    ),
    CatalogActed: (
        CatalogActed(id="ca", experiment="x", experiment_version=1, unit="m0/p1", changes=("delisted",), action="drop",
                     reason="delisted", decided_at=AT),
        "m0/p1",
    ),
    SeedRevealed: (
        SeedRevealed(id="sr", experiment="x", experiment_version=1, design_hash="0" * 64, seed="rosebud",
                     revealed_at=AT),
        "x",
    ),
    SetAside: (
        SetAside(id="0/7/closing/m0/", market="m0", duty="closing", place="streams.closing.day_close:Closing._row",
                 error="KeyError: 'm0/p1'", shard=0, epoch=7, worker="w1", set_aside_at=AT),
        "m0",
    ),
}  # fmt: skip
