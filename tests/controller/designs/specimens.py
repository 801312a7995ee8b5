"""One design of each kind."""

from typing import Any

RULE = {"kind": "price_drop", "share": "1/10"}
SPECIMENS: dict[str, dict[str, Any]] = {
    "random_days": {},
    "random_days, weekdays balanced": {"design": {"kind": "random_days", "weekday_balance": True}, "days": 28},
    "time_bound": {"design": {"kind": "time_bound", "washout_days": 2}},
    "crossover": {"design": {"kind": "crossover", "washout_days": 3}},
    "crossover with a gap": {
        "design": {
            "kind": "crossover",
            "washout_days": 1,
            "phases": ({"first_day": 1, "days": 5}, {"first_day": 8, "days": 7}),
        }
    },
    "blocked_switchback": {
        "design": {"kind": "blocked_switchback", "block_days": 4, "burn_in_days": 2},
        "carryover_order": 2,
    },
    "blocked_switchback, optimal": {
        "design": {"kind": "blocked_switchback", "points": "optimal"},
        "carryover_order": 2,
    },
    "staggered_rollout": {
        "design": {
            "kind": "staggered_rollout",
            "steps": ({"day": 3, "share": "1/3"}, {"day": 6, "share": "2/3"}, {"day": 10, "share": "5/6"}),
            "washout_days": 2,
        }
    },
    "triggered": {"design": {"kind": "triggered", "rule": RULE, "treatment_days": 5}},
}
