"""What pages say of names, tables and files is so."""

import ast
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from typer.testing import CliRunner

from analysis.panel_data.study import State
from controller.designs import design_of
from controller.messages.events import Estimate
from flipside.cli import app
from flipside.documents import read_experiment
from flipside.reference import PAGE, commands, with_reference
from flipside.schemas import ROOT
from streams.worker.metrics import AnalysisMetrics, Metrics
from tests.docs.blocks import pages


def text(page: str) -> str:
    return (ROOT / page).read_text()


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as its viewers make them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", pages())
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", text(page))):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        there = (ROOT / page).parent / path if path else ROOT / page
        assert there.exists(), f"{page} links to {target}"
        assert not anchor or anchor in anchors(there), f"{page} links to {target}: no such heading"


@pytest.mark.parametrize("page", pages())
def test_files_that_a_page_names_are_there(page: str) -> None:
    for name in re.findall(r"`((?:\w+/)+[\w-]+\.(?:py|lua|java|md|yaml|jsonl))`", text(page)):
        assert (ROOT / name).is_file(), f"{page} names {name}"


def test_the_index_of_decisions_is_complete() -> None:
    folder = ROOT / "docs" / "decisions"
    listed = re.findall(r"^\| \[(\d+)\]\(([^)]+)\) \| (.*) \|$", (folder / "README.md").read_text(), re.MULTILINE)
    found = sorted(path for path in folder.glob("*.md") if path.name != "README.md")
    assert [name for _, name, _ in listed] == [path.name for path in found]
    for number, name, title in listed:
        assert (folder / name).read_text().splitlines()[0] == f"# {number}: {title}"


def test_the_reference_is_what_the_code_has() -> None:
    document = PAGE.read_text()
    assert document == with_reference(document), f"{PAGE.name} and the code differ: run `make reference`"


@pytest.mark.parametrize("name", ["flipside", *(name for name, _ in commands())])
def test_every_command_explains_itself(name: str) -> None:
    result = CliRunner().invoke(app, [*name.split()[1:], "--help"])
    assert result.exit_code == 0, result.output
    assert "Usage:" in result.output


def test_help_is_there_from_the_shell() -> None:
    done = subprocess.run([sys.executable, "-m", "flipside", "--help"], capture_output=True, text=True, check=True)
    assert all(name.split()[1] in done.stdout for name, _ in commands())


def test_every_setting_and_option_says_what_it_is_for() -> None:
    rows = re.findall(r"^\| `([^|]*)` \| [^|]* \|(.*)\|$", PAGE.read_text(), re.MULTILINE)
    assert not [name for name, meaning in rows if not meaning.strip()]


def codes_of_dead_letters() -> set[str]:
    """The second argument wherever a record is rejected."""
    found = set()
    for path in (ROOT / "streams").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Rejected":
                code = node.args[1]
                plain = f"{path}: the code of a dead letter is a plain word"
                assert isinstance(code, ast.Constant), plain
                assert isinstance(code.value, str), plain
                found.add(code.value)
    return found


def table(page: str, heading: str) -> set[str]:
    """The words of the first column of the table that begins with a heading."""
    _, _, after = text(page).partition(f"| {heading} |")
    rows = after.partition("\n\n")[0]
    return {word for row in re.findall(r"^\| (`[^|]*) \|", rows, re.M) for word in re.findall(r"`([^`]+)`", row)}


def test_every_reason_of_a_dead_letter_is_explained() -> None:
    assert table("docs/on-call.md", "`ce_reasoncode`") == codes_of_dead_letters()


def test_every_metric_is_explained_with_its_labels() -> None:
    exported = generate_latest(Metrics().registry).decode()
    names = set(re.findall(r"^# HELP (\S+)", exported, re.MULTILINE))
    names = {name for name in names if not name.endswith("_created")}
    assert {word.partition("{")[0] for word in table("docs/metrics.md", "metric")} == names


def test_every_metric_of_the_analysis_is_explained() -> None:
    exported = generate_latest(AnalysisMetrics().registry).decode()
    names = set(re.findall(r"^# HELP (flipside_\S+)", exported, re.MULTILINE))
    named = {word.partition("{")[0] for word in table("docs/metrics.md", "metric of the analysis")}
    assert named | {"flipside_build_info"} == {name for name in names if not name.endswith("_created")}


def test_on_call_names_how_long_a_price_outlives_the_workers_in_each_design() -> None:
    longest: dict[str, int] = {}
    for path in sorted((ROOT / "examples" / "designs").glob("*.yaml")):
        experiment = read_experiment(path)
        days = [experiment.start + timedelta(days=k) for k in range((experiment.end - experiment.start).days)]
        design = design_of(experiment)
        leases = [(block.end - day).days for day in days if (block := design.block_on(experiment, day))]
        kind = experiment.design.kind
        longest[kind] = max(longest.get(kind, 0), *leases)
    rows = re.findall(r"^\| (`\w+`.*?) \|.*\| (\d+) days? \|$", text("docs/on-call.md"), re.MULTILINE)
    assert {kind: int(days) for kinds, days in rows for kind in re.findall(r"`(\w+)`", kinds)} == longest


def test_metrics_that_on_call_names_exist() -> None:
    exported = generate_latest(Metrics().registry) + generate_latest(AnalysisMetrics().registry)
    names = set(re.findall(r"^# HELP (\S+)", exported.decode(), re.MULTILINE))
    assert set(re.findall(r"\bflipside_\w+", text("docs/on-call.md"))) <= names


def test_every_log_event_that_the_page_names_is_logged() -> None:
    source = "".join(path.read_text() for path in (ROOT / "streams").rglob("*.py"))
    assert all(f'"{event}"' in source for event in table("docs/metrics.md", "event"))


def test_every_field_of_an_estimate_is_explained() -> None:
    named = table("docs/estimates.md", "field")
    assert named | {"version", "experiment"} == set(Estimate.model_fields)


def test_every_reason_to_leave_a_cell_out_is_explained() -> None:
    source = (ROOT / "analysis/worker/analyse.py").read_text() + (
        ROOT / "analysis/randomised/cluster_day.py"
    ).read_text()
    named = table("docs/estimates.md", "reason")
    states = {state.name.lower() for state in State if state is not State.UNSETTLED}
    assert states <= named
    assert all(f'"{reason}"' in source for reason in named - states)
