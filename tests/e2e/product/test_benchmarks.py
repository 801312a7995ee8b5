"""Each measurement of the streams runs, and says what it must: in sizes whose figures mean nothing."""

import json
from pathlib import Path

import pytest

from benchmarks.streams.all import PIECES, Row, latency, main, table

#: its peer, msgspec, is there only for benchmarks (`make bench-streams` fetches it)
ELSEWHERE = {"ingest"}


@pytest.mark.slow
@pytest.mark.broker
@pytest.mark.parametrize("name", sorted(PIECES.keys() - ELSEWHERE))
def test_a_piece_runs_by_itself_and_gives_its_rows(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--short", "--only", name, "--json", "--write", str(tmp_path / "found.json")]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown == json.loads((tmp_path / "found.json").read_text())
    assert set(shown["machine"]) >= {"date", "cores", "processor", "load"}
    rows = list(PIECES[name].rows(shown["results"][name]))
    assert rows
    exact = {"flips", "exact"}
    assert name not in exact or not any("skew 0" in bar and "skew 0 ms" not in said for _, said, bar, _ in rows)


def test_a_bar_that_is_missed_stands_in_the_table() -> None:
    one = {"rate": 10_000, "seen": 10, "triggers": 10, "p50_ms": 9.0, "p99_ms": 51.0, "hop_p99_ms": 5.0}
    (good,) = latency({"runs": [one | {"p99_ms": 50.0}]})
    (slow,) = latency({"runs": [one]})
    (lost,) = latency({"runs": [one | {"p99_ms": 50.0, "seen": 9}]})
    assert [row[3] for row in (good, slow, lost)] == [True, False, False]
    rows: list[Row] = [good, slow]
    assert [line.count("MISSED") for line in table(rows).splitlines()[2:]] == [0, 1]
