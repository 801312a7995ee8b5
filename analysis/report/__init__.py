"""Pictures of an experiment (Altair): who had which arm when, the effect look by look, the assumptions at a glance.

Each function takes tables of the export and answers a chart: the same one for the page, the notebook and a slide.
"""

from analysis.report.arms import arms_chart
from analysis.report.checks import checks_chart
from analysis.report.effect import effect_chart

__all__ = ["arms_chart", "checks_chart", "effect_chart"]
