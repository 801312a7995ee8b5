"""What a check says."""

from dataclasses import dataclass
from typing import Literal

#: "pass": nothing found; "warn": read the estimate with care; "fail": do not rely on it; "unknown": not checkable yet
Verdict = Literal["pass", "warn", "fail", "unknown"]


@dataclass(frozen=True, slots=True)
class Check:
    """One assumption, what was measured, where the line lies, and what to do about it."""

    name: str
    #: None where nothing could be measured; the evidence then says why
    value: float | None
    threshold: float
    verdict: Verdict
    #: the next step of the person who reads this
    what_to_do: str
    #: the figures behind the value, in a sentence
    evidence: str


def unknown(name: str, threshold: float, reason: str) -> Check:
    """A check that cannot be made yet, with its reason: never a made-up pass."""
    return Check(name, None, threshold, "unknown", "Nothing to do until it can be measured.", reason)
