"""The checks of what a price should not change: losses, delays, empty shelves, odd sales by arm."""

from analysis.checks.anytime import uneven
from analysis.checks.balance import DO_MISSING, DO_STALE, DO_STOCK
from analysis.checks.cell_scan import Survey
from analysis.checks.sample_ratio import sample_ratio_of
from analysis.checks.verdict import Check, unknown
from analysis.panel_data.study import Unseen
from controller.definition.experiment import Experiment

#: gaps between the arms' shares, or relative to what is expected, that a check fails from
PRACTICAL = 0.02
HOURS = 6.0
DO_LATE = "Until the late sales are in, one arm looks worse: wait for its revisions, and find out which feed is slow."
DO_CORRECTED = "Closed days of one arm are counted anew more often: find out what resends or corrects its sales."
DO_ZEROS = "Units that sell for certain sold nothing, more often in one arm: look for sales of it that never arrived."
DO_PIECES = "Compare pieces a sale with the receipts: the price may have changed baskets, or pieces are lost."
DO_REVENUE = "What was paid for a piece is not what the arms' prices ask: compare receipts with assigned prices."
UNSEEN_LOSS = "; whole sale events lost at random in one arm can't be told from an effect"


def sample_ratio(experiment: Experiment, found: Survey) -> Check:
    """Known unit-days by arm against what the draw gave each arm."""
    arms = [arm.name for arm in experiment.arms]
    return sample_ratio_of(found.under, found.observed, found.nuisances["missing"].sums, arms)


def missingness(experiment: Experiment, found: Survey) -> Check:
    """The primary test of loss."""
    by_arm = []
    for arm, why in zip(experiment.arms, found.unseen, strict=True):
        reasons = [
            f"{reason.name.lower()} {why[reason] / why.sum():.2%}" for reason in Unseen if reason and why[reason]
        ]
        by_arm.append(f"{arm.name}: {', '.join(reasons) or 'none missing'}")
    sums = found.nuisances["missing"].sums
    return uneven(
        "missingness", sums, found.looks, threshold=PRACTICAL, what_to_do=DO_MISSING, noun="missing",
        note=f"; by reason, {'; '.join(by_arm)}",
    )  # fmt: skip


def stock_outs(_: Experiment, found: Survey) -> Check:
    """Share of unit-days out of stock at some time of the day, of those of which the catalog says so."""
    if not found.nuisances["out_of_stock"].known:
        return unknown("stock-outs", PRACTICAL, "the catalog has said nothing about stock")
    sums = found.nuisances["out_of_stock"].sums
    return uneven("stock-outs", sums, found.looks, threshold=PRACTICAL, what_to_do=DO_STOCK, noun="sold out")


def staleness(_: Experiment, found: Survey) -> Check:
    """Age of the newest price of a rival."""
    name = "rivals' price staleness"
    if not found.nuisances["stale_hours"].known:
        return unknown(name, HOURS, "no rival's price was read")
    return uneven(
        name, found.nuisances["stale_hours"].sums, found.looks, threshold=HOURS, what_to_do=DO_STALE, noun="hours",
        when_large="warn", per_cent=False,
    )  # fmt: skip


def late_sales(_: Experiment, found: Survey) -> Check:
    """Share of sale events that arrived after their day had been closed."""
    sums = found.nuisances["late"].sums
    return uneven("late sales", sums, found.looks, threshold=PRACTICAL, what_to_do=DO_LATE, noun="late sale events")


def corrected(_: Experiment, found: Survey) -> Check:
    """Share of unit-days whose row replaced one that had been published, or a zero."""
    sums = found.nuisances["corrected"].sums
    return uneven(
        "corrected unit-days", sums, found.looks, threshold=PRACTICAL, what_to_do=DO_CORRECTED, noun="corrected"
    )


def surprising_zeros(_: Experiment, found: Survey) -> Check:
    """Share of unit-days that were zeros of a unit whose own weekdays say that it sells."""
    sums = found.nuisances["surprising_zeros"].sums
    return uneven(
        "surprising zeros", sums, found.looks, threshold=PRACTICAL, what_to_do=DO_ZEROS, noun="surprising zeros",
        note=UNSEEN_LOSS,
    )  # fmt: skip


def pieces_per_sale(_: Experiment, found: Survey) -> Check:
    """Pieces a sale event over those of the unit's history; it only warns, because a price may change baskets too."""
    sums = found.nuisances["pieces_per_sale"].sums
    return uneven(
        "pieces per sale", sums, found.looks, threshold=PRACTICAL, what_to_do=DO_PIECES,
        noun="pieces a sale over history's (without one, over all sales')", when_large="warn", note=UNSEEN_LOSS,
    )  # fmt: skip


def revenue_per_piece(_: Experiment, found: Survey) -> Check:
    """Money a piece over what the arm's price rule makes of the unit's price before the start."""
    name = "revenue per piece"
    if not found.nuisances["revenue_per_piece"].known:
        return unknown(name, PRACTICAL, "no unit sold anything before the start: its list price is not known")
    sums = found.nuisances["revenue_per_piece"].sums
    return uneven(
        name, sums, found.looks, threshold=PRACTICAL, what_to_do=DO_REVENUE, noun="paid a piece over the arm's price"
    )
