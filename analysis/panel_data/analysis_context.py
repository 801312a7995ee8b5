"""What one step of an experiment's analysis rests on, and the words that every published number carries of it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.panel_data.study import METRICS, Metric, UnitDays
from analysis.panel_data.substitutes import NoGraph, Substitutes
from controller.decisions.roster import Roster
from controller.designs.entries import Entry
from controller.messages.events import PeriodClosed

__all__ = ["CODE_VERSION", "CONFIDENCE", "METRICS", "Case", "Metric"]

CONFIDENCE = 0.95
CODE_VERSION = f"flipside {version('flipside')}"


@dataclass(frozen=True)
class Case:
    """The unit-days of an experiment up to a closed day, and what was read beside them."""

    roster: Roster
    #: in the order of the columns
    units: tuple[str, ...]
    days: UnitDays
    through: date
    revision: int
    #: the closing that stands on ``through`` in each market
    standing: tuple[PeriodClosed, ...]
    #: seconds from midnight to each change that took a unit to its arm
    lags: NDArray[np.float32]
    #: of a triggered design, who has entered
    entries: tuple[Entry, ...]
    #: day and cluster of each trigger
    triggers: tuple[tuple[date, str], ...]
    #: unit -> category, where the catalog names one
    categories: Mapping[str, str]
    #: the published graph of substitutes, or why it cannot be used; None where there is none
    substitutes: Substitutes | NoGraph | None = None

    def until(self, day: date, revision: int, standing: tuple[PeriodClosed, ...]) -> "Case":
        """The case as it stood on an earlier day, on what is known now."""
        return replace(self, days=self.days.until(day), through=day, revision=revision, standing=standing)

    @cached_property
    def words(self) -> dict[str, Any]:
        """Experiment, design hash, watermark, offsets, revision and code: on every message."""
        watermark = min((closing.watermark for closing in self.standing), default=None)
        partitions = sorted({partition for closing in self.standing for partition in closing.offsets})
        return {
            "experiment": self.roster.experiment.name,
            "experiment_version": self.roster.experiment.version,
            "design_hash": self.roster.design_hash,
            "through": self.through,
            "watermark": watermark,
            # per sale partition, the offset before which everything is counted in every market
            "offsets": {
                partition: min(one.offsets[partition] for one in self.standing if partition in one.offsets)
                for partition in partitions
            },
            "revision": self.revision,
            "computed_at_event_time": watermark,
            "code_version": CODE_VERSION,
        }
