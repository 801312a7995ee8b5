"""The first picture: the arm of every cluster on every day, and the days that do not count, with the reason."""

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import altair as alt
import numpy as np
import pyarrow as pa

from analysis.export.schemas import COUNTED, UNSEEN
from analysis.report.style import ARMS, INK, PAPER, Rows, Width, counted, data, styled

#: more rows than a page can show are thinned out evenly; so are more cells than a browser draws at once
MOST_CLUSTERS, MOST_RUNS = 120, 12_000
#: what the reader is told -> the reasons that it stands for, and its mark
MARKS: dict[str, tuple[frozenset[str], str]] = {
    "washout": (frozenset({"washout"}), "circle"),
    "blackout": (frozenset({"blackout"}), "square"),
    "missed flip": (frozenset({"undelivered", "partial"}), "cross"),
    "other rule": (frozenset({"limit", "dropped", "released"}), "triangle-up"),
}
NOTHING = "no assignment"
#: opacity of a cell that does not count
PALE = 0.32


@dataclass(frozen=True, slots=True)
class ClusterDays:
    """The panel by cluster and day: arrays of shape (C, T)."""

    clusters: tuple[str, ...]
    first_day: Any
    #: index into ``arms``; -1 where the cluster was assigned nothing
    arm: Any
    arms: tuple[str, ...]
    #: index into the names of MARKS; -1 where at least half of the units count
    mark: Any
    #: units that count, and all of them
    counting: Any
    units: Any


def cluster_days(panel: pa.Table, arms: tuple[str, ...]) -> ClusterDays:
    """Each cluster's day: the arm that most of its units had, and why most of them are left out, if they are.

    A unit-day without a sale has nothing to do with flips; it does not leave its cluster out. O(rows of the panel).
    """
    names, cluster = _codes(panel["cluster"])
    order = sorted(range(len(names)), key=lambda k: _natural(names[k]))
    rank = np.empty(len(names), dtype=np.int64)
    rank[order] = np.arange(len(names))
    cluster = rank[cluster]
    day = panel["day"].to_numpy().astype("datetime64[D]")
    first = day.min()
    column = (day - first).astype(np.int64)
    shape = (len(names), int(column.max()) + 1)

    def count(mask: Any) -> Any:
        return np.bincount(cluster[mask] * shape[1] + column[mask], minlength=shape[0] * shape[1]).reshape(shape)

    held_names, held = _codes(panel["arm"])
    by_arm = np.stack([count(held == held_names.index(a)) if a in held_names else np.zeros(shape, int) for a in arms])
    units = count(np.ones(len(cluster), dtype=bool))
    status_names, status = _codes(panel["status"])
    fine = [k for k, name in enumerate(status_names) if name in (COUNTED, *UNSEEN)]
    counting = count(np.isin(status, [k for k in fine if status_names[k] == COUNTED]))
    out = np.stack(
        [
            count(np.isin(status, [k for k, s in enumerate(status_names) if s in reasons]))
            for reasons, _ in MARKS.values()
        ]
    )
    left = 2 * out.sum(axis=0) > units
    return ClusterDays(
        clusters=tuple(names[k] for k in order),
        first_day=first,
        arm=np.where(by_arm.any(axis=0), by_arm.argmax(axis=0), -1),
        arms=arms,
        mark=np.where(left, out.argmax(axis=0), -1),
        counting=counting,
        units=units,
    )


def arms_chart(panel: pa.Table, labels: dict[str, str], width: Width = 1100, *, titled: bool = True) -> Any:
    """Arms by cluster and day: colour is the arm, a mark on a pale cell the reason why the day does not count.

    ``panel``: the table of that name, of one experiment; ``labels``: arm -> what the legend says, control first.
    """
    found = cluster_days(panel, tuple(labels))
    shown = _shown(found)
    runs = _runs(found, shown, labels)
    days = found.arm.shape[1]
    step = max(4.5, min(20.0, 640 / max(len(shown), 1)))
    x = alt.X(
        "from:T",
        title="local day",
        scale=alt.Scale(type="utc", nice=False),
        axis=alt.Axis(
            format="%-d %b %Y" if days > 300 else "%-d %b", grid=False, labelOverlap=True, labelSeparation=10
        ),
    )
    y = alt.Y(
        "cluster:N",
        title="cluster",
        sort=[found.clusters[k] for k in shown],
        axis=alt.Axis(
            grid=False, ticks=False, domain=False, labelOverlap=True, labelFontSize=max(9, min(12, int(step)))
        ),
        scale=alt.Scale(paddingInner=0.12 if step > 7 else 0.05),
    )
    tooltip = [alt.Tooltip(f"{c}:N") for c in ("cluster", "days", "arm", "counts")]
    present = [name for k, name in enumerate(MARKS) if (found.mark[shown] == k).any()]
    names = [labels[a] for k, a in enumerate(found.arms) if (found.arm == k).any()]
    colours = [ARMS[k % len(ARMS)] for k, _ in enumerate(found.arms) if (found.arm == k).any()]
    cells = (
        alt.Chart(data(runs, "from", "to"))
        .mark_rect(stroke="white", strokeWidth=0.6 if step > 7 else 0.2)
        .encode(
            x=x,
            x2="to:T",
            y=y,
            color=alt.Color(
                "arm:N",
                title="arm",
                scale=alt.Scale(domain=[*names, NOTHING], range=[*colours, PAPER]),
                legend=alt.Legend(values=names, columns=4),
            ),
            opacity=alt.condition(f"datum.mark == '{COUNTED}'", alt.value(1.0), alt.value(PALE)),
            tooltip=tooltip,
        )
    )
    layers = [cells]
    if present:
        layers.append(
            alt.Chart(data(_marks(found, shown), "at"))
            .mark_point(filled=True, color=INK, opacity=1, size=max(8, min(46, (step * 0.6) ** 2)))
            .encode(
                x=alt.X("at:T", scale=alt.Scale(type="utc", nice=False)),
                y=y,
                shape=alt.Shape(
                    "mark:N",
                    title="left out",
                    scale=alt.Scale(domain=present, range=[MARKS[name][1] for name in present]),
                    legend=alt.Legend(columns=4),
                ),
                tooltip=[alt.Tooltip(f"{c}:N") for c in ("cluster", "day", "mark")],
            )
        )
    heading = (title(found), subtitle(found)) if titled else None
    chart = alt.layer(*layers).resolve_legend(color="independent", shape="independent")
    return styled(chart, heading, width, round(step * len(shown)))


def title(found: ClusterDays) -> str:
    """What became of the flips that were planned."""
    cells = int((found.units > 0).sum())
    missed = int((found.mark == list(MARKS).index("missed flip")).sum())
    if missed:
        return f"{missed:,} of {counted(cells, 'cluster-day')} missed the flip: find out why before you quote a number"
    left = {name: int((found.mark == k).sum()) for k, name in enumerate(MARKS)}
    if any(left.values()):
        said = ", ".join(f"{count:,} by {name}" for name, count in left.items() if count)
        return f"Every planned flip was delivered; left out of {cells:,} cluster-days: {said}"
    return f"Every planned flip was delivered, and all {cells:,} cluster-days count"


def subtitle(found: ClusterDays) -> list[str]:
    """How much there is, and how much of it is drawn."""
    shown = _shown(found)
    clusters, days = found.arm.shape
    changes = int(((found.arm[:, 1:] != found.arm[:, :-1]) & (found.arm[:, 1:] >= 0) & (found.arm[:, :-1] >= 0)).sum())
    said = [f"{counted(clusters, 'cluster')}, {counted(days, 'day')}, {counted(changes, 'change')} of arm."]
    if len(shown) < clusters:
        said[0] += f" Shown are {len(shown)} clusters, evenly spaced by name; all of them are counted."
    return said


def _shown(found: ClusterDays) -> Any:
    """Rows that fit: evenly spaced where there are too many clusters, or too many runs in them."""
    clusters = len(found.clusters)
    runs = 1 + ((found.arm[:, 1:] != found.arm[:, :-1]) | (found.mark[:, 1:] != found.mark[:, :-1])).sum(axis=1)
    most = min(clusters, MOST_CLUSTERS, max(1, int(MOST_RUNS / max(float(runs.mean()), 1.0))))
    return np.unique(np.linspace(0, clusters - 1, most).round().astype(np.int64))


def _runs(found: ClusterDays, shown: Any, labels: dict[str, str]) -> Rows:
    """Days in a row with the same arm and reason, as one bar."""
    rows: Rows = []
    names = list(MARKS)
    for c in shown:
        arm, mark, counting, units = found.arm[c], found.mark[c], found.counting[c], found.units[c]
        starts = np.flatnonzero(np.r_[True, (arm[1:] != arm[:-1]) | (mark[1:] != mark[:-1])])
        for start, end in zip(starts, [*starts[1:], len(arm)], strict=True):
            if not units[start:end].any():
                continue
            first, last = _day(found, int(start)), _day(found, int(end) - 1)
            rows.append(
                {
                    "cluster": found.clusters[c],
                    "from": first,
                    "to": _day(found, int(end)),
                    "days": first if first == last else f"{first} to {last}",
                    "arm": labels[found.arms[arm[start]]] if arm[start] >= 0 else NOTHING,
                    "mark": names[mark[start]] if mark[start] >= 0 else COUNTED,
                    "counts": f"{int(counting[start:end].sum()):,} of {int(units[start:end].sum()):,} unit-days"
                    + (f"; left out: {names[mark[start]]}" if mark[start] >= 0 else ""),
                }
            )
    return rows


def _marks(found: ClusterDays, shown: Any) -> Rows:
    """One mark a cluster-day that is left out, in its middle."""
    names = list(MARKS)
    return [
        {
            "cluster": found.clusters[c],
            "at": f"{_day(found, int(t))}T12:00:00Z",
            "day": _day(found, int(t)),
            "mark": names[found.mark[c, t]],
        }
        for c in shown
        for t in np.flatnonzero(found.mark[c] >= 0)
    ]


def _day(found: ClusterDays, column: int) -> str:
    return str(found.first_day.astype(object) + timedelta(days=column))


def _natural(name: str) -> list[tuple[int, str]]:
    """store-2 before store-10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _codes(column: Any) -> tuple[list[str], Any]:
    """The names of a column and, for each row, its index there; -1 where it is null."""
    encoded = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.unify_dictionaries().combine_chunks()
    names = encoded.dictionary.to_pylist()
    return names, encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
