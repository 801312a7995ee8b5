"""The invariants, judged on the evidence of a run. Written apart from the product: own murmur2, own draw, own folds.

Each rule returns what breaks it, one sentence a case. `RULES` names them all.
"""

from collections.abc import Callable

from tests.chaos.evidence.evidence import Evidence
from tests.chaos.rules.decisions import ahead, at_rest, boundary, draw, once, one_writer, planned, same_everywhere
from tests.chaos.rules.prices import as_announced, blackout, fail_safe, one_price
from tests.chaos.rules.sales import dead_letters, sales_doubled, sales_lost

Rule = Callable[[Evidence], list[str]]

RULES: dict[str, Rule] = {
    "one price": one_price,
    "as announced": as_announced,
    "fail safe": fail_safe,
    "blackout": blackout,
    "planned": planned,
    "at rest": at_rest,
    "ahead": ahead,
    "boundary": boundary,
    "once": once,
    "one writer": one_writer,
    "draw": draw,
    "same everywhere": same_everywhere,
    "sales lost": sales_lost,
    "sales doubled": sales_doubled,
    "dead letters": dead_letters,
}


def judge(evidence: Evidence) -> dict[str, list[str]]:
    """What breaks each rule; empty lists where all is well."""
    return {name: rule(evidence) for name, rule in RULES.items()}
