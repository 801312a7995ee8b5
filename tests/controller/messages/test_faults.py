"""What is told of an error that no rule foresaw."""

from controller.messages.faults import LONGEST, fault_of
from controller.time.periods import day_start


def raised(wrong: object) -> BaseException:
    """An error that passed through a function of the product, and began below it."""
    try:
        day_start(wrong, "Europe/Berlin")
    except Exception as error:  # noqa: BLE001 - any will do
        return error
    raise AssertionError("that was a day")


def test_the_innermost_function_of_the_product_is_the_place_not_the_library_below_it() -> None:
    fault = fault_of(raised("no day"))
    assert fault.place.startswith("controller.time.periods:")
    assert str(fault) == f"{fault.error} in {fault.place}"


def test_an_error_that_no_function_of_the_product_has_seen_has_no_place() -> None:
    assert fault_of(ValueError("elsewhere")).place == "?"


def test_what_an_error_says_is_short_and_moves_no_terminal() -> None:
    told = fault_of(ValueError("\x1b[2J" + "x" * 10_000)).error
    assert told.startswith("ValueError: ")
    assert "\x1b" not in told
    assert len(told) <= LONGEST + len("...")
