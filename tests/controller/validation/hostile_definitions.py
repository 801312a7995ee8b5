"""Definitions that are wrong: one for each way in which somebody, or somebody hostile, might get one wrong."""

from typing import Any

SWITCHBACK = {"kind": "blocked_switchback", "block_days": 4, "burn_in_days": 1}
CROSSOVER = {"kind": "crossover", "washout_days": 2}
TRIGGERED = {"kind": "triggered", "rule": {"kind": "price_drop", "share": 0.1}, "treatment_days": 3}
ROLLOUT = {"kind": "staggered_rollout", "steps": [{"day": 2, "share": 0.5}]}
B = {"name": "b"}
ARMS = [{"name": "control"}, {"name": "cheap", "price": {"percent": -10}}]


def phases(first: int, days: int, second: int, more: int) -> dict[str, Any]:
    return CROSSOVER | {"phases": [{"first_day": first, "days": days}, {"first_day": second, "days": more}]}


def shares(*values: object) -> list[dict[str, Any]]:
    return [{"name": f"a{k}", "share": value} for k, value in enumerate(values)]


#: what is wrong -> (changes to a sound definition, a field that must be named, words that must be said)
HOSTILE: dict[str, tuple[dict[str, Any], str, str]] = {
    "name with a space": ({"name": "oj 2026"}, "name", "letters, digits"),
    "name with a slash": ({"name": "../../etc"}, "name", "letters, digits"),
    "empty name": ({"name": ""}, "name", "letters, digits"),
    "name of 65 letters": ({"name": "x" * 65}, "name", "64"),
    "Cyrillic o in the name": ({"name": "\u043ej-2026"}, "name", "U+043E CYRILLIC SMALL LETTER O"),
    "Greek letter in a unit": ({"units": ["m0/\u03c10", "m0/p1"]}, "units[0]", "GREEK SMALL LETTER RHO"),
    "invisible space in a unit": ({"units": ["m0/p0\u200b", "m0/p1"]}, "units[0]", "ZERO WIDTH SPACE"),
    "full-width digit in a unit": ({"units": ["m0/p\uff10", "m0/p1"]}, "units[0]", "FULLWIDTH DIGIT ZERO"),
    "unit without a market": ({"units": ["p0", "p1"]}, "units[0]", "market/product"),
    "unit with two slashes": ({"units": ["a/b/c", "m0/p1"]}, "units[0]", "market/product"),
    "units as a number": ({"units": 10**12}, "units", "a list"),
    "units as a text": ({"units": "m0/p0"}, "units", "a list"),
    "duplicate units": ({"units": ["m0/p0", "m0/p0", "m0/p1"]}, "units", "named once"),
    "no units": ({"units": []}, "units", "needs units"),
    "one unit": ({"units": ["m0/p0"]}, "clusters", "at least two clusters"),
    "units and a filter": ({"select": {"markets": ["m0"]}}, "select", "not both"),
    "a filter that takes nothing": ({"units": [], "select": {"markets": ["nowhere"]}}, "units", "widen"),
    "unknown unit": ({"units": ["m0/p0", "m0/p1", "m7/p7"]}, "units", "catalog"),
    "currency in small letters": ({"currency": "usd"}, "currency", "ISO 4217"),
    "currency as a sign": ({"currency": "$"}, "currency", "ISO 4217"),
    "one arm": ({"arms": ARMS[:1]}, "arms", "at least 2"),
    "seventeen arms": ({"arms": [{"name": f"a{k}"} for k in range(17)]}, "arms", "at most 16"),
    "arms of one name": ({"arms": [ARMS[0], ARMS[0]]}, "arms", "different names"),
    "percent and absolute": (
        {"arms": [ARMS[0], B | {"price": {"percent": 1, "absolute_minor": 1}}]},
        "arms[1].price",
        "not both",
    ),
    "a price of minus all": (
        {"arms": [ARMS[0], B | {"price": {"percent": -100}}]},
        "arms[1].price.percent",
        "-100",
    ),
    "a negative price": (
        {"arms": [ARMS[0], B | {"price": {"absolute_minor": -1}}]},
        "arms[1].price.absolute_minor",
        "at least 0",
    ),
    "a price in fractions of a cent": (
        {"arms": [ARMS[0], B | {"price": {"absolute_minor": 2.5}}]},
        "arms[1].price.absolute_minor",
        "whole number",
    ),
    "percent that is no number": (
        {"arms": [ARMS[0], B | {"price": {"percent": "ten"}}]},
        "arms[1].price.percent",
        "a number",
    ),
    "below the floor": (
        {"arms": [ARMS[0], B | {"price": {"percent": -90}}]},
        "arms[1].price.percent",
        "below the floor",
    ),
    "shares that sum to less": ({"arms": shares(0.5, 0.4)}, "arms.share", "sum to one"),
    "shares that sum to more": ({"arms": shares("1/2", "2/3")}, "arms.share", "7/6"),
    "thirds in decimals": ({"arms": shares(0.333, 0.333, 0.333)}, "arms.share", "'1/3'"),
    "a share of nothing": ({"arms": shares(0, 1)}, "arms[0].share", "more than 0"),
    "a share above one": ({"arms": shares(1.5, 0.5)}, "arms[0].share", "at most 1"),
    "a share by zero": ({"arms": shares("1/0", "1/2")}, "arms[0].share", "1/3"),
    "one share missing": (
        {"arms": [{"name": "a", "share": 0.5}, {"name": "b"}]},
        "arms.share",
        "all arms name a share",
    ),
    "zero days": ({"days": 0}, "days", "at least 1"),
    "a trillion days": ({"days": 10**12}, "days", "at most 3660"),
    "days beyond all integers": ({"days": 10**400}, "days", "at most 3660"),
    "days as a text": ({"days": "14"}, "days", "whole number"),
    "days as true": ({"days": True}, "days", "whole number"),
    "the 30th of February": ({"start": "2026-02-30"}, "start", "YYYY-MM-DD"),
    "start as an instant": ({"start": "2026-03-02T10:00:00Z"}, "start", "YYYY-MM-DD"),
    "start as a number": ({"start": 20260302}, "start", "YYYY-MM-DD"),
    "start in the year 9999": ({"start": "9999-12-31"}, "start", "2200-01-01"),
    "start in the past": ({"start": "2025-01-01"}, "start", "start after"),
    "no such design": ({"design": {"kind": "guess"}}, "design", "time_bound"),
    "design without a kind": ({"design": {"washout_days": 1}}, "design", "kind"),
    "a parameter of another design": (
        {"design": {"kind": "time_bound", "burn_in_days": 1}},
        "design.burn_in_days",
        "no such field",
    ),
    "m as long as the experiment": (
        {"carryover_order": 14, "design": SWITCHBACK},
        "carryover_order",
        "smaller than the number of days",
    ),
    "random days with carryover": ({"carryover_order": 1}, "carryover_order", "m = 0"),
    "phases that overlap": ({"design": phases(1, 8, 7, 8)}, "design.phases", "after the first has ended"),
    "phases in the wrong order": ({"design": phases(8, 7, 1, 7)}, "design.phases", "after the first has ended"),
    "phase from day 0": ({"design": phases(0, 7, 8, 7)}, "design.phases[0].first_day", "at least 1"),
    "phases beyond the end": ({"design": phases(1, 7, 8, 70)}, "design.phases", "day 14"),
    "washout longer than the phase": (
        {"design": CROSSOVER | {"washout_days": 7}},
        "design.washout_days",
        "shorter than a phase",
    ),
    "washout shorter than carryover": (
        {"design": CROSSOVER, "carryover_order": 3},
        "design.washout_days",
        "carryover order",
    ),
    "crossover of odd days": ({"design": CROSSOVER, "days": 13}, "days", "equal length"),
    "crossover of three arms": ({"design": CROSSOVER, "arms": [{"name": n} for n in "abc"]}, "arms", "two arms"),
    "blocks by length and points": ({"design": SWITCHBACK | {"points": [1, 5]}}, "design.points", "one of them"),
    "points that go back": (
        {"design": {"kind": "blocked_switchback", "points": [1, 9, 5]}},
        "design.points",
        "increase",
    ),
    "points without the first day": (
        {"design": {"kind": "blocked_switchback", "points": [2, 5]}},
        "design.points",
        "begin with 1",
    ),
    "an optimum that nobody published": (
        {"design": {"kind": "blocked_switchback", "points": "optimal"}, "carryover_order": 3},
        "design.points",
        "n x m days",
    ),
    "burn-in as long as a block": (
        {"design": SWITCHBACK | {"burn_in_days": 4}},
        "design.burn_in_days",
        "shortest block",
    ),
    "steps that go back": (
        {"design": {"kind": "staggered_rollout", "steps": [{"day": 5, "share": 0.5}, {"day": 3, "share": 0.7}]}},
        "design.steps.day",
        "grows",
    ),
    "steps that shrink": (
        {"design": {"kind": "staggered_rollout", "steps": [{"day": 3, "share": 0.5}, {"day": 5, "share": 0.2}]}},
        "design.steps.share",
        "grows",
    ),
    "a step after the end": (
        {"design": {"kind": "staggered_rollout", "steps": [{"day": 99, "share": 0.5}]}},
        "design.steps.day",
        "number of days",
    ),
    "no such trigger": ({"design": TRIGGERED | {"rule": {"kind": "full_moon"}}}, "design.rule", "price_drop"),
    "treatment longer than the experiment": (
        {"design": TRIGGERED | {"treatment_days": 99}},
        "design.treatment_days",
        "number of days",
    ),
    "triggered clusters over markets": ({"design": TRIGGERED, "clusters": "product"}, "clusters", "one market"),
    "a cluster that is empty": ({"clusters": {"a": ["m0/p0"], "b": []}}, "clusters", "at least one unit"),
    "clusters of no known sort": ({"clusters": "colour"}, "clusters", "market"),
    "clusters as a number": ({"clusters": 7}, "clusters", "one of"),
    "a seed with a newline": ({"seed": "7\n8"}, "seed", "letters, digits"),
    "a seed that is a number": ({"seed": 7}, "seed", "a text"),
    "a commitment as a seed": ({"seed": "sha256." + "0" * 64}, "seed", "the seed itself"),
    "lead of no time": ({"lead_minutes": 0}, "lead_minutes", "at least 1"),
    "lead of two days": ({"lead_minutes": 2880}, "lead_minutes", "at most 1439"),
    "a misspelled field": ({"carry_over_order": 2}, "carry_over_order", "did you mean `carryover_order`?"),
    "a covariate that is no number": (
        {"balance": {"covariates": {"m0/p0": ["a lot"]}}},
        "balance.covariates.m0/p0[0]",
        "number",
    ),
    "covariates for some": (
        {"balance": {"strata": "covariates", "covariates": {"m0/p0": [1.0]}}},
        "balance.covariates",
        "every cluster",
    ),
    "strata with a stranger": ({"balance": {"strata": {"a": ["m0/p0", "m9/p9"]}}}, "balance.strata", "this experiment"),
    "alpha of one": ({"guardrails": [{"metric": "units", "alpha": 1.0}]}, "guardrails[0].alpha", "less than 0.5"),
    "a guardrail on luck": ({"guardrails": [{"metric": "luck"}]}, "guardrails[0].metric", "units"),
    "a limit of one change": ({"limits": {"max_changes_a_week": 1}}, "limits.max_changes_a_week", "at least 2"),
    "weekdays over half a cycle": (
        {"design": {"kind": "random_days", "weekday_balance": True}, "days": 21},
        "days",
        "multiple of 14",
    ),
    "weekdays of unequal shares": (
        {"design": {"kind": "random_days", "weekday_balance": True}, "arms": shares(0.25, 0.75)},
        "arms.share",
        "equal shares",
    ),
    "crossover of unequal shares": ({"design": CROSSOVER, "arms": shares(0.25, 0.75)}, "arms.share", "equal shares"),
    "a switchback of one block": ({"design": SWITCHBACK | {"block_days": 14}}, "design.block_days", "two blocks"),
    "burn-in shorter than carryover": (
        {"design": SWITCHBACK, "carryover_order": 2},
        "design.burn_in_days",
        "carryover order",
    ),
    "a roll-out of three arms": ({"design": ROLLOUT, "arms": [{"name": n} for n in "abc"]}, "arms", "two arms"),
    "a roll-out beyond everyone": (
        {"design": ROLLOUT | {"steps": [{"day": 2, "share": "3/2"}]}},
        "design.steps.share",
        "at most 1",
    ),
    "uneven steps in strata": (
        {
            "design": ROLLOUT | {"steps": [{"day": 2, "share": 0.1}, {"day": 5, "share": 0.5}]},
            "balance": {"strata": {"a": ["m0/p0", "m0/p1", "m0/p2"], "b": ["m1/p0", "m1/p1", "m1/p2"]}},
        },
        "balance.strata",
        "even the steps out",
    ),
    "a quorum of three halves": ({"design": TRIGGERED | {"quorum": "3/2"}}, "design.quorum", "at most 1"),
    "triggered in strata": (
        {"design": TRIGGERED, "balance": {"strata": {"a": ["m0/p0"]}}},
        "balance",
        "one by one",
    ),
    "strata of three unequal arms": (
        {"arms": shares(0.5, 0.25, 0.25), "balance": {"strata": {"a": ["m0/p0"]}}},
        "balance.strata",
        "two arms or equal shares",
    ),
    "covariates of two lengths": (
        {"balance": {"covariates": {"m0/p0": [1.0], "m0/p1": [1.0, 2.0]}}},
        "balance.covariates",
        "as many for each cluster",
    ),
}
