"""What was read of one market: sales, assignments, reports, stock, rivals' prices and closings."""

from dataclasses import dataclass, field
from datetime import date

from analysis.panel_data.assignment_columns import FOREVER, Holds
from analysis.panel_data.sales_columns import Rows
from controller.messages.events import PeriodClosed


@dataclass(slots=True)
class Book:
    """What was read of one market."""

    rows: Rows = field(default_factory=Rows)
    assignments: Holds = field(default_factory=Holds)
    #: arms that pricing systems said they show
    reports: Holds = field(default_factory=Holds)
    #: EMPTY or FULL, as the catalog said
    stock: Holds = field(default_factory=Holds)
    #: the hours in which a rival's price was seen
    rivals: Holds = field(default_factory=Holds)
    #: day -> its latest closing
    closings: dict[date, PeriodClosed] = field(default_factory=dict)
    closed_through: date = date.min
    #: closed days whose rows have not all been read
    unmet: set[date] = field(default_factory=set)
    #: what was read since the studies were told: days of rows and closings, and the first instant of anything else
    days_changed: set[date] = field(default_factory=set)
    changed_from: int = FOREVER
