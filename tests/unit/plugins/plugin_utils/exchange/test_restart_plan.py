# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The restart planner, for every subset of the documented graph and every set of roots."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.exchange.inspection import ServiceState
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.exchange.restart_plan import (
    Loads,
    RestartPlan,
    Wish,
    make_graph,
    plan_restart,
)
from tests.support.inspections import GRAPH

EXCHANGE = [name for name in GRAPH if name != "EventLog"]
IMC = "MSExchangeIMC"
ROOTS = ("MSExchangeDS", "MSExchangeIS", "MSExchangeIMC", "MSExchangeMTA")

# Everything that depends on a service, directly or not, written down by hand from Q143380 and Q260698.
ABOVE = {
    "MSExchangeDS": {"IS", "MTA", "IMC", "ES", "KMS", "DX", "FB", "MSMI", "ATMTA"},
    "MSExchangeIS": {"IMC", "ES", "FB"},
    "MSExchangeMTA": {"DX", "IMC"},
    "MSExchangeIMC": set(),
}


def below(name: str) -> set[str]:
    """Everything that a service depends on, directly or not."""
    found = set(GRAPH.get(name, ()))
    return found.union(*(below(other) for other in found))


BELOW = {name: below(name) for name in GRAPH}


def state(name: str, running: bool, **more: object) -> ServiceState:
    return ServiceState(
        name=name,
        exists=True,
        state="running" if running else "stopped",
        start_type=str(more.get("start_type", "auto")),
        depends_on=GRAPH.get(name, ()),
    )


def servers(running: set[str]) -> list[ServiceState]:
    return [state(name, name in running or name == "EventLog") for name in GRAPH]


def plan(running: set[str], names: tuple[str, ...], **more: bool) -> RestartPlan:
    return plan_restart(servers(running), Wish(names, **more))


def expected_union(running: set[str], names: tuple[str, ...]) -> set[str]:
    roots = {name for name in names if name in running}
    above = {f"MSExchange{short}" for root in roots for short in ABOVE[root]}
    return roots | (above & running)


def in_order(names: Sequence[str]) -> None:
    """Nothing comes before what it depends on, be it through a service that is not among them."""
    for number, name in enumerate(names):
        assert BELOW[name].isdisjoint(names[number + 1 :])


@pytest.mark.parametrize("size", range(1, len(ROOTS) + 1))
def test_every_subset_of_the_graph(size: int) -> None:
    """2,048 sets of running services times every set of roots: union, order, and nothing that need not."""
    for names in itertools.combinations(ROOTS, size):
        for bits in range(1 << len(EXCHANGE)):
            running = {name for number, name in enumerate(EXCHANGE) if bits >> number & 1}
            found = plan(running, names)
            union = expected_union(running, names)
            moved = [entry.name for entry in found.entries if entry.name not in found.stopped]
            assert set(moved) == union
            assert set(found.roots) == {name for name in names if name in running}
            assert set(found.takes_down) == union - set(found.roots)
            assert set(found.stopped) == {name for name in names if name not in running}
            in_order([entry.name for entry in found.entries])
            in_order(found.takes_down[::-1])


def test_order_of_the_article() -> None:
    found = plan(set(EXCHANGE) - {"MSExchangeKMS"}, ("MSExchangeDS",))
    assert [entry.name for entry in found.entries] == [
        "MSExchangeDS",
        "MSExchangeIS",
        "MSExchangeMTA",
        "MSExchangeMSMI",
        "MSExchangeDX",
        "MSExchangeIMC",
        "MSExchangeFB",
        "MSExchangeATMTA",
        "MSExchangeES",
    ]
    assert found.takes_down == tuple(reversed([entry.name for entry in found.entries[1:]]))


def test_imc_is_bounced_once_for_store_and_mta() -> None:
    found = plan(set(EXCHANGE) - {"MSExchangeKMS"}, ("MSExchangeIS", "MSExchangeMTA"))
    names = [entry.name for entry in found.entries]
    assert names.count("MSExchangeIMC") == 1 and "MSExchangeDS" not in names


def test_stopped_root_covers_nothing() -> None:
    running = set(EXCHANGE) - {"MSExchangeDS", "MSExchangeKMS"}
    found = plan(running, ("MSExchangeDS",))
    assert found.roots == () and found.takes_down == () and found.stopped == ("MSExchangeDS",)
    assert found.refusals == ()


def test_crashed_directory_refuses_the_store() -> None:
    running = set(EXCHANGE) - {"MSExchangeDS", "MSExchangeKMS"}
    found = plan(running, ("MSExchangeIS",))
    assert "dependency_down" in [problem.code for problem in found.refusals]
    accepted = plan(running, ("MSExchangeIS",), start_dependencies=True)
    assert accepted.refusals == ()


def _codes(found: RestartPlan) -> list[tuple[str, str | None]]:
    return [(problem.code, problem.option) for problem in found.refusals]


def test_refusals_name_the_option_that_accepts_the_risk() -> None:
    found = plan(set(EXCHANGE), ("MSExchangeDS",))
    assert _codes(found) == [("kms_running", "allow_kms")]
    found = plan(set(EXCHANGE), ("MSExchangeIS",))
    assert _codes(found) == [], "the key server does not depend on the store"
    rows = [*servers(set(EXCHANGE) - {"MSExchangeKMS"}), state("ClusSvc", True)]
    assert _codes(plan_restart(rows, Wish(("MSExchangeIS",)))) == [("cluster_node", "allow_cluster")]
    rows[-1] = state("ClusSvc", False, start_type="disabled")
    assert _codes(plan_restart(rows, Wish(("MSExchangeIS",)))) == []


def test_disabled_dependent_is_refused() -> None:
    rows = servers({"MSExchangeSA", "MSExchangeDS", "MSExchangeIS", "MSExchangeES"})
    rows = [state(row.name, True, start_type="disabled") if row.name == "MSExchangeES" else row for row in rows]
    assert _codes(plan_restart(rows, Wish(("MSExchangeIS",)))) == [("service_disabled", "allow_disabled")]


def test_what_is_stopped_counts_for_a_restart_that_starts_it() -> None:
    services = [
        state(name, name not in ("MSExchangeIS", "MSExchangeIMC"), start_type="disabled" if name == IMC else "auto")
        for name in GRAPH
    ]
    found = plan_restart(services, Wish(("MSExchangeIS", IMC)))
    assert _codes(found) == []
    assert [(row.code, row.option) for row in found.refusals_if_started] == [("service_disabled", "allow_disabled")]
    alone = plan_restart(services, Wish((IMC,)))
    assert {row.code for row in alone.refusals_if_started} == {"service_disabled", "dependency_down"}
    assert [row["code"] for row in alone.as_result()["refusals_if_started"]] == [
        row.code for row in alone.refusals_if_started
    ]


def test_missing_service_is_named() -> None:
    found = plan_restart(servers(set()), Wish(("Spooler",)))
    assert found.refusals[0].value == "Spooler" and found.refusals[0].option == "names"


@pytest.mark.parametrize("start", [False, True])
def test_a_driver_is_refused_as_one_and_is_no_obstacle_below_a_service(start: bool) -> None:
    rows = [
        ServiceState("Tcpip", True, "unknown", "system"),
        ServiceState("Spooler", True, "running", "auto", depends_on=("tcpip",)),
    ]
    (refusal,) = plan_restart(rows, Wish(("TCPIP",), start=start)).refusals
    assert (refusal.code, refusal.option, refusal.value, refusal.service) == ("driver", "names", "TCPIP", "Tcpip")
    assert plan_restart(rows, Wish(("TCPIP",), start=start)).stopped == ()
    allowed = plan_restart(rows, Wish(("Spooler",)))
    assert (allowed.refusals, allowed.entries[0].depends_on) == ((), ())


def test_names_have_no_case() -> None:
    found = plan({"MSExchangeSA", "MSExchangeDS", "MSExchangeIS"}, ("msexchangeis",))
    assert found.roots == ("MSExchangeIS",)


def test_pending_states_count_as_active() -> None:
    rows = [state("A", True), ServiceState("B", True, "stop_pending", "auto", depends_on=("a",))]
    assert plan_restart(rows, Wish(("A",))).takes_down == ("B",)


def test_groups_make_dependents_but_no_single_one_is_needed() -> None:
    rows = [
        ServiceState("A", True, "running", "auto", group="Net"),
        ServiceState("B", True, "stopped", "auto", group="net"),
        ServiceState("C", True, "running", "auto", depends_on_groups=("NET",)),
    ]
    found = plan_restart(rows, Wish(("A",)))
    assert found.takes_down == ("C",) and found.refusals == ()


def test_drivers_are_no_dependencies_to_wait_for() -> None:
    rows = [ServiceState("TCPIP", True, "unknown", "system"), ServiceState("C", True, "running", depends_on=("tcpip",))]
    found = plan_restart(rows, Wish(("C",)))
    assert found.entries[0].depends_on == () and found.refusals == ()


def test_circle_ends() -> None:
    rows = [
        ServiceState("A", True, "running", depends_on=("B",)),
        ServiceState("B", True, "running", depends_on=("A",)),
    ]
    assert [entry.name for entry in plan_restart(rows, Wish(("A",))).entries] == ["A", "B"]


def test_what_a_service_loads_travels_with_it() -> None:
    loads = Loads(r"C:\f.ini", "aa", "bb")
    found = plan_restart(servers({"MSExchangeIS"}), Wish(("MSExchangeIS",), {"msexchangeis": loads}))
    row = found.entries[0].as_request()
    assert (row["file"], row["file_sha256"], row["loaded"]) == (r"C:\f.ini", "aa", "bb")


def test_monitor_warning_only_for_what_monitors_watch() -> None:
    assert plan({"MSExchangeIMC"}, ("MSExchangeIMC",)).warnings == ()
    assert "Q245838" in plan({"MSExchangeIS", "MSExchangeDS"}, ("MSExchangeIS",)).warnings[0]


@settings(max_examples=150, deadline=None)
@given(data=st.data(), count=st.integers(2, 9))
def test_any_graph(data: st.DataObject, count: int) -> None:
    """Whatever depends on whatever: start order is topological and the union is closed under running dependents."""
    names = [f"S{number}" for number in range(count)]
    needs = {
        name: tuple(data.draw(st.lists(st.sampled_from(names[:number]), unique=True, max_size=3)) if number else ())
        for number, name in enumerate(names)
    }
    running = set(data.draw(st.lists(st.sampled_from(names), unique=True)))
    wanted = data.draw(st.lists(st.sampled_from(names), unique=True, min_size=1))
    rows = [
        ServiceState(name, True, "running" if name in running else "stopped", depends_on=needs[name]) for name in names
    ]
    found = plan_restart(rows, Wish(tuple(wanted)))
    order = [entry.name for entry in found.entries]
    graph = make_graph(rows)
    for root in found.roots:
        above = {row.name for row in rows if row.name.lower() in graph.dependents([root])}
        assert above & running <= set(order)
    for name, number in ((name, order.index(name)) for name in order):
        assert all(other not in order or order.index(other) < number for other in needs[name])
    stops = list(found.takes_down)
    for name in stops:
        assert all(other not in stops or stops.index(name) < stops.index(other) for other in needs[name])
