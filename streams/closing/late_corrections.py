"""Late sales: one of a day that is closed and final becomes a correction, beside the panel row that stays as it is.

A sale of a closed day that is not final yet is counted: `streams.closing.day_close` publishes the row's next revision.
"""

from collections.abc import Iterable
from datetime import date

from controller.messages.codec import Record, encode
from controller.messages.events import SaleCorrection
from controller.messages.inputs import Sale


def late_correction(
    sale: Sale, identity: bytes, day: int, closed_through: int, partition: int, offset: int
) -> SaleCorrection:
    """The correction of a final day's row by a sale that came too late.

    ``identity``: the digest of the sale's id; days are ordinals; partition and offset are the sale's.
    """
    return SaleCorrection(
        id=f"{sale.unit}/{identity.hex()}",
        sale=sale,
        day=date.fromordinal(day),
        closed_through=date.fromordinal(max(closed_through, day)),
        partition=partition,
        offset=offset,
    )


def correction_records(corrections: Iterable[SaleCorrection]) -> list[Record]:
    """Corrections as records of their topic."""
    return [encode(correction, correction.id, correction.sale.occurred_at) for correction in corrections]
