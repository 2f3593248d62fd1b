# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One plan for all servers: from every look, every port's answer and the inventory's claims to what each server owes.

A plan reads nothing else, so that it can be made again: just before a file is written, with fresh answers of the ports,
and just after, with what the file says then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ..shapes import Json, JsonObject
from .audit import Looked, drift_of, file_notes
from .conflicts import Claims, Conflict, find_conflicts, is_claimed_by_others
from .look import Look
from .owed import Owes, Policy, conflicts_of, refusals, unloaded, what_is_owed, with_withdrawn
from .report import Case, causes_since, report
from .targets import Claimed, named_targets, unclaimed
from .wishes import accepted_risks, arguments_of, place_of

IN_ORDER, OWES, BROKEN, REFUSED, UNREACHED = "in order", "owes", "broken", "refused", "not reached"
STATES = (IN_ORDER, OWES, BROKEN, REFUSED, UNREACHED)
_NOT_CLEAN = (REFUSED, UNREACHED)


@dataclass(frozen=True)
class Vantage:
    """From where ports are asked, and how long one attempt may take.

    Attributes:
        probe_host: Inventory host.
        timeout: Seconds.
    """

    probe_host: str
    timeout: float


@dataclass(frozen=True)
class Answers:
    """What the ports answered.

    Attributes:
        results: Result of ``port_probe`` by vantage; a vantage that is missing has answered nothing.
    """

    results: Mapping[Vantage, JsonObject] = field(default_factory=dict)

    def of(self, vantage: Vantage, targets: Iterable[JsonObject]) -> JsonObject:
        """Return the result of ``port_probe`` that one server would have got for its own targets, each once."""
        whole = self.results.get(vantage) or {"failed": True, "msg": "it gave no answer"}
        rows = {_key(row): row for row in whole.get("results") or ()}
        keys = dict.fromkeys(map(_key, targets))
        wanted = [rows[key] for key in keys if key in rows]
        # A vantage that could not check anything has no rows; what is missing is not as expected.
        as_expected = len(wanted) == len(keys) and all(row["ok"] for row in wanted)
        return {**whole, "results": wanted, "ok": as_expected and not whole.get("failed")}


def _key(target: JsonObject) -> tuple[object, ...]:
    return target["host"], target["port"], target["protocol"], target["expect"]


@dataclass(frozen=True)
class Row:
    """What one server owes.

    Attributes:
        host: Inventory name.
        state: One of `STATES`.
        because: Why it is refused or was not reached, one sentence each, the host first.
        owes: What is done and what waits; None where nothing can be planned.
        plan: Result of ``wspcfg`` that it was made from.
        ports: Results of ``port_probe`` for its targets.
        notes: What somebody should know besides.
        drift: What differs from what is wanted, as an audit says it; empty when nothing does.
        asked: Whether its ports were asked.
        vantage: From where.
        more: Debts that only the ports show.
    """

    host: str
    state: str
    because: tuple[str, ...] = ()
    owes: Owes | None = None
    plan: JsonObject = field(default_factory=dict)
    ports: tuple[JsonObject, ...] = ()
    notes: tuple[str, ...] = ()
    drift: tuple[str, ...] = ()
    asked: bool = False
    vantage: str = ""
    more: tuple[JsonObject, ...] = ()

    @property
    def elsewhere(self) -> list[list[object]]:
        """Ports that this server leaves and another one claims."""
        targets = () if self.owes is None else (*self.owes.wanted, *self.owes.prove)
        return [[target["host"], target["port"]] for target in targets if target["expect"] == "any"]

    def as_result(self) -> Json:
        """Return it as a task's result carries it; of a server in order only what counts."""
        row: Json = {"state": self.state, "because": list(self.because), "notes": list(self.notes)}
        row |= {"drift": list(self.drift), "ports": [dict(port) for port in self.ports]}
        if self.owes is None:
            return row
        if self.state == IN_ORDER:
            return {**row, "deferred": [dict(entry) for entry in self.owes.deferred]}
        plan = {name: self.plan.get(name) for name in ("files", "diff", "predicted", "closed_targets", "clock")}
        more = {"plan": plan, "more": [dict(entry) for entry in self.more], "elsewhere": self.elsewhere}
        return {**row, **self.owes.as_result(), **more}


@dataclass(frozen=True)
class FleetPlan:
    """What all servers owe together.

    Attributes:
        rows: By inventory name, in the order of the play.
        conflicts: Every port of an address that two hosts claim.
        partial: Why other servers may matter that this run does not see; empty when it sees all.
    """

    rows: Mapping[str, Row]
    conflicts: tuple[Conflict, ...] = ()
    partial: str = ""

    def named(self, *states: str) -> list[str]:
        """Return the servers in one of these states."""
        return [host for host, row in self.rows.items() if row.state in states]

    def as_result(self) -> Json:
        lists = {
            "in_order": self.named(IN_ORDER),
            "owing": self.named(OWES),
            "broken": self.named(BROKEN),
            "refused": self.named(REFUSED),
            "unreached": self.named(UNREACHED),
            "settled": self.named(IN_ORDER, OWES),
            "clean": [host for host, row in self.rows.items() if not row.drift and row.state not in _NOT_CLEAN],
        }
        servers = {host: row.as_result() for host, row in self.rows.items()}
        return {**lists, "servers": servers, "conflicts": [vars(conflict) for conflict in self.conflicts]}


@dataclass(frozen=True)
class Inventory:
    """What the inventory says beside the looks.

    Attributes:
        claims: What every host of it claims.
        outside: By host, variables of its listeners that are set outside of the inventory, so that others cannot see.
        partial: Why it may not be the whole inventory; empty when nothing tells so.
    """

    claims: Sequence[Claims] = ()
    outside: Mapping[str, Sequence[str]] = field(default_factory=dict)
    partial: str = ""

    def compared_with(self, hosts: Sequence[str] | str) -> list[Claims]:
        """Return the claims of the hosts that a server's ``publish_conflict_hosts`` names."""
        return [claims for claims in self.claims if hosts == "all" or claims.host in hosts]

    def claimed_by_others(self, look: Look) -> Claimed:
        """Return the question whether another host than this one claims a port of an address."""
        claims = self.compared_with(look.wishes["compared"])
        proxy = look.wishes.get("proxy")
        return lambda host, port: is_claimed_by_others(host, port, host=look.host, proxy=proxy, claims=claims)


# -- which ports are asked, and from where --------------------------------------------------------------------------


def vantage_of(look: Look) -> Vantage:
    return Vantage(str(look.wishes["probe_host"]), float(look.wishes["probe_timeout"]))


def ports_to_ask(looks: Iterable[Look], inventory: Inventory) -> list[Json]:
    """Return what is asked of each vantage: ``probe_host``, ``timeout`` and ``targets``, each target once."""
    asked: dict[Vantage, dict[tuple[object, ...], JsonObject]] = {}
    for look in looks:
        if look.found and not look.messages and look.wishes["probe"]:
            owes = owed_now(look, claimed=inventory.claimed_by_others(look))
            rows = asked.setdefault(vantage_of(look), {})
            rows.update({_key(target): target for target in (*owes.wanted, *owes.prove)})
    return [
        {"probe_host": vantage.probe_host, "timeout": vantage.timeout, "targets": list(targets.values())}
        for vantage, targets in asked.items()
        if targets
    ]


# -- what one server owes -------------------------------------------------------------------------------------------


def owed_now(look: Look, *, claimed: Claimed, found: JsonObject | None = None, more: Iterable[JsonObject] = ()) -> Owes:
    """Divide what was found on one server into what is done now and what waits.

    Args:
        look: Its look.
        claimed: Whether another server claims a port, which may be open then although this one leaves it.
        found: A newer result of ``wspcfg`` than the look's.
        more: Debts that only the ports show, from :func:`unloaded`.
    """
    wishes = look.wishes
    plan = found or look.found
    if wishes["state"] == "absent" and not wishes.get("restore"):
        options = {**wishes, "listeners": wishes.get("withdraw") or wishes.get("listeners")}
        plan = with_withdrawn(plan, named_targets(options, expect="closed"))
    policy = Policy(
        restart=wishes["restart"],
        window=wishes.get("restart_window") or "",
        start_stopped=wishes["start_stopped"],
        accepted=accepted_risks(wishes),
        finish=wishes["finish"],
    )
    owes = what_is_owed(plan, policy, more=more, address=wishes.get("proxy_address") or "")
    return owes.with_targets(lambda targets: [unclaimed(target, claimed) for target in targets])


def restart_arguments(look: Look, owes: Owes, more: Sequence[JsonObject] = ()) -> Json:
    """Return all arguments of ``service_restart`` for what is owed now, but for the account.

    The server is named as well: a handler's connection is that of the play's last import of the role. A service of
    which only its ports show that it must restart stands in no plan of ``wspcfg``; it is named.
    """
    # The plan of the fleet has printed the warnings, once for all servers.
    what: Json = {"names": [entry["service"] for entry in more]} if more else {"plan": {**owes.restart, "warnings": []}}
    window = {"window": owes.window} if owes.window else {}
    return {**place_of(look.wishes), **arguments_of(look.wishes, "service_restart"), **what, **window}


# -- the rows -------------------------------------------------------------------------------------------------------


def plan_fleet(
    looks: Sequence[Look],
    answers: Answers,
    inventory: Inventory,
    *,
    insides: Mapping[str, JsonObject] | None = None,
    audit: bool = False,
) -> FleetPlan:
    """Make the plan.

    Args:
        looks: Every server of the play, in its order.
        answers: What the ports answered.
        inventory: What every host of the inventory claims.
        insides: Results of ``wspcfg_info`` of servers that were looked into because a port is not as wanted although
            nothing is owed.
        audit: Whether nothing will be done, so that what is not proven is a finding and no refusal.
    """
    by_scope: dict[str, tuple[Conflict, ...]] = {}

    def conflicts_for(look: Look) -> tuple[Conflict, ...]:
        scope = look.wishes["compared"]
        name = scope if isinstance(scope, str) else "\n".join(scope)
        if name not in by_scope:
            by_scope[name] = tuple(find_conflicts(inventory.compared_with(scope)))
        return by_scope[name]

    rows = {
        look.host: _row(
            look, answers, inventory, conflicts_for=conflicts_for, inside=(insides or {}).get(look.host), audit=audit
        )
        for look in looks
    }
    found = dict.fromkeys(conflict for conflicts in by_scope.values() for conflict in conflicts)
    concerned = tuple(conflict for conflict in found if set(conflict.hosts) & set(rows))
    return FleetPlan(rows, concerned, inventory.partial)


def _row(
    look: Look,
    answers: Answers,
    inventory: Inventory,
    *,
    conflicts_for: Callable[[Look], tuple[Conflict, ...]],
    inside: JsonObject | None,
    audit: bool,
) -> Row:
    if not look.reached:
        return Row(look.host, UNREACHED, look.messages)
    if look.messages:
        return Row(look.host, REFUSED, look.messages)
    wishes = look.wishes
    claimed = inventory.claimed_by_others(look)
    owes = owed_now(look, claimed=claimed)
    probed = answers.of(vantage_of(look), (*owes.wanted, *owes.prove)) if wishes["probe"] else None
    if probed is not None and not (owes.wanted or owes.prove):
        probed = {"results": [], "ok": True}
    conflicts = [vars(row) for row in conflicts_for(look)] if wishes["state"] == "present" else []
    more = unloaded(_proven(probed, owes), inside) if inside else ()
    if more:
        owes = owed_now(look, claimed=claimed, more=more)
    wrong = [row for row in _proven(probed, owes) if not row["ok"]]
    looked = Looked(look.found, probed or {}, wishes["probe"], wishes["restart"])
    if audit:
        because = conflicts_of(look.host, conflicts)
    else:
        because = (
            *refusals(
                look.host,
                owes.as_result(),
                conflicts=conflicts,
                probed=probed,
                probe_host=wishes["probe_host"],
                blind=wishes["blind"],
            ),
            *_unprovable(look),
        )
    state = _state(owes, because, wrong)
    if state == BROKEN and inside:
        because = (_diagnosis(look, owes, _proven(probed, owes), inside),)
    return Row(
        look.host,
        state,
        tuple(reason if state == BROKEN else f"{look.host}: {reason}" for reason in because),
        owes,
        look.found,
        tuple((probed or {}).get("results") or ()),
        tuple(dict.fromkeys((*_notes(look, inventory), *file_notes(looked)))),
        drift_of(looked),
        asked=bool((probed or {}).get("results")),
        vantage=wishes["probe_host"] if wishes["probe"] else "",
        more=tuple(more),
    )


def _diagnosis(look: Look, owes: Owes, proven: Sequence[JsonObject], inside: JsonObject) -> str:
    """Say why a port is not as wanted although nothing is owed."""
    remote = bool(look.wishes.get("computer"))
    causes = causes_since(inside, {}, remote=remote)
    return report(Case(look.host, proven, inside.get("inside") or (), causes, deferred=owes.deferred))


def _proven(probed: JsonObject | None, owes: Owes) -> list[JsonObject]:
    """Return the answers of the ports that must be as wanted now."""
    keys = {_key(target) for target in owes.prove}
    return [row for row in (probed or {}).get("results") or () if _key(row) in keys]


def _state(owes: Owes, because: Sequence[str], wrong: Sequence[JsonObject]) -> str:
    if because:
        return REFUSED
    if owes.owes:
        return OWES
    return BROKEN if wrong else IN_ORDER


def _unprovable(look: Look) -> Iterator[str]:
    """Refuse what nothing could prove."""
    names = [row["protocol"] for row in look.found.get("unproven") or () if row["expect"] == "open"]
    if look.wishes["probe"] and names:
        yield (
            f"option publish_proxy_address is not given for {', '.join(names)}, so nothing would tell whether they "
            "answer on the proxy. Set it (or publish_proxy_addresses) to the proxy's external IPv4 address; or set "
            "publish_probe to false, and nothing is proven"
        )


def _notes(look: Look, inventory: Inventory) -> Iterator[str]:
    wishes = look.wishes
    if not wishes["probe"]:
        yield "publish_probe is false, so no port is checked and nothing is proven"
    else:
        ports = [str(row["port"]) for row in look.found.get("unproven") or () if row["expect"] == "closed"]
        if ports:
            yield (
                f"the proxy's address is not known for {', '.join(ports)}, so nothing proves that they are closed; set "
                "publish_proxy_address"
            )
    outside = inventory.outside.get(look.host)
    if outside:
        yield (
            f"{', '.join(outside)}: set outside of the inventory, so that a conflict with another server is not found; "
            "set them in the inventory"
        )
    for warning in look.found.get("warnings") or ():
        yield str(warning).removeprefix(f"{look.host}: ")
