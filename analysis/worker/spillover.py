"""Effects with spillover as an estimate carries them."""

from collections.abc import Iterator

from analysis.panel_data.analysis_context import METRICS, Case, Metric
from analysis.panel_data.substitutes import NoGraph
from controller.messages.events import ExposureEffect, SpilloverEffects


def published_spillover(case: Case) -> dict[Metric, SpilloverEffects]:
    """Of each metric; none where no graph of substitutes is published."""
    graph = case.substitutes
    if graph is None:
        return {}
    if isinstance(graph, NoGraph):
        absent = SpilloverEffects(
            graph=graph.version, effects=(), reason_absent=graph.reason, probabilities=None, cut=None, heaviest=None
        )
        return dict.fromkeys(METRICS, absent)
    # Loaded only where there is a graph: most experiments need none of it.
    from analysis.spillover.effects import Contrast
    from analysis.spillover.effects import SpilloverEffects as Found
    from analysis.spillover.of_experiment import HEAVY, spillover_of

    def effect(contrast: Contrast, estimator: str) -> ExposureEffect:
        low, high = contrast.interval or (None, None)
        return ExposureEffect.model_validate(
            {
                "effect": contrast.name,
                "estimator": estimator,
                "value": contrast.value,
                "se": contrast.standard_error,
                "ci_low": low,
                "ci_high": high,
                "dropped": contrast.dropped,
                "reason_absent": contrast.reason or None,
            }
        )

    def every(effects: Found | None) -> Iterator[ExposureEffect]:
        if effects is None:
            return
        for contrast in (effects.naive, effects.total, effects.direct, effects.spillover):
            yield effect(contrast, "hajek")
        if effects.linear is not None:
            for contrast in (effects.linear.total, effects.linear.direct, effects.linear.spillover):
                yield effect(contrast, "linear")

    return {
        metric: SpilloverEffects(
            graph=found.graph,
            effects=tuple(every(found.effects)),
            reason_absent=found.reason,
            probabilities=None if found.effects is None else "exact" if found.exact else "redraws",
            cut=found.cut,
            heaviest=found.heaviest,
            caution=(
                f"one cluster holds {found.heaviest:.0%} of the weight of substitution and decides the result:"
                " ask for smaller clusters"
                if found.heaviest >= HEAVY
                else None
            ),
        )
        for metric, found in spillover_of(case, graph).items()
    }
