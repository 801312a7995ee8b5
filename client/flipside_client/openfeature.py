"""An OpenFeature provider (extra ``openfeature``): the targeting key is the unit, ``market/product``.

Two flags: ``flipside.arm`` (string) and ``flipside.price_minor`` (integer, minor units). Where no assignment holds, the
caller's default is answered with reason DEFAULT, and the flag's metadata say why: that default is control.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import FlagNotFoundError, TargetingKeyMissingError, TypeMismatchError
from openfeature.flag_evaluation import FlagResolutionDetails, FlagValueType, Reason
from openfeature.provider import AbstractProvider, Metadata

from flipside_client.clock import Clock, wall_clock
from flipside_client.fold import Price

T = TypeVar("T", str, int)

ARM_FLAG = "flipside.arm"
PRICE_FLAG = "flipside.price_minor"
_TYPES = {ARM_FLAG: "string", PRICE_FLAG: "integer"}


class Prices(Protocol):
    """Whatever answers with a price: ``Assignments``, ``SyncAssignments``, or a ``Fold`` in a test."""

    def price(self, unit: str, now: int) -> Price:
        """What to show for the unit at ``now``, in milliseconds since 1970."""
        ...


class FlipsideProvider(AbstractProvider):
    """Resolves from a client that its owner starts and closes; never waits for Kafka."""

    def __init__(self, prices: Prices, clock: Clock = wall_clock) -> None:
        super().__init__()
        self._prices = prices
        self._clock = clock

    def get_metadata(self) -> Metadata:
        return Metadata(name="flipside")

    def resolve_string_details(
        self, flag_key: str, default_value: str, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[str]:
        """The arm."""
        price = self._price(flag_key, ARM_FLAG, evaluation_context)
        return _details(default_value if price.arm is None else price.arm, price)

    def resolve_integer_details(
        self, flag_key: str, default_value: int, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[int]:
        """The price in minor units; the default too where Flipside does not know the list price."""
        price = self._price(flag_key, PRICE_FLAG, evaluation_context)
        return _details(default_value if price.price_minor is None else price.price_minor, price)

    def resolve_boolean_details(
        self, flag_key: str, default_value: bool, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[bool]:
        raise _no_such_flag(flag_key)

    def resolve_float_details(
        self, flag_key: str, default_value: float, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[float]:
        raise _no_such_flag(flag_key)

    def resolve_object_details(
        self,
        flag_key: str,
        default_value: Sequence[FlagValueType] | Mapping[str, FlagValueType],
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[Sequence[FlagValueType] | Mapping[str, FlagValueType]]:
        raise _no_such_flag(flag_key)

    def _price(self, flag_key: str, expected: str, context: EvaluationContext | None) -> Price:
        if flag_key != expected:
            raise _no_such_flag(flag_key)
        unit = context.targeting_key if context is not None else None
        if not unit:
            raise TargetingKeyMissingError(f"{flag_key}: the targeting key is the unit, as in 'berlin/sku-1'")
        return self._prices.price(unit, self._clock())


def _details(value: T, price: Price) -> FlagResolutionDetails[T]:
    metadata: dict[str, bool | int | float | str] = {"why": price.why}
    if price.assignment_id is not None:
        metadata["assignment"] = price.assignment_id
    if price.currency is not None:
        metadata["currency"] = price.currency
    reason = Reason.SPLIT if price.why == "assigned" else Reason.DEFAULT
    return FlagResolutionDetails(value=value, reason=reason, variant=price.arm, flag_metadata=metadata)


def _no_such_flag(flag_key: str) -> Exception:
    if flag_key in _TYPES:
        return TypeMismatchError(f"{flag_key} is of type {_TYPES[flag_key]}")
    return FlagNotFoundError(f"{flag_key!r}: Flipside answers {ARM_FLAG} (string) and {PRICE_FLAG} (integer)")
