"""What is wrong with a document, said to its author: pydantic's findings as field, value, rule and way out."""

import difflib
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from controller.errors import Problem

#: problems of one kind at one place that are listed before the rest are only counted
LISTED_AT_MOST = 10

Detail = Mapping[str, Any]


def explain(error: ValidationError, model: type[BaseModel]) -> tuple[Problem, ...]:
    """Every broken rule of a document, in its order; many alike are listed up to ten and then counted."""
    problems: list[Problem] = []
    seen: dict[tuple[str, str], int] = {}
    for detail in _without_echoes(error.errors(include_url=False)):
        path = _path(detail["loc"])
        alike = (_path([part for part in _cleaned(detail["loc"]) if isinstance(part, str)][:2]), detail["type"])
        seen[alike] = seen.get(alike, 0) + 1
        if seen[alike] <= LISTED_AT_MOST:
            # Of a field that is missing, pydantic's input is the group that lacks it.
            found = "(absent)" if detail["type"] == "missing" else shown(detail.get("input"))
            problems.append(Problem(path or "(document)", found, *_rule(detail, model)))
    for (where, _), times in seen.items():
        if times > LISTED_AT_MOST:
            more = times - LISTED_AT_MOST
            problems.append(Problem(where or "(document)", f"{more} more", "broken in the same way", "mend them alike"))
    return tuple(problems)


def printable(text: str, longest: int = 500) -> str:
    """A text of anybody's that can be shown anywhere: control characters, what turns the direction of writing, line
    separators and lone surrogates are spelled out, and what is too long is cut. O(longest)."""
    cut = text[: longest + 1]
    clean = cut if cut.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in cut)
    return clean if len(clean) <= longest else clean[: longest - 3] + "..."


def shown(value: object) -> str:
    """A value in at most 80 characters, what is not ASCII spelled out."""
    text = ascii(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _without_echoes(details: Sequence[Any]) -> Iterator[Detail]:
    """A field that may be one of two things reports a finding for each; keep those of the thing that was meant."""
    by_place: dict[tuple[Any, ...], list[Detail]] = {}
    for detail in details:
        marks = [k for k, part in enumerate(detail["loc"]) if _is_branch(part)]
        by_place.setdefault(tuple(detail["loc"][: marks[0]]) if marks else ("", id(detail)), []).append(detail)
    for place, found in by_place.items():
        if place and place[0] == "":
            yield found[0]
            continue
        # The branch that got farthest into the value is the one that was meant; among equals, the first.
        depth = max(len(detail["loc"]) for detail in found)
        deepest = [detail for detail in found if len(detail["loc"]) == depth]
        branch = next(part for part in deepest[0]["loc"] if _is_branch(part))
        yield from (detail for detail in deepest if branch in detail["loc"])


BRANCHES = ("literal[", "dict[", "tuple[", "constrained-", "function-", "decimal", "str", "nullable")
#: words of the discriminator, which pydantic puts into the path
TAGS = frozenset(
    ("random_days", "time_bound", "crossover", "blocked_switchback", "staggered_rollout", "triggered",
     "price_drop", "price_rise", "undercut", "out_of_stock", "price_stays")
)  # fmt: skip


def _is_branch(part: object) -> bool:
    return isinstance(part, str) and part.startswith(BRANCHES)


def _cleaned(location: Iterable[object]) -> list[object]:
    return [part for part in location if not _is_branch(part) and part not in TAGS]


def _path(location: Iterable[object]) -> str:
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in _cleaned(location)]
    return "".join(parts).lstrip(".").replace("[key]", " (a name in it)").replace(".[key]", " (a name in it)")


def _rule(detail: Detail, model: type[BaseModel]) -> tuple[str, str]:
    """(rule, way out) for one finding."""
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        return "there is no such field", _nearest(detail["loc"], model)
    if kind == "string_pattern_mismatch":
        return _spelling(str(context.get("pattern")), detail.get("input"))
    if kind == "json_invalid":
        return f"a definition is one JSON (or YAML) document: {context.get('error', detail['msg'])}", "mend it there"
    if kind == "union_tag_not_found":
        return "a `kind` says which one is meant", "add `kind`; see the examples"
    if kind == "union_tag_invalid":
        return f"kind is one of {context['expected_tags']}", "choose one of them"
    if kind == "value_error":
        return str(context.get("error", detail["msg"])), "keep one of them"
    rule, way_out = TABLE.get(kind, (detail["msg"][0].lower() + detail["msg"][1:], "compare it with the examples"))
    return rule.format(**context), way_out.format(**context)


INSTANT = "write it as 2026-12-24T00:00:00-06:00, or with Z for UTC"
#: pydantic's kind of finding -> (rule, way out), filled in with its context
TABLE: dict[str, tuple[str, str]] = {
    "missing": ("this field has no default", "add it"),
    "greater_than": ("more than {gt}", "choose a larger value"),
    "greater_than_equal": ("at least {ge}", "choose a larger value"),
    "less_than": ("less than {lt}", "choose a smaller value"),
    "less_than_equal": ("at most {le}", "choose a smaller value"),
    "too_long": ("at most {max_length} of them", "name fewer"),
    "too_short": ("at least {min_length} of them", "name more"),
    "string_too_long": ("at most {max_length} characters", "shorten it"),
    "string_type": ("a text", "write it in quotes"),
    "int_type": ("a whole number", "write it without quotes and without decimals"),
    "int_from_float": ("a whole number", "write it without decimals"),
    "int_parsing": ("a whole number", "write it without quotes and without decimals"),
    "int_parsing_size": ("a whole number of a sane size", "choose a smaller value"),
    "float_type": ("a number", "write it without quotes"),
    "finite_number": ("a finite number", "leave out infinities and what is not a number"),
    "bool_type": ("true or false", "write it without quotes"),
    "dict_type": ("names with values", "write `name: value` pairs"),
    "tuple_type": ("a list", "put it in brackets, or write one `- item` a line"),
    "model_type": ("a group of named fields", "write `field: value` pairs"),
    "model_attributes_type": ("a group of named fields", "write `field: value` pairs"),
    "date_type": ("a local date", "write it as YYYY-MM-DD"),
    "date_parsing": ("a local date that exists", "write it as YYYY-MM-DD"),
    "date_from_datetime_parsing": ("a local date that exists", "write it as YYYY-MM-DD, without an hour"),
    "date_from_datetime_inexact": ("a local date, not an instant", "write it as YYYY-MM-DD"),
    "datetime_type": ("an instant", "write it as 2026-12-24T00:00:00-06:00, or with Z for UTC"),
    "datetime_parsing": ("an instant that exists", "write it as 2026-12-24T00:00:00-06:00, or with Z for UTC"),
    "datetime_from_date_parsing": (
        "an instant that exists",
        "write it as 2026-12-24T00:00:00-06:00, or with Z for UTC",
    ),
    "timezone_aware": ("an instant with its zone", "write it as 2026-12-24T00:00:00-06:00, or with Z for UTC"),
    "literal_error": ("one of {expected}", "choose one of them"),
    "decimal_type": ("a number", "write it as 0.25 or -10"),
    "decimal_parsing": ("a number, or a fraction such as 1/3", "write it as 0.25, -10 or '1/3'"),
    "decimal_max_digits": ("at most {max_digits} digits", "round it"),
    "decimal_max_places": ("at most {decimal_places} decimals", "round it"),
    "decimal_whole_digits": ("at most {whole_digits} digits before the point", "choose a smaller value"),
    "is_instance_of": ("a value of type {class}", "compare it with the examples"),
}


def _spelling(pattern: str, value: object) -> tuple[str, str]:
    strange = sorted({c for c in value if ord(c) > 127}) if isinstance(value, str) else []
    if strange:
        named = ", ".join(f"U+{ord(c):04X} {unicodedata.name(c, 'unnamed')}" for c in strange[:3])
        return f"ASCII only, so that two names that look alike are alike; here is {named}", "type it in ASCII"
    if pattern == r"^[A-Z]{3}$":
        return "a currency is three capital letters (ISO 4217)", "write it as USD"
    if "/" in pattern and "[0-9]" in pattern and "A-Z" not in pattern:
        return "a fraction of whole numbers, or a decimal", "write it as '1/3' or 0.25"
    if pattern.count("{0,63}") == 2:
        return (
            "a unit is market/product, each of letters, digits and . _ ~ - (at most 64)",
            "write it as market/product",
        )
    return "letters, digits and . _ ~ -, beginning with a letter or digit, at most 64", "rename it"


def _nearest(location: Sequence[object], model: type[BaseModel]) -> str:
    """What the field may have been meant to be."""
    name = str(location[-1])
    close = difflib.get_close_matches(name, sorted(_field_names(model)), n=1)
    return f"did you mean `{close[0]}`? Otherwise remove it" if close else "remove it"


def _field_names(model: type[BaseModel]) -> set[str]:
    """The fields of a model and of the models inside it."""
    names: set[str] = set()
    waiting: list[Any] = [model]
    seen: set[Any] = set()
    while waiting:
        kind = waiting.pop()
        if isinstance(kind, type) and issubclass(kind, BaseModel) and kind not in seen:
            seen.add(kind)
            names |= set(kind.model_fields)
            waiting += [field.annotation for field in kind.model_fields.values()]
        else:
            waiting += getattr(kind, "__args__", ())
    return names
