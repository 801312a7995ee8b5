"""`flipside experiment withdraw`, `stop`, `pause`, `resume`, `freeze`, `unfreeze`, `kill`, `archive`, `history`."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from flipside.commands.options import AsJson, Kafka, Namespace, settings_from

if TYPE_CHECKING:
    from controller.messages.control import Action, Role
    from streams.runtime.settings import Settings

Timeout = Annotated[float, typer.Option("--timeout", help="Seconds to wait for a worker's answer.")]
Experiment = Annotated[str, typer.Argument(help="Name of a registered experiment.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; it is kept in the log.")]
Who = Annotated[str, typer.Option("--who", help="Who asks; without it, the user of this machine.")]
As = Annotated[Literal["owner", "on_call"], typer.Option("--as", help="Owner of the experiment, or person on call.")]


def _change(
    settings: "Settings", name: str, action: "Action", role: "Role", who: str, why: str, timeout: float
) -> None:
    """Ask for a change of an experiment's life; prints what became of it."""
    import asyncio

    from controller.messages.control import LifecycleRequest
    from controller.messages.topics import DEFINITION
    from flipside.terminal.escape import say
    from flipside.topics import requests
    from streams.runtime.clock import WallClock

    at = WallClock().now()
    request = LifecycleRequest(
        id=f"{name}/{action}/{at.isoformat()}",
        experiment=name,
        action=action,
        role=role,
        who=who or _user(),
        why=why,
        requested_at=at,
    )
    done = asyncio.run(requests.ask(settings, DEFINITION, request, requests.change_of(request), timeout))
    frozen = ", no cluster enters any more" if done.frozen else ""
    say(f"{name} was {done.from_state} and is {done.to_state}{frozen}: {done.why}")


def _user() -> str:
    import getpass

    return getpass.getuser()


#: what may be asked of a registered experiment -> what its help teaches
ASKED: dict["Action", str] = {
    "withdraw": "Take back an experiment before it begins: nothing is drawn, and its next version may be submitted.",
    "stop": "End an experiment: its units go back to control at the next day boundary that is not yet decided.",
    "pause": "Control prices from the next day boundary that is not yet decided, until it is resumed.",
    "resume": "Go on with a paused experiment at the next day boundary; days in between are reported as undelivered.",
    "freeze": "A triggered experiment takes no new entries; those that run go on. Other designs go on as they are.",
    "unfreeze": "A triggered experiment takes entries again.",
    "archive": "Put away an experiment that is over; nothing more happens to it once its units are back on control.",
}


def _verb(action: "Action", teaches: str) -> Callable[..., None]:
    def verb(
        name: Experiment, reason: Reason, who: Who = "", role: As = "owner", kafka: Kafka = None,
        namespace: Namespace = None, timeout: Timeout = 30.0,
    ) -> None:  # fmt: skip
        _change(settings_from(kafka=kafka, namespace=namespace), name, action, role, who, reason, timeout)

    verb.__doc__ = teaches
    return verb


def kill(
    reason: Reason,
    name: Annotated[str, typer.Argument(help="Name of a registered experiment; this ends it for good.")] = "",
    market: Annotated[str, typer.Option("--market", help="All experiments in this market, until lifted.")] = "",
    everything: Annotated[bool, typer.Option("--all", help="All experiments everywhere, until lifted.")] = False,
    lift: Annotated[bool, typer.Option("--lift", help="Lift the switch of --market or --all.")] = False,
    who: Who = "",
    role: As = "on_call",
    kafka: Kafka = None,
    namespace: Namespace = None,
    timeout: Timeout = 30.0,
) -> None:
    """Control prices now, before any boundary, despite blackouts and decisions for tomorrow."""
    import asyncio

    from controller.errors import FlipsideError
    from controller.messages.control import Kill
    from controller.messages.topics import DEFINITION
    from flipside.terminal.escape import say
    from flipside.topics import requests
    from streams.runtime.clock import WallClock

    if sum((bool(name), bool(market), everything)) != 1:
        raise FlipsideError("kill one thing: the NAME of an experiment, --market MARKET, or --all")
    if name and lift:
        raise FlipsideError(f"{name}: a killed experiment is over; register it anew as its next version")
    settings = settings_from(kafka=kafka, namespace=namespace)
    if name:
        _change(settings, name, "kill", role, who, reason, timeout)
        return
    switch = Kill(
        id=f"market.{market}" if market else "all",
        scope="market" if market else "all",
        name=market,
        lifted=lift,
        who=who or _user(),
        why=reason,
        requested_at=WallClock().now(),
    )
    asyncio.run(requests.ask(settings, DEFINITION, switch, requests.kill_of(switch), timeout))
    what = f"market {market}" if market else "every experiment"
    say(f"{what}: {'drawn again from the next day on' if lift else 'control prices now'}: {reason}")


def history(name: Experiment, kafka: Kafka = None, namespace: Namespace = None, as_json: AsJson = False) -> None:
    """Every change of an experiment's life: when, from which state to which, who, why."""
    import asyncio
    import json

    from flipside.terminal.record_list import print_records
    from flipside.topics import registered

    held, _ = asyncio.run(registered.known(settings_from(kafka=kafka, namespace=namespace)))
    changes = registered.one_of(held, name).changes
    if as_json:
        print(json.dumps([change.model_dump(mode="json") for change in changes]))
        return
    rows = []
    for change in changes:
        frozen = "yes" if change.frozen else ""
        who = f"{change.who} ({change.role})"
        row = (change.changed_at, change.action, change.from_state, change.to_state, frozen, who, change.why)
        rows.append(row)
    print_records(("when", "what", "from", "to", "frozen", "who", "why"), rows)


VERBS: dict[str, Callable[..., None]] = {
    **{action: _verb(action, teaches) for action, teaches in ASKED.items()},
    "kill": kill,
    "history": history,
}
