"""What the analysis says of an experiment with a guardrail."""

from datetime import timedelta
from typing import Any

from controller.definition.experiment import Experiment, design_hash
from controller.messages.findings import Look, RunningSequence
from tests.controller.builders import START


def sequence(experiment: Experiment, differences: list[float], se: float = 1.0, /, **changes: Any) -> RunningSequence:
    """Looks with these differences, one a day; planned for ten blocks of variance 1."""
    looks = tuple(
        Look(
            block=k, first_day=START + timedelta(days=k), last_day=START + timedelta(days=k), difference=difference,
            difference_se=se, clusters_treated=5, clusters_control=5, effect=0.0, ci_low=None, ci_high=None, p=None,
            fixed_low=None, fixed_high=None, control_mean=None,
        )
        for k, difference in enumerate(differences)
    )  # fmt: skip
    said: dict[str, Any] = {
        "experiment": experiment.name, "experiment_version": experiment.version,
        "design_hash": design_hash(experiment), "metric": "units", "arm": "cheap", "method": "block_sequence",
        "alpha": 0.05, "looks": looks, "reason_absent": None, "planned_day": experiment.end, "planned_looks": 10,
        "planned_variance": 10.0, "mixing": 1.0, "decided": None, "decided_on": None, "blocks_left_out": {},
        "left_out": {}, "cells": 0, "settings": {}, "through": None, "watermark": None, "offsets": {}, "revision": 0,
        "computed_at_event_time": None, "code_version": "test",
    } | changes  # fmt: skip
    return RunningSequence(**said)
