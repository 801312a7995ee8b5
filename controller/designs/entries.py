"""An entry: a cluster's start under a triggered design."""

from dataclasses import dataclass
from datetime import date, datetime


@dataclass(frozen=True, slots=True)
class Entry:
    """A cluster entered because of a trigger; its arm was fixed before."""

    cluster: str
    market: str
    #: 0 for the cluster's first entry, then counting up
    ordinal: int
    #: index of the arm
    arm: int
    #: id of the trigger
    trigger: str
    triggered_at: datetime
    #: the first instant of the entry
    starts_at: datetime
    #: local days [first_day, end_day)
    first_day: date
    end_day: date
