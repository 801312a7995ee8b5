"""One example of each finding, with its record key."""

from datetime import UTC, date, datetime

from controller.definition.field_types import Message
from controller.messages.findings import Health, Look, RunningSequence

AT = datetime(2026, 3, 3, tzinfo=UTC)
DAY = date(2026, 3, 2)

FINDING_EXAMPLES: dict[type[Message], tuple[Message, str | None]] = {
    RunningSequence: (
        RunningSequence(experiment="oj-2026", experiment_version=1, design_hash="0" * 64, metric="units", arm="cheap",
                        method="block_sequence", alpha=0.05,
                        looks=(Look(block=0, first_day=DAY, last_day=DAY, difference=1.5, difference_se=0.5,
                                    clusters_treated=3, clusters_control=3, effect=1.5, ci_low=-0.5, ci_high=None,
                                    p=0.2, fixed_low=None, fixed_high=None, control_mean=4.0),),
                        reason_absent=None, planned_day=DAY, planned_looks=1, planned_variance=0.25, mixing=0.03,
                        decided=None, decided_on=None, blocks_left_out={"1": "washed out"}, left_out={"washout": 6},
                        cells=6, settings={"washout_days": 1}, through=DAY, watermark=AT, offsets={"0": 17},
                        revision=0, computed_at_event_time=AT, code_version="flipside 0.1.0"),
        "oj-2026/units/cheap",
    ),
    Health: (
        Health(experiment="oj-2026", experiment_version=1, design_hash="0" * 64, check="fidelity", value=0.5,
               threshold=0.95, verdict="fail", what_to_do="Ask the pricing system's owner.", evidence="3 of 6 cells",
               cells=6, left_out={}, settings={}, through=DAY, watermark=AT, offsets={"0": 17}, revision=0,
               computed_at_event_time=AT, code_version="flipside 0.1.0"),
        "oj-2026/fidelity",
    ),
}  # fmt: skip
