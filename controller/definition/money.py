"""Amounts of money as text: minor units and a currency in, ``3.49 EUR`` out. Pure."""

from decimal import ROUND_HALF_UP, Decimal

#: stands for a currency that nobody named (ISO 4217)
NO_CURRENCY = "XXX"
#: digits after the point where they are not two (ISO 4217, list one); an unknown code has two
MINOR_DIGITS: dict[str, int] = (
    dict.fromkeys(
        ("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND", "VUV", "XAF",
         "XOF", "XPF"), 0,
    )
    | dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3)
    | dict.fromkeys(("CLF", "UYW"), 4)
)  # fmt: skip


def minor_digits(currency: str) -> int:
    """Digits after the point in a currency's amounts: 2 for EUR, 0 for JPY, 3 for KWD (ISO 4217)."""
    return MINOR_DIGITS.get(currency, 2)


def amount(minor: int | float, currency: str, *, extra_digits: int = 0) -> str:
    """An amount in the currency's major unit, without the code: ``amount(349, "EUR")`` is ``3.49``.

    ``minor``: minor units (cents); a whole number is exact. ``extra_digits``: digits beyond the minor unit, for means
    and effects, which are no whole cents. Halves round away from zero. Raises ValueError for what is not finite.
    """
    exact = Decimal(minor)
    if not exact.is_finite():
        raise ValueError(f"minor = {minor}: an amount is a finite number")
    digits = minor_digits(currency) + extra_digits
    text = format(exact.scaleb(-minor_digits(currency)).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP), "f")
    return text.removeprefix("-") if not text.strip("-0.") else text


def money(minor: int | float, currency: str, *, extra_digits: int = 0) -> str:
    """An amount with its code: ``money(349, "EUR")`` is ``3.49 EUR``, ``money(349, "JPY")`` is ``349 JPY``.

    Arguments and errors as :func:`amount`.
    """
    return f"{amount(minor, currency, extra_digits=extra_digits)} {currency}"


def major(minor: float, currency: str) -> float:
    """An amount in the currency's major unit as a number, for axes and means: ``major(349, "EUR")`` is 3.49."""
    return minor / float(10 ** minor_digits(currency))


def change_percent(regular_minor: int, price_minor: int) -> Decimal:
    """The change from a regular price above zero, in percent of it, exact to 28 digits."""
    return Decimal(100 * (price_minor - regular_minor)) / regular_minor
