"""What an experiment moves. Without pydantic, so that a help text may load it."""

from typing import Literal, get_args

#: pieces, money taken, and money left when costs are paid
Metric = Literal["units", "revenue", "margin"]
METRICS: tuple[Metric, ...] = get_args(Metric)
