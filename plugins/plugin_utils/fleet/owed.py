# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one server owes, divided into what is done now and what waits, and why nothing may be done.

Everything here is a pure function of what modules returned.
"""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from ...module_utils.listeners import LISTENERS
from ...module_utils.probe.model import TAKEN
from ..exchange.debts import debt_row
from ..exchange.ports import IN_FORCE
from ..problems.advice import problem_of
from ..problems.window import REMEDY, WindowError, read_window, wall_time
from ..shapes import JsonObject
from .diagnosis import broken_side
from .verdict import is_blind
from .wording import place, port_name, role_words, unprobed, who_answers


class PolicyError(ValueError):
    """An option of the role that cannot be understood; the text names it and the remedy."""


@dataclass(frozen=True)
class Owes:
    """What one server still needs.

    Attributes:
        owes: Whether anything has to be done now.
        writes: Whether a file differs from what is wanted.
        restarts: Entries of ``owed`` that are acted on now.
        deferred: Entries of ``owed`` that wait, each with ``because``.
        topics: Handler topics of ``restarts``, in the same order.
        restart: The plan for ``service_restart``; where everything that may restart waits, it only completes what an
            interrupted restart has left.
        window: In which window it must begin; empty: always.
        wanted: Targets of the port probe before anything is written: everything that must be open or closed then.
        prove: Targets that must be as expected once what is done now is done.
        refusals: Risks of the restart that no option accepts, one sentence each.
    """

    owes: bool
    writes: bool
    restarts: tuple[JsonObject, ...]
    deferred: tuple[JsonObject, ...]
    topics: tuple[str, ...]
    restart: JsonObject
    window: str
    wanted: tuple[JsonObject, ...]
    prove: tuple[JsonObject, ...]
    refusals: tuple[str, ...]

    def with_targets(self, change: Callable[[Sequence[JsonObject]], Sequence[JsonObject]]) -> Owes:
        """Return it with other expectations of the ports."""
        return replace(self, wanted=tuple(change(self.wanted)), prove=tuple(change(self.prove)))

    def as_result(self) -> dict[str, t.Any]:
        """Return it as plain data."""
        lists = ("restarts", "deferred", "topics", "wanted", "prove", "refusals")
        single = {"owes": self.owes, "writes": self.writes, "restart": dict(self.restart), "window": self.window}
        return {**single, **{name: list(getattr(self, name)) for name in lists}}


@dataclass(frozen=True)
class Policy:
    """Which restarts are wanted now.

    Attributes:
        restart: ``publish_restart``: ``now``, ``defer`` or ``never``.
        window: ``publish_restart_window``.
        start_stopped: ``publish_start_stopped``.
        accepted: Names of the options of ``service_restart`` that accept a risk and are set.
        finish: ``publish_finish``: ``same_boot`` or ``any``.
    """

    restart: str = "now"
    window: str = ""
    start_stopped: bool = False
    accepted: Collection[str] = ()
    finish: str = "same_boot"

    def postpones(self, entry: JsonObject, *, outside: str) -> str:
        """Why an owed restart is not acted on now; empty when it is.

        Completing an interrupted restart stops nothing and is what was allowed when that began: it never waits.
        """
        if entry.get("unfinished"):
            return ""
        if not entry["running"] and not self.start_stopped:
            return "the service is stopped, and publish_start_stopped is false"
        return f"publish_restart is '{self.restart}'" if self.restart != "now" else outside


def outside_window(text: str, clock: JsonObject) -> str:
    """Say why a restart may not begin now: empty inside the window, or without one.

    Args:
        text: ``publish_restart_window``: ``HH:MM-HH:MM``, over midnight when the end is before the beginning.
        clock: ``now`` (seconds since 1970 UTC), ``utc_offset_minutes`` and ``machine`` of the one that runs the script.

    Raises:
        PolicyError: The window cannot be read.
    """
    try:
        window = read_window(text)
    except WindowError as error:
        raise PolicyError(f"publish_restart_window is '{text}'. {REMEDY}") from error
    if window is None or window.contains(clock):
        return ""
    machine = clock.get("machine") or "the machine that runs the script"
    return f"outside publish_restart_window '{text}', for it is {wall_time(clock)} on {machine}"


def service_of(protocol: str | None) -> str | None:
    listener = LISTENERS.get(protocol or "")
    return None if listener is None else listener.owner.service


def _target(port: JsonObject, expect: str) -> JsonObject:
    return {"host": port["host"], "port": port["port"], "protocol": port["protocol"] or "tcp", "expect": expect}


def _staying(plan: JsonObject, address: str) -> list[JsonObject]:
    """Ports that will be in force although nobody named them: after a restore, or beside what leaves the proxy."""
    ports = [port for port in plan["predicted"] if port["will"] == IN_FORCE and (port["host"] or address)]
    return [{**port, "host": port["host"] or address} for port in ports]


def _to_prove(
    plan: JsonObject, open_ports: Iterable[JsonObject], deferred: Iterable[JsonObject]
) -> Iterator[JsonObject]:
    """Targets without the ports of running services whose restart waits, unless those are in force already."""
    waiting = {entry["service"] for entry in deferred if entry["running"]}
    in_force = {place(port) for port in plan["in_force"]}
    for port in open_ports:
        if service_of(port["protocol"]) not in waiting or place(port) in in_force:
            yield _target(port, "open")
    for port in plan["closed_targets"]:
        if not waiting or service_of(port["protocol"]) not in {*waiting, None}:
            yield _target(port, "closed")


def unloaded(results: Iterable[JsonObject], info: JsonObject) -> tuple[JsonObject, ...]:
    """Debts of services of which nothing but their ports tells whether they have loaded their file.

    That is so once at most: a restart leaves a record, and from then on the record decides.

    Args:
        results: Results of ``port_probe``.
        info: Result of ``wspcfg_info`` with the inside view of the ports that failed.
    """
    undecided = {row["service"] for row in info.get("pending", ()) if row["known_by"] == "unknown" and row["running"]}
    failed: dict[str | None, list[JsonObject]] = {}
    for result in results:
        if not result["ok"] and result["expect"] == "open":
            failed.setdefault(service_of(result["protocol"]), []).append(result)
    return tuple(
        debt_row(
            str(service),
            "nothing tells whether it has loaded its file, and its ports answer on the server only",
            running=True,
        )
        for service, rows in failed.items()
        if service in undecided and all(_answers_inside_only(row, info) for row in rows)
    )


def _answers_inside_only(result: JsonObject, info: JsonObject) -> bool:
    return result["status"] == "refused" and broken_side(result, info.get("inside") or ()).side == "proxy"


def _all_owed(plan: JsonObject, policy: Policy, more: Iterable[JsonObject]) -> list[JsonObject]:
    """Everything that is owed; what is started to complete an older restart is not owed a start besides."""
    left = plan.get("unfinished") or {}
    older = left.get("owed", ()) if policy.finish == "any" and not left.get("same_boot") else ()
    names = {entry["service"] for entry in older}
    return [*(entry for entry in plan["owed"] if entry["service"] not in names), *more, *older]


def _completion(restart: JsonObject) -> JsonObject:
    """The plan that stops nothing and only completes an interrupted restart."""
    lists = ("services", "roots", "takes_down", "stopped", "refusals", "refusals_if_started", "warnings")
    return {**restart, **{name: [] for name in lists}}


def _risks(plan: JsonObject, policy: Policy) -> Iterator[str]:
    """Why the restart would be refused once the file is written."""
    if (plan.get("unfinished") or {}).get("corrupt"):
        problem = problem_of("journal_corrupt")
        yield f"{problem.cause}. {problem.remedy}"
    for risk in plan["restart"].get("refusals_if_started" if policy.start_stopped else "refusals", ()):
        if risk["option"] not in policy.accepted:
            yield role_words(f"{risk['cause']}. {risk['remedy']}")


def what_is_owed(plan: JsonObject, policy: Policy, *, more: Iterable[JsonObject] = (), address: str = "") -> Owes:
    """Divide what a plan found into what is done now and what waits.

    Args:
        plan: Result of ``wspcfg``, from check mode or from a real run.
        policy: Which restarts are wanted now.
        more: Debts that :func:`unloaded` found.
        address: The proxy's address for ports of which the plan knows none.

    Raises:
        PolicyError: The window cannot be read.
    """
    outside = outside_window(policy.window, plan["clock"])
    because = [(entry, policy.postpones(entry, outside=outside)) for entry in _all_owed(plan, policy, more)]
    now = tuple(entry for entry, reason in because if not reason)
    later = tuple({**entry, "because": reason} for entry, reason in because if reason)
    asked = any(not entry.get("unfinished") for entry in now)
    writes = any(file["action"] != "none" for file in plan["files"])
    open_ports = plan["targets"] or _staying(plan, address)
    return Owes(
        owes=writes or bool(now),
        writes=writes,
        restarts=now,
        deferred=later,
        topics=tuple(dict.fromkeys(entry["topic"] for entry in now)),
        restart=plan["restart"] if asked else _completion(plan["restart"]),
        window=policy.window if asked else "",
        wanted=(
            *(_target(port, "open") for port in open_ports),
            *(_target(port, "closed") for port in plan["closed_targets"]),
        ),
        prove=tuple(_to_prove(plan, open_ports, later)),
        refusals=tuple(_risks(plan, policy)) if asked else (),
    )


_APART = (
    "take the listener off one of them, or give one another publish_proxy_address (with publish_pin if it is a plain"
    " listener) or another port (publish_ports)"
)


def conflicts_of(host: str, conflicts: Iterable[JsonObject]) -> tuple[str, ...]:
    """Sentences for every (address, port) that ``host`` and another host of the inventory both claim."""
    sentences = []
    for conflict in conflicts:
        if host in conflict["hosts"]:
            others = ", ".join(name for name in conflict["hosts"] if name != host)
            sentences.append(
                f"publish_listeners ({', '.join(conflict['listeners'])}): {conflict['address']}:{conflict['port']} is"
                f" claimed by {others} as well, and a proxy grants it to one server only; {_APART}"
            )
    return tuple(sentences)


def refusals(
    host: str,
    owes: JsonObject,
    *,
    conflicts: Iterable[JsonObject] = (),
    probed: JsonObject | None = None,
    probe_host: str = "localhost",
    blind: str = "refuse",
) -> tuple[str, ...]:
    """Say why nothing is done on a server, one sentence per reason.

    Args:
        host: Inventory name.
        owes: What :func:`what_is_owed` found.
        conflicts: Result of ``wspcfg_conflicts``.
        probed: Result of ``port_probe``, taken before anything is written; None without.
        probe_host: ``publish_probe_host``.
        blind: ``publish_blind``: ``refuse`` or ``proceed`` when nothing of the proxy can be seen from the probe host.
    """
    reasons = [*conflicts_of(host, conflicts), *owes["refusals"]]
    missing = unprobed(probed, probe_host)
    if missing:
        return (*reasons, missing)
    results = (probed or {}).get("results", ())
    if owes["owes"]:
        reasons += _taken(results)
    if owes["owes"] and blind == "refuse" and is_blind(results):
        ports = ", ".join(f"{port_name(result)} {result['status']}" for result in results)
        reasons.append(
            f"the proxy cannot be seen from publish_probe_host '{probe_host}' ({ports}), so nothing could be proven "
            "afterwards; choose another publish_probe_host, or set publish_blind: proceed"
        )
    return tuple(reasons)


def _taken(results: Iterable[JsonObject]) -> Iterator[str]:
    """Name the programs that answer on the proxy where Exchange should."""
    for result in results:
        if result["expect"] == "open" and result["status"] in TAKEN:
            yield (
                f"{port_name(result)} is taken by another program on the proxy: it {who_answers(result)}. Stop or move "
                f"that program (Q222553, Q271275), or take {result['protocol']} out of publish_listeners"
            )


def with_withdrawn(plan: JsonObject, targets: Collection[JsonObject]) -> dict[str, t.Any]:
    """Return the plan with everything that must be closed, also what left the file in an earlier run.

    When that run deferred its restart, the file has nothing left to tell, and the variables do. What no debt of a
    service stands for was proven before, or was never there.

    Args:
        plan: Result of ``wspcfg`` with ``state: absent``; any other comes back as it is.
        targets: Where the listeners were that are off the proxy now.
    """
    if not targets or "closed_targets" not in plan:
        return dict(plan)
    owed = {entry["service"] for entry in plan["owed"]}
    staying = [port for port in plan["predicted"] if port["will"] == IN_FORCE]
    known = {place(port) for port in (*plan["closed_targets"], *plan["targets"], *staying)}
    more = [target for target in targets if service_of(target["protocol"]) in owed and place(target) not in known]
    closed = [{name: target[name] for name in ("host", "port", "protocol")} for target in more]
    return {**plan, "closed_targets": [*plan["closed_targets"], *closed]}
