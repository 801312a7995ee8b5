"""``flipside sample``: four files that `design` and `replay` take as they are."""

from pathlib import Path

from typer.testing import CliRunner

from flipside.cli import app
from flipside.sales_history.own_sales import read_own
from flipside.simulated_shop.sample import SHOP_FILES


def test_the_four_files_fit_together_and_nothing_is_written_over(tmp_path: Path) -> None:
    shop = tmp_path / "shop"
    assert CliRunner().invoke(app, ["sample", str(shop)]).exit_code == 0
    assert sorted(path.name for path in shop.iterdir()) == sorted(SHOP_FILES)
    own = read_own(shop / "sales.csv", catalog=shop / "catalog.jsonl")
    assert own.currencies == ("EUR",)
    assert not [note for note in own.notes if note.startswith("warning")]
    files = [str(shop / "definition.yaml"), "--catalog", str(shop / "catalog.jsonl")]
    laid_out = CliRunner().invoke(app, ["design", *files, "--blackouts", str(shop / "blackouts.jsonl")])
    assert laid_out.exit_code == 0, laid_out.output
    again = CliRunner().invoke(app, ["sample", str(shop)])
    assert again.exit_code == 1
    assert "--force" in str(again.exception)
