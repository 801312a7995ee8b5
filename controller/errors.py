"""Errors, by whose fault it is: the caller of an API learns from the type alone whom to ask."""

from dataclasses import dataclass


class FlipsideError(Exception):
    """Whatever Flipside raises on purpose."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One broken rule of an input, said so that its author can mend it."""

    #: where it stands, as a path: ``arms[1].price.percent``
    field: str
    #: what was found there
    value: str
    #: the rule that it breaks
    rule: str
    #: what to write instead
    way_out: str
    #: file and line where it was read from a file; None otherwise
    where: str | None = None

    def __str__(self) -> str:
        place = "" if self.where is None else f"{self.where}: "
        return f"{place}{self.field} = {self.value}: {self.rule}; {self.way_out}"


class InvalidExperiment(FlipsideError):
    """The registrant's fault: a definition breaks one rule or several; all of them are listed."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class InvalidBlackout(InvalidExperiment):
    """The announcer's fault: a blackout breaks one rule or several; all of them are listed."""


class InvalidLines(InvalidExperiment):
    """The author's fault: lines of a catalog or of blackouts break rules; all of them are listed with their places."""


class InvalidPanel(FlipsideError):
    """The analyst's fault: a panel breaks a rule; the message names the row and the rule."""


class UnreadableMessage(FlipsideError):
    """The sender's fault: bytes that are no event of the contract; they go to the dead letters."""


class UnknownVersion(UnreadableMessage):
    """The sender's, or ours: a version of a message that this code does not know; a newer Flipside may."""


class IllegalTransition(FlipsideError):
    """Ours, or a race: an experiment in this state has no such move."""


class NotEstimable(FlipsideError):
    """The data's fault: no number can be given; the message is the reason that is published in its place."""


class NotPublished(FlipsideError):
    """The asker's: a version of the graph of substitutes that is not on its topic, or not whole there."""

    def __init__(self, rule: str, way_out: str) -> None:
        super().__init__(f"{rule}; {way_out}")
        self.rule, self.way_out = rule, way_out


class InvalidSettings(FlipsideError):
    """The operator's: settings that the brokers refuse; the message names setting, value and their answer."""


class CannotReach(FlipsideError):
    """The network's or the operator's: a part does not answer at its address; the message says what to check."""


class CannotStart(FlipsideError):
    """The machine's: a server that we start ourselves did not come up; the message ends with the tail of its log."""
