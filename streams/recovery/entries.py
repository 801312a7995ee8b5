"""Entries that a store has lost or does not have yet, from the answers to triggers that stand on the log."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from controller.decisions.enrolment import ClusterEntries, Enrolment, entry_of, replace_cluster
from controller.definition.experiment import Experiment
from controller.messages.control import Entered, TriggerIgnored
from controller.time.periods import day_start
from streams.flips.trigger_answers import enrolments, spelled
from streams.store import Registration, plan_key
from streams.worker.services import Parts


async def restore_enrolments(
    parts: Parts,
    shard: int,
    epoch: int,
    answers: Sequence[Entered | TriggerIgnored],
    registrations: Mapping[str, Registration],
) -> None:
    """Merge answers into what the store knows of clusters; what it knows already stays. Raises Fenced."""
    if not answers:
        return
    _, texts = await parts.store.triggers.enrolments(shard)
    known, changed = enrolments(texts), dict[str, str]()
    for answer in sorted(answers, key=lambda a: a.decided_at):
        held = registrations.get(answer.experiment)
        if held is None or held.experiment.version != answer.experiment_version:
            continue
        plan = plan_key(answer.experiment, answer.experiment_version, answer.market)
        enrolment = known.get(plan, Enrolment())
        found = merged(held.experiment, enrolment.of(answer.cluster), answer)
        if found is not None:
            known[plan] = replace_cluster(enrolment, answer.cluster, found)
            name, text = spelled(plan, answer.cluster, known[plan])
            changed[name] = text
    if changed:
        await parts.store.triggers.begun(shard, epoch, changed)


def merged(experiment: Experiment, known: ClusterEntries, answer: Entered | TriggerIgnored) -> ClusterEntries | None:
    """What is known of a cluster, with an answer that it does not have; None where it has it.

    Units that had fired for a quorum are not on the log: after a loss, a day's count of them begins anew.
    """
    if answer.trigger in known.seen or any(entry.trigger == answer.trigger for entry in known.entries):
        return None
    heard = replace(known, seen={**known.seen, answer.trigger: answer.triggered_at})
    moved = known.last_trigger
    if isinstance(answer, Entered) or answer.reason != "quorum":
        heard = replace(heard, last_trigger=answer.triggered_at if moved is None else max(moved, answer.triggered_at))
    if isinstance(answer, TriggerIgnored):
        return heard
    entry = entry_of(experiment, answer)
    within_a_day = entry.starts_at > day_start(entry.first_day, experiment.time_zones()[entry.market])
    entries = sorted((*known.entries, entry), key=lambda e: e.ordinal)
    latest = entries[-1] is entry
    return replace(heard, entries=tuple(entries), starting=within_a_day if latest else known.starting)
