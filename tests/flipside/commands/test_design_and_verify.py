"""The commands that show a design and check a log, and the definitions under examples/."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from controller.definition.experiment import design_hash, withheld
from controller.definition.field_types import Message
from controller.designs import DESIGNS
from controller.errors import FlipsideError, InvalidExperiment
from controller.messages.codec import TYPES
from flipside.cli import EXIT_CODES, app
from flipside.documents import parse_document, read_experiment, read_log
from tests.controller.builders import BEFORE, a_catalog, an_experiment
from tests.controller.decisions.assignment_logs import a_log, change, other_arm, published

EXAMPLES = Path(__file__).resolve().parents[3] / "examples" / "designs"
FILES = sorted(EXAMPLES.glob("*.yaml"))
#: before the first day of every example, whenever the tests run
EARLY = ("--at", "2026-11-01T00:00:00Z")


def flipside(*arguments: str, code: int = 0) -> str:
    """What a command prints, run in this process; its exit code is checked."""
    done = CliRunner().invoke(app, arguments)
    printed, found = done.output, done.exit_code
    if isinstance(done.exception, FlipsideError):
        printed += str(done.exception)
        found = next(number for kind, number in EXIT_CODES if isinstance(done.exception, kind))
    assert found == code, printed + repr(done.exception)
    return printed


def last_object(printed: str) -> dict[str, Any]:
    found = json.loads(printed.strip().splitlines()[-1])
    assert isinstance(found, dict)
    return found


def test_there_is_an_example_of_every_design() -> None:
    assert {read_experiment(file).design.kind for file in FILES} == set(DESIGNS)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_example_is_a_design_that_can_be_laid_out(file: Path) -> None:
    found = last_object(flipside("design", str(file), "--json", *EARLY))
    experiment = read_experiment(file)
    assert found["design"] == experiment.design.kind
    assert set(found["calendar"]) == set(experiment.cluster_names())
    assert all(len(cell["arms"]) == experiment.days for cell in found["calendar"].values())
    for balance in found["propensity"]["range"].values():
        assert 0 <= balance[0] <= balance[1] <= 1


def test_the_table_shows_calendar_balance_risk_and_hash() -> None:
    printed = flipside("design", str(EXAMPLES / "blocked_switchback.yaml"), *EARLY)
    for words in (
        "design hash",
        "provisional",
        "s1/dole",
        "worst-case risk",
        "1.00 times the optimum",
        "price changes",
    ):
        assert words in printed
    assert "Mo" in printed


def test_explain_repeats_the_draw_step_by_step() -> None:
    printed = flipside("design", str(EXAMPLES / "crossover.yaml"), "--explain", "s1/tree", "2027-03-25")
    assert "printf 'there-and-back|juice-crossover|0|s1/tree' | sha256sum begins with 845d424a7a5f6f91" in printed
    found = last_object(
        flipside("design", str(EXAMPLES / "crossover.yaml"), "--explain", "s1/tree", "2027-03-25", "--json")
    )
    assert (found["arm"], found["washed_out"]) == ("cheaper", True)
    crossover = ("design", str(EXAMPLES / "crossover.yaml"), "--explain")
    assert "did you mean s1/tree?" in flipside(*crossover, "s1/tre", "2027-03-25", code=1)
    assert "YYYY-MM-DD, here from 2027-03-01 to 2027-04-11" in flipside(*crossover, "s1/tree", "25.3.", code=1)
    assert "outside" in flipside(*crossover, "s1/tree", "2029-03-25", code=1)


def test_a_staggered_roll_out_shows_the_chance_after_each_of_its_steps() -> None:
    printed = flipside("design", str(EXAMPLES / "staggered_rollout.yaml"), *EARLY)
    chances = [line.split("cheaper ")[1] for line in printed.splitlines() if line.startswith("propensity from")]
    assert chances == ["0.000", "0.250", "0.500", "1.000"]


def test_the_real_command_exits_with_its_documented_code(tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("days: 0\n")
    done = subprocess.run(
        [sys.executable, "-m", "flipside", "design", str(tmp_path / "broken.yaml")],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, "days = 0" in done.stderr) == (3, True)


def test_search_proposes_points_outside_the_blackouts(tmp_path: Path) -> None:
    window = {"id": "b1", "scope": {"kind": "global"}, "starts_at": "2027-03-05T00:00:00Z",
              "ends_at": "2027-03-09T00:00:00Z", "reason": "inventory"}  # fmt: skip
    (tmp_path / "blackouts.jsonl").write_text(json.dumps(window) + "\n")
    printed = flipside(
        "design", str(EXAMPLES / "blocked_switchback.yaml"), "--search", "--json", "--blackouts",
        str(tmp_path / "blackouts.jsonl"),
    )  # fmt: skip
    points = last_object(printed)["points"]
    assert points[0] == 1
    assert not set(points) & {5, 6, 7, 8}, "days 5 to 8 begin within the window"


def test_with_the_catalog_the_hash_is_the_one_that_will_be_published(tmp_path: Path) -> None:
    experiment = an_experiment()
    (tmp_path / "catalog.jsonl").write_text("\n".join(e.model_dump_json() for e in a_catalog().values()))
    (tmp_path / "definition.json").write_text(experiment.model_dump_json(exclude={"markets"}))
    printed = flipside(
        "design", str(tmp_path / "definition.json"), "--json", "--catalog", str(tmp_path / "catalog.jsonl"),
        "--at", BEFORE.isoformat(),
    )  # fmt: skip
    found = last_object(printed)
    assert (found["design_hash"], found["provisional"]) == (design_hash(experiment), False)


def test_a_broken_definition_names_every_rule_and_exits_3(tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("name: x y\ncurrency: USD\narms: []\nstart: 2027-02-30\ndays: 0\nseed: '1'\n")
    printed = flipside("design", str(tmp_path / "broken.yaml"), code=3)
    for field in ("name", "arms", "start", "days"):
        assert f"{field} = " in printed
    (tmp_path / "empty.yaml").write_text("name: x\n")
    assert "days = (absent): this field has no default; add it" in flipside(
        "experiment", "validate", str(tmp_path / "empty.yaml"), code=3
    )


def test_validate_checks_what_can_be_checked_without_the_system(tmp_path: Path) -> None:
    for file in FILES:
        assert "keeps every rule" in flipside("experiment", "validate", str(file))
    (tmp_path / "catalog.jsonl").write_text("\n".join(e.model_dump_json() for e in a_catalog().values()))
    printed = flipside("experiment", "validate", str(FILES[0]), "--catalog", str(tmp_path / "catalog.jsonl"), code=3)
    assert "a unit must be in the catalog" in printed


def documented(page: str) -> list[str]:
    """The commands in a page's fences."""
    text = (EXAMPLES.parents[1] / "docs" / page).read_text()
    return [line for fence in text.split("```")[1::2] for line in fence.splitlines() if line.startswith("flipside ")]


@pytest.mark.parametrize("command", documented("designs.md"))
def test_every_command_of_the_page_on_designs_runs(command: str, tmp_path: Path) -> None:
    experiment = an_experiment()
    (tmp_path / "registered.json").write_text(published(experiment).model_dump_json())
    written(tmp_path / "assignment-log.jsonl", a_log(experiment))
    places = {"examples/": f"{EXAMPLES.parent}/", "registered.json": f"{tmp_path}/registered.json",
              "assignment-log.jsonl": f"{tmp_path}/assignment-log.jsonl"}  # fmt: skip
    for name, place in places.items():
        command = command.replace(name, place)
    dated = "--at" in command or not command.startswith("flipside design")
    assert flipside(*command.split()[1:], *(() if dated else EARLY))


# --- documents -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "suffix", "words"),
    [
        ("a: &x [1]\nb: *x\n", ".yaml", "aliases"),
        ("days: 1\ndays: 2\n", ".yaml", "stands here twice"),
        ('{"days": 1, "days": 2}', ".json", "stands there twice"),
        ("a: [", ".yaml", "YAML"),
        ("{", ".json", "JSON"),
        ("!!python/object/apply:os.system [ls]", ".yaml", "could not determine a constructor"),
        ("[" * 100_000, ".json", "document"),
        ("{1: 2}", ".yaml", "no such field"),
    ],
)  # fmt: skip
def test_documents_that_could_be_read_in_two_ways_or_not_at_all_are_refused(text: str, suffix: str, words: str) -> None:
    with pytest.raises(InvalidExperiment) as caught:
        parse_document(text, suffix)
    assert words in str(caught.value)


def test_yaml_and_json_of_one_definition_are_one_experiment() -> None:
    body = an_experiment().model_dump(mode="json")
    assert parse_document(json.dumps(body), ".json") == parse_document(json.dumps(body), ".yaml") == an_experiment()


def test_a_missing_file_is_named() -> None:
    with pytest.raises(FlipsideError, match="nowhere"):
        read_experiment(Path("nowhere.yaml"))


# --- verify ----------------------------------------------------------------------------------------------------------


def written(file: Path, records: list[Message], kcat: bool = False) -> str:
    with file.open("w") as out:
        for record in records:
            body = json.loads(record.model_dump_json())
            kind = TYPES[type(record)]
            line = {"topic": "x", "headers": ["ce_type", kind], "payload": json.dumps(body)} if kcat else None
            out.write(json.dumps(line or {"type": kind, "value": body}) + "\n")
    return str(file)


def test_verify_names_exactly_what_was_altered_removed_and_doubled(tmp_path: Path) -> None:
    experiment = an_experiment()
    (tmp_path / "registered.json").write_text(published(experiment).model_dump_json())
    log = a_log(experiment)
    clean = written(tmp_path / "clean.jsonl", log, kcat=True)
    assert "0 differences" in flipside("verify", str(tmp_path / "registered.json"), "--log", clean)
    log = change(log, "m0/p1", 3, lambda r: (other_arm(r),))
    log = change(log, "m1/p0", 5, lambda r: ())
    log = change(log, "m1/p2", 7, lambda r: (r, r))
    tampered = written(tmp_path / "tampered.jsonl", log)
    printed = flipside("verify", str(tmp_path / "registered.json"), "--log", tampered, "--json", code=7)
    found = [(d["kind"], d["subject"], d["day"]) for d in last_object(printed)["differences"]]
    assert found == [
        ("altered", "m0/p1", "2026-03-05"), ("missing", "m1/p0", "2026-03-07"), ("doubled", "m1/p2", "2026-03-09"),
    ]  # fmt: skip


def test_a_definition_is_checked_against_what_the_log_says_was_published(tmp_path: Path) -> None:
    experiment = an_experiment()
    log = written(tmp_path / "log.jsonl", [published(withheld(experiment)), *a_log(experiment)])
    honest, forged = tmp_path / "definition.json", tmp_path / "forged.json"
    honest.write_text(experiment.model_dump_json(exclude={"markets"}))
    forged.write_text(an_experiment(seed="8").model_dump_json(exclude={"markets"}))
    assert "is not what was published" in flipside("verify", str(forged), "--log", log, code=1)
    assert "committed to so far" in flipside("verify", str(honest), "--log", log, code=7)
    log = written(tmp_path / "open.jsonl", [published(experiment), *a_log(experiment)])
    assert "0 differences" in flipside("verify", str(honest), "--log", log)


def test_a_repetition_of_the_relay_may_be_allowed(tmp_path: Path) -> None:
    experiment = an_experiment()
    (tmp_path / "registered.json").write_text(published(experiment).model_dump_json())
    log = written(tmp_path / "log.jsonl", change(a_log(experiment), "m0/p1", 3, lambda r: (r, r)))
    flipside("verify", str(tmp_path / "registered.json"), "--log", log, "--allow-repeats")


def test_a_line_that_is_no_record_is_named(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('\n{"type": "flipside.tick.v1", "value": {"at": 0}}\n')
    with pytest.raises(FlipsideError, match="line 2"):
        read_log(tmp_path / "log.jsonl")
    (tmp_path / "log.jsonl").write_text("[]\n")
    with pytest.raises(FlipsideError, match="line 1"):
        read_log(tmp_path / "log.jsonl")


def test_what_is_selected_without_a_catalog_asks_for_the_catalog() -> None:
    said = flipside("design", str(EXAMPLES.parent / "random_days.yaml"), code=3)
    rule = "units are selected from the catalog; give it with --catalog FILE"
    assert f'line 6: select = {{"categories":["refrigerated-juice"]}}: {rule}' in said
    assert "units = none" not in said
