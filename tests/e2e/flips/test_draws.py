"""The arms can be drawn again by anyone: from the published definition, with SHA-256 and nothing of ours."""

import hashlib
import json
import subprocess
import sys
from datetime import date
from fractions import Fraction
from math import floor
from typing import Any

import pytest

from controller.messages.topics import ASSIGNMENT_LOG
from tests.e2e.eventful import DAYS, PRODUCTS, STORES, Outcome

pytestmark = pytest.mark.broker

IN_ANOTHER_PROCESS = """
import json, sys
from controller.designs import design_of
from controller.definition.experiment import Experiment
from datetime import timedelta
body = json.load(sys.stdin)
body["units"] = body["units"][::-1]
body["markets"] = body["markets"][::-1]
experiment = Experiment.model_validate_json(json.dumps(body))
found = {}
for number in reversed(range(experiment.days)):
    day = experiment.start + timedelta(days=number)
    drawn = design_of(experiment).arms(experiment, design_of(experiment).block_on(experiment, day))
    found[str(day)] = {cluster: experiment.arms[arm].name for cluster, arm in drawn.items()}
json.dump(found, sys.stdout)
"""


def of_type(outcome: Outcome, kind: str) -> list[dict[str, Any]]:
    """Messages of the log, as JSON."""
    found = [r for r in outcome.records[ASSIGNMENT_LOG] if dict(r.headers)["ce_type"] == kind.encode()]
    return [json.loads(record.value or b"") for record in found]


def registered(outcome: Outcome) -> dict[str, Any]:
    (only,) = of_type(outcome, "flipside.registered.v1")
    return only


def drawn_arms(outcome: Outcome) -> dict[str, dict[str, str]]:
    """day -> cluster -> the arm that the log says was drawn."""
    found: dict[str, dict[str, str]] = {}
    for record in of_type(outcome, "flipside.assignment.v1"):
        if record["reason"]["code"] != "released":
            held = found.setdefault(record["day"], {}).setdefault(record["cluster"], record["planned_arm"])
            assert held == record["planned_arm"], "units of a cluster have one arm"
    return found


def hash_of(*names: object) -> int:
    return int(hashlib.sha256("|".join(map(str, names)).encode()).hexdigest()[:16], 16)


def by_hand(definition: dict[str, Any], block: int) -> dict[str, str]:
    """Sort the clusters by the hash of their names; the first ones are treated, the others control."""
    seed, name = definition["seed"], definition["name"]
    control, treatment = (arm["name"] for arm in definition["arms"])
    clusters = sorted(
        {unit.split("/")[0] for unit in definition["units"]}, key=lambda cluster: hash_of(seed, name, block, cluster)
    )
    start = Fraction(hash_of(seed, name, block), 2**64)
    controls = floor(Fraction(len(clusters), 2) + start)
    treated = clusters[: len(clusters) - controls]
    return {cluster: treatment if cluster in treated else control for cluster in clusters}


def test_the_published_hash_is_that_of_the_published_definition_with_the_seed_as_a_commitment(
    eventful: Outcome,
) -> None:
    message = registered(eventful)
    body = dict(message["experiment"])
    body["seed_commitment"] = hashlib.sha256(body.pop("seed").encode()).hexdigest()
    body["units"] = sorted(body["units"])
    body["markets"] = sorted(body["markets"], key=lambda market: market["name"])
    spelled = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert hashlib.sha256(spelled.encode()).hexdigest() == message["design_hash"]
    assert {r["design_hash"] for r in of_type(eventful, "flipside.assignment.v1")} == {message["design_hash"]}


def test_every_arm_of_the_log_is_the_one_drawn_by_hand(eventful: Outcome) -> None:
    definition = registered(eventful)["experiment"]
    start = date.fromisoformat(definition["start"]).toordinal()
    blocks = {str(date.fromordinal(start + block)): by_hand(definition, block) for block in range(DAYS)}
    assert drawn_arms(eventful) == blocks
    assert all(list(arms.values()).count("treatment") == STORES / 2 for arms in blocks.values())


def test_another_process_draws_the_same_in_another_order(eventful: Outcome) -> None:
    definition = json.dumps(registered(eventful)["experiment"])
    command = [sys.executable, "-c", IN_ANOTHER_PROCESS]
    twice = [subprocess.run(command, input=definition, capture_output=True, text=True, check=True) for _ in range(2)]
    assert json.loads(twice[0].stdout) == json.loads(twice[1].stdout) == drawn_arms(eventful)


def test_the_log_holds_each_decision_once(eventful: Outcome) -> None:
    identities = [r["id"] for r in of_type(eventful, "flipside.assignment.v1")]
    assert len(identities) == len(set(identities)) == STORES * PRODUCTS * (DAYS + 1)
