"""The analysis of three experiments, each in markets of its own, of which the one in the struck market is struck."""

from dataclasses import dataclass, field
from typing import Any

from structlog.testing import capture_logs

from analysis.checks.live_fidelity import LiveFidelity
from analysis.panel_data.ledger import Ledger
from analysis.panel_data.market_book import Book
from analysis.worker.analyse import Finding, due, key, mark_of
from analysis.worker.pending_closings import ClosingsHeld
from analysis.worker.worker import Reading, Tally
from controller.definition.field_types import Message
from controller.messages.events import Estimate, Registered
from controller.messages.faults import SET_ASIDE
from streams.worker.metrics import AnalysisMetrics
from tests.analysis.traffic import experiment, history
from tests.chaos.faults.strikes import Strike, biting

#: the first one's markets are m00 and m01
STRUCK, OTHERS = "struck", ("second", "third")


@dataclass
class Morning:
    """What was published by key, logged and counted."""

    findings: dict[str, Finding] = field(default_factory=dict)
    log: list[Any] = field(default_factory=list)
    metrics: AnalysisMetrics = field(default_factory=AnalysisMetrics)
    struck: int = 0

    def of(self, name: str) -> dict[str, str]:
        return {key: finding.model_dump_json() for key, finding in self.findings.items() if finding.experiment == name}

    def absent(self) -> list[Estimate]:
        """Estimates that are absent because of an error that nobody foresaw."""
        return [
            f for f in self.findings.values()
            if isinstance(f, Estimate) and (f.reason_absent or "").startswith(SET_ASIDE)
        ]  # fmt: skip


class BitingBook(Book):
    """The book of a market that is struck."""

    strike: Strike

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("__") and name != "strike":
            self.strike.touch("value")
        return super().__getattribute__(name)


def morning(strike: Strike | None = None) -> Morning:
    """Everything that a worker of the analysis does with what it has read."""
    strike = strike or Strike()
    found = Morning()
    ledger, nobody = Ledger(), _nobody()
    live = LiveFidelity(ledger, lambda: 0.0)
    counted = found.metrics.put_aside
    reading = Reading(nobody, nobody, "", ledger, ClosingsHeld(), {}, Tally(), None, live, counted)
    for market in ("m00", "m01"):
        book = BitingBook.__new__(BitingBook)
        book.strike = strike
        book.__init__()  # type: ignore[misc]
        ledger.books[market] = book
    with capture_logs() as log:
        for message in traffic(strike):
            reading.fold(message)
        for _ in range(2):
            for finding in due(ledger, dict(reading.published), None, reading.aside):
                reading.published[key(finding)] = mark_of(finding)
                found.findings[key(finding)] = finding
            reading.tell_aside()
    found.log, found.struck = log, strike.times
    return found


def _nobody() -> Any:
    """No Kafka is asked."""
    return None


def traffic(strike: Strike) -> list[Message]:
    messages: list[Message] = []
    for number, name in enumerate((STRUCK, *OTHERS)):
        definition = experiment(markets=6, days=4, name=name)
        mine = definition.model_copy(update={
            "units": tuple(f"m{2 * number + m:02d}/p{p}" for m in range(2) for p in range(2)),
            "markets": definition.markets[2 * number : 2 * number + 2],
        })  # fmt: skip
        for message in history(mine):
            if name == STRUCK and isinstance(message, Registered):
                message = message.model_copy(update={"experiment": biting(message.experiment, strike)})
            messages.append(message)
    return messages
