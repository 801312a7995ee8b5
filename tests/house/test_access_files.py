"""The rules that deploy/ ships, and the page, are those of the table; and the table is that of the topics."""

import re
import subprocess

import pytest

from controller.messages.topics import TOPICS
from flipside.schemas import ROOT
from flipside.topics.access import PRINCIPALS
from flipside.topics.access_files import KAFKA_FILE, PAGE, REDIS_FILE, kafka_script, redis_script, with_page

#: what a topic's writers are called there -> the roles that they are here; a redrive sends letters to people's topics
WRITERS = {
    "the owner's systems": {"owner", "maintainer"},
    "the command line": {"operator", "maintainer"},
    "CLI": {"operator"},
    "pricing systems": {"pricing-system"},
    "workers": {"worker"},
    "reconciler, or a simulated clock": {"worker"},
    "analysis": {"analysis"},
}
#: written by more than the contract names: workers ask for stops, and a maintainer marks what is sent again or dropped
MORE = {
    "pricing.experiment.definition.v1": {"worker"},
    "pricing.experiment.dead-letter.v1": {"maintainer"},
    "pricing.experiment.checkpoint.v1": {"maintainer"},
}


def test_the_files_of_deploy_and_the_page_are_those_of_the_table() -> None:
    again = "run make access"
    assert (ROOT / KAFKA_FILE).read_text() == kafka_script(), again
    assert (ROOT / REDIS_FILE).read_text() == redis_script(), again
    page = (ROOT / PAGE).read_text()
    assert page == with_page(page), again


def test_whoever_writes_a_topic_by_the_contract_may_write_it_and_nobody_else() -> None:
    for topic in TOPICS.values():
        writing = {role.name for role in PRINCIPALS if topic.name in role.writes}
        assert writing == WRITERS[topic.writers] | MORE.get(topic.name, set()), topic.name


def test_nobody_but_workers_decides_and_nobody_but_the_analysis_estimates() -> None:
    only = {"assignment", "assignment-log", "panel", "tick", "trigger", "sale-correction"}
    for name in only:
        assert {r.name for r in PRINCIPALS if f"pricing.experiment.{name}.v1" in r.writes} == {"worker"}


def test_the_commands_that_the_scripts_call_are_the_workers_and_no_others() -> None:
    called = set()
    for path in (ROOT / "streams/store").rglob("*.lua"):
        called |= {word.lower() for word in re.findall(r"redis\.p?call\('([A-Z]+)'", path.read_text())}
    assert called, "the scripts are not where this test looks"
    (worker,) = (role for role in PRINCIPALS if role.name == "worker")
    granted = {command.partition("|")[0] for command in worker.commands}
    assert called <= granted, f"grant {sorted(called - granted)} in flipside/topics/access.py"


def test_no_password_is_asked_for_on_a_command_line_and_none_is_left_out() -> None:
    left_out = subprocess.run([str(ROOT / REDIS_FILE)], capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"})
    assert left_out.returncode != 0
    assert "password of the operator" in left_out.stderr
    assert "user " not in left_out.stdout


@pytest.mark.parametrize("file", [KAFKA_FILE, REDIS_FILE])
def test_the_scripts_are_plain_shell(file: str) -> None:
    subprocess.run(["sh", "-n", str(ROOT / file)], check=True)
