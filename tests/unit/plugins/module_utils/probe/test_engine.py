# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which target is connected to when, and what becomes of it: on a replayed network with a clock of its own."""

from __future__ import annotations

import errno
import typing as t
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.msexchange.winsock_proxy.plugins.module_utils.probe import dialogues
from ansible_collections.msexchange.winsock_proxy.plugins.module_utils.probe.engine import NOT_UNDERSTOOD, probe
from ansible_collections.msexchange.winsock_proxy.plugins.module_utils.probe.model import (
    FAREWELL_SECONDS,
    PROTOCOLS,
    SATISFYING,
    Ending,
    Options,
    Status,
    Target,
)
from ansible_collections.msexchange.winsock_proxy.plugins.module_utils.probe.network import NoRoom, Resolved
from tests.support.replay import Log, Peer, ReplayedNetwork

DATA = Path(__file__).resolve().parents[4] / "data" / "tls"
A = "192.0.2.1"
POP3 = b"+OK Microsoft Exchange POP3 server version 5.5.2655.20 ready\r\n"
SMTP = b"220 exch.example.com ESMTP Server (Microsoft Exchange Internet Mail Service 5.5.2232.0) Ready.\r\n"
FOREIGN = b"+OK Dovecot ready.\r\n"
ONCE = Options(deadline=0)

KEYS = (
    "host port protocol expect ok status detail address attempts elapsed_ms speaks greeting product version ldap tls"
).split()


def greeter(greeting: bytes, after: float = 0.0) -> Peer:
    """Greets, and answers the farewell by closing."""
    return Peer(says=[(after, greeting)], answers=lambda data: Ending.CLOSED)


def run(
    network: ReplayedNetwork, *targets: Target, options: Options = ONCE
) -> tuple[list[dict[str, t.Any]], ReplayedNetwork]:
    return probe(targets, options, network=network), network


def one(peer: Peer | list[Peer], target: Target | None = None, options: Options = ONCE) -> dict[str, t.Any]:
    target = target or Target(A, 110, "pop3")
    return run(ReplayedNetwork({(A, target.port): peer}), target, options=options)[0][0]


def test_results_keep_the_order_and_their_keys() -> None:
    peers: dict[tuple[str, int], Peer | list[Peer]] = {
        (A, 110): greeter(POP3, after=30.0),
        (A, 111): greeter(FOREIGN),
        (A, 25): greeter(SMTP, after=5.0),
    }
    targets = [Target(A, 110, "pop3"), Target(A, 111, "pop3"), Target(A, 112, "pop3s"), Target(A, 25, "smtp")]
    results, dummy = run(ReplayedNetwork(peers), *targets)
    assert [result["status"] for result in results] == ["open", "foreign", "refused", "open"]
    assert [result["port"] for result in results] == [110, 111, 112, 25]
    assert all(list(result) == KEYS for result in results)


def test_no_targets_no_results() -> None:
    assert probe([], ONCE, network=ReplayedNetwork()) == []


def test_greeting_of_a_minute_is_awaited() -> None:
    """Reverse name look-up delays Exchange's greeting by up to a minute (Q258745)."""
    result = one(greeter(POP3, after=62.0))
    assert (result["status"], result["elapsed_ms"], result["attempts"]) == ("open", 62000, 1)


def test_time_of_the_verdict_does_not_count_good_manners() -> None:
    result = one(Peer(says=[(1.0, POP3)]))  # never answers QUIT
    assert result["elapsed_ms"] == 1000


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (errno.ECONNREFUSED, "refused"),
        (errno.ETIMEDOUT, "timeout"),
        (errno.EHOSTUNREACH, "unreachable"),
        (errno.ENETUNREACH, "unreachable"),
        (errno.EACCES, "unreachable"),
        (errno.ECONNRESET, "reset"),
    ],
)
def test_connection_errors(code: int, status: str) -> None:
    result = one(Peer(error=code))
    assert (result["status"], result["ok"], result["attempts"]) == (status, False, 1)


def test_drip_after_the_farewell_costs_no_more_than_silence() -> None:
    drip: list[tuple[float, bytes | Ending]] = [(1.0 + second, b"x") for second in range(1, 60)]
    network = ReplayedNetwork({(A, 110): Peer(says=[(1.0, POP3), *drip])})
    begun = network.now()
    results, dummy = run(network, Target(A, 110, "pop3"))
    assert (results[0]["status"], results[0]["elapsed_ms"]) == ("open", 1000)
    assert network.now() - begun == 1.0 + FAREWELL_SECONDS


def test_filtered_port_costs_the_connect_timeout_only() -> None:
    result = one(Peer(accepts_after=None), options=Options(deadline=0, timeout=75, connect_timeout=10))
    assert (result["status"], result["elapsed_ms"]) == ("timeout", 10000)


def test_silent_port_costs_one_timeout() -> None:
    result = one(Peer(accepts_after=2.0), options=Options(deadline=0, timeout=75))
    assert (result["status"], result["elapsed_ms"]) == ("silent", 75000)


def test_hundred_filtered_ports_cost_one_timeout() -> None:
    network = ReplayedNetwork({(A, port): Peer(accepts_after=None) for port in range(1, 101)})
    begun = network.now()
    results, dummy = run(network, *(Target(A, port) for port in range(1, 101)))
    assert {result["status"] for result in results} == {"timeout"}
    assert network.now() - begun == ONCE.connect_timeout


def test_starting_store_is_waited_for() -> None:
    peers = [Peer(error=errno.ECONNREFUSED), Peer(error=errno.ECONNREFUSED), greeter(POP3)]
    result = one(peers, options=Options(deadline=60, delay=5))
    assert (result["status"], result["attempts"], result["elapsed_ms"]) == ("open", 3, 10000)


def test_no_attempt_begins_after_the_deadline() -> None:
    network = ReplayedNetwork({(A, 110): Peer(error=errno.ECONNREFUSED)})
    begun = network.now()
    results, dummy = run(network, Target(A, 110, "pop3"), options=Options(deadline=12, delay=5))
    assert (results[0]["status"], results[0]["attempts"]) == ("refused", 3)
    assert [log.at - begun for log in network.log] == [0, 5, 10]


def test_no_attempt_that_had_to_wait_begins_after_the_deadline() -> None:
    """With more targets than connections, those that wait their turn for a second attempt may be too late."""
    network = ReplayedNetwork({(A, port): Peer() for port in range(1, 41)})
    begun = network.now()
    options = Options(deadline=100, timeout=75, delay=5, concurrency=10)
    results, dummy = run(network, *(Target(A, port, "pop3") for port in range(1, 41)), options=options)
    assert {result["status"] for result in results} == {"silent"}
    assert [log.port for log in network.log[:40]] == list(range(1, 41))  # everyone has a first one, however late
    assert all(log.at - begun <= options.deadline for log in network.log[40:])


def test_deadline_zero_is_one_attempt() -> None:
    assert one(Peer(error=errno.ECONNREFUSED))["attempts"] == 1


def test_waiting_does_not_change_who_owns_a_port() -> None:
    assert one(greeter(FOREIGN), options=Options(deadline=300))["attempts"] == 1


@pytest.mark.parametrize(
    ("peer", "expect", "ok"),
    [
        (greeter(POP3), "open", True),
        (greeter(POP3), "closed", False),
        (greeter(POP3), "any", True),
        (greeter(FOREIGN), "open", False),
        (greeter(FOREIGN), "closed", True),
        (Peer(error=errno.ECONNREFUSED), "closed", True),
        (Peer(accepts_after=None), "closed", True),
        (Peer(error=errno.EHOSTUNREACH), "closed", False),
        (Peer(error=errno.EHOSTUNREACH), "any", True),
        (Peer(), "closed", False),
    ],
)
def test_expectations(peer: Peer, expect: str, ok: bool) -> None:
    assert one(peer, Target(A, 110, "pop3", expect))["ok"] is ok


@pytest.mark.parametrize(
    ("greeting", "ok"), [(FOREIGN, True), (b"* OK Microsoft Exchange IMAP4rev1 Server Ready\r\n", False), (POP3, False)]
)
def test_another_product_in_clear_closes_a_tls_port_and_exchange_does_not(greeting: bytes, ok: bool) -> None:
    result = one(Peer(says=[(0.0, greeting)]), Target(A, 995, "pop3s", "closed"))
    assert (result["status"], result["ok"]) == ("no_tls", ok)


def test_exchange_of_another_protocol_does_not_close_a_port() -> None:
    assert one(greeter(SMTP), Target(A, 110, "pop3", "closed"))["ok"] is False


def test_any_is_satisfied_at_once() -> None:
    result = one(Peer(error=errno.ECONNREFUSED), Target(A, 110, "pop3", "any"), Options(deadline=300))
    assert result["attempts"] == 1


def test_closed_is_waited_for() -> None:
    peers = [greeter(POP3), greeter(POP3), Peer(error=errno.ECONNREFUSED)]
    result = one(peers, Target(A, 110, "pop3", "closed"), Options(deadline=60))
    assert (result["status"], result["ok"], result["attempts"]) == ("refused", True, 3)


def test_pattern_that_nothing_could_be_held_against_is_not_satisfied() -> None:
    """A server hello proves a TLS port, and no pattern."""
    hello = bytes.fromhex("800b0400010002000000000000")
    peer = Peer(answers=lambda data: hello)
    assert one(peer, Target(A, 995, "pop3s"))["ok"] is True
    result = one(peer, Target(A, 995, "pop3s", greeting="Exchange"))
    assert (result["status"], result["ok"]) == ("open", False)


# --- names --------------------------------------------------------------------------------------------------------


def test_a_name_is_looked_up_once() -> None:
    network = ReplayedNetwork({(A, 110): greeter(POP3), (A, 111): greeter(POP3)}, names={"mail": (A,)})
    results, dummy = run(network, Target("mail", 110, "pop3"), Target("mail", 111, "pop3"))
    assert network.lookups == ["mail"]
    assert [(result["host"], result["address"]) for result in results] == [("mail", A)] * 2


TWO = ("192.0.2.8", "192.0.2.9")


def named(
    first: Peer | list[Peer], second: Peer | list[Peer], target: Target, options: Options = ONCE
) -> dict[str, t.Any]:
    """Probe a name with two addresses."""
    peers = {(address, target.port): peer for address, peer in zip(TWO, (first, second), strict=True)}
    return run(ReplayedNetwork(peers, names={"mail": TWO}), target, options=options)[0][0]


REFUSES = Peer(error=errno.ECONNREFUSED)
FILTERED = Peer(accepts_after=None)


@pytest.mark.parametrize("first", [REFUSES, FILTERED, Peer(error=errno.EHOSTUNREACH)])
def test_one_attempt_tries_every_address_until_one_accepts(first: Peer) -> None:
    result = named(first, greeter(POP3), Target("mail", 110, "pop3"))
    assert (result["status"], result["address"], result["attempts"]) == ("open", TWO[1], 2)


def test_address_that_accepts_is_the_last_one() -> None:
    result = named(greeter(FOREIGN), greeter(POP3), Target("mail", 110, "pop3"))
    assert (result["status"], result["address"], result["attempts"]) == ("foreign", TWO[0], 1)


def test_attempts_take_turns_at_addresses() -> None:
    result = named(Peer(says=[(0.0, Ending.RESET)]), greeter(POP3), Target("mail", 110, "pop3"), Options(deadline=60))
    assert (result["status"], result["address"], result["attempts"]) == ("open", TWO[1], 2)


def test_name_is_closed_when_all_its_addresses_are() -> None:
    closed = Target("mail", 110, "pop3", "closed")
    result = named(REFUSES, greeter(POP3), closed)
    assert (result["status"], result["ok"], result["address"]) == ("open", False, TWO[1])
    result = named(FILTERED, REFUSES, closed)
    assert (result["status"], result["ok"], result["address"]) == ("refused", True, TWO[1])
    assert result["detail"] == f"{TWO[0]} gives no answer"


def test_addresses_of_a_name_share_the_time_of_an_attempt() -> None:
    result = named(FILTERED, FILTERED, Target("mail", 110, "pop3"), Options(deadline=0, timeout=12, connect_timeout=10))
    assert (result["status"], result["elapsed_ms"], result["attempts"]) == ("timeout", 12000, 2)
    assert result["address"] == TWO[0]
    assert result["detail"] == f"no answer to the connection request in 10 s; {TWO[1]} gives no answer"


@pytest.mark.parametrize("options", [ONCE, Options(deadline=300)], ids=["at once", "spread"])
def test_hellos_go_to_one_address(options: Options) -> None:
    """What three hellos tell belongs together only when one machine was asked."""
    refuses = Peer(answers=lambda data: Ending.CLOSED)
    peers: dict[tuple[str, int], Peer | list[Peer]] = {("192.0.2.8", 995): refuses, ("192.0.2.9", 995): refuses}
    network = ReplayedNetwork(peers, names={"mail": ("192.0.2.8", "192.0.2.9")})
    results, dummy = run(network, Target("mail", 995, "pop3s"), options=options)
    assert [log.address for log in network.log] == ["192.0.2.8"] * 3
    assert (results[0]["status"], results[0]["address"]) == ("no_certificate", "192.0.2.8")


def test_a_name_without_address() -> None:
    network = ReplayedNetwork(names={"nobody": ()})
    results, dummy = run(network, Target("nobody", 110, "pop3"), options=Options(deadline=300))
    assert (results[0]["status"], results[0]["detail"], results[0]["address"]) == ("unresolved", "no such name", None)
    assert network.lookups == ["nobody"]


def test_a_dead_name_server_costs_one_timeout_for_all() -> None:
    network = ReplayedNetwork(names={"mail": None})
    begun = network.now()
    results, dummy = run(network, *(Target("mail", port, "pop3") for port in range(1, 50)))
    assert {result["status"] for result in results} == {"unresolved"}
    assert network.now() - begun == ONCE.timeout


def test_names_that_wait_for_others_are_not_unresolved() -> None:
    """A name server that takes its time for each of many names does answer."""
    hosts = [f"mail{number}" for number in range(100)]
    network = ReplayedNetwork({(A, 110): greeter(POP3)}, names=dict.fromkeys(hosts, (A,)), lookup_seconds=1.0)
    results, dummy = run(
        network, *(Target(host, 110, "pop3") for host in hosts), options=Options(deadline=0, timeout=3)
    )
    assert {result["status"] for result in results} == {"open"}


def test_a_name_that_is_never_answered_waits_for_the_others_at_most() -> None:
    hosts = [f"mail{number}" for number in range(10)]
    names: dict[str, tuple[str, ...] | None] = {**dict.fromkeys(hosts, (A,)), "dead": None}
    network = ReplayedNetwork({(A, 110): greeter(POP3)}, names=names, lookup_seconds=1.0)
    begun = network.now()
    targets = [Target(host, 110, "pop3") for host in ("dead", *hosts)]
    results, dummy = run(network, *targets, options=Options(deadline=0, timeout=3))
    assert [result["status"] for result in results] == ["unresolved", *["open"] * 10]
    assert network.now() - begun == 10 + 3


def test_second_look_up_has_as_much_time_as_the_first() -> None:
    class Hesitant(ReplayedNetwork):
        """Its name server knows nothing for now at first, and takes its time then."""

        def lookup(self, host: str) -> None:
            self.lookups.append(host)
            unknown = len(self.lookups) == 1
            answer = Resolved(host, (), "try again", True) if unknown else Resolved(host, (A,), "", False)
            self.at(10.0 if unknown else 40.0, answer)

    network = Hesitant({(A, 110): greeter(POP3)})
    results, dummy = run(network, Target("mail", 110, "pop3"), options=Options(timeout=75, delay=50, deadline=60))
    assert (results[0]["status"], network.lookups) == ("open", ["mail"] * 2)


# --- limits -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("concurrency", "room", "most"), [(5, 100, 5), (100, 7, 7), (1, 1, 1)])
def test_no_more_connections_than_allowed(concurrency: int, room: int, most: int) -> None:
    peers: dict[tuple[str, int], Peer | list[Peer]] = {(A, port): greeter(POP3, 1.0) for port in range(1, 41)}
    network = ReplayedNetwork(peers, room=room)
    options = Options(deadline=0, concurrency=concurrency)
    results, dummy = run(network, *(Target(A, port, "pop3") for port in range(1, 41)), options=options)
    assert {result["status"] for result in results} == {"open"}
    assert network.most_open == most


def test_files_that_run_out_make_targets_wait() -> None:
    network = ReplayedNetwork({(A, port): greeter(POP3, 1.0) for port in range(1, 41)}, room=100, files=6)
    results, dummy = run(network, *(Target(A, port, "pop3") for port in range(1, 41)))
    assert {result["status"] for result in results} == {"open"}
    assert network.most_open == 6


def test_a_moment_s_shortage_does_not_last() -> None:
    class Short(ReplayedNetwork):
        """Has no buffer for one connection."""

        def connect(self, address: str, port: int, source_address: str | None) -> int:
            if port == 2 and not any(log.port == 2 for log in self.log) and len(self.log) == 1:
                self.log.append(Log(address, port, self.now(), None, closed_at=self.now()))
                raise NoRoom(errno.ENOBUFS, "No buffer space available")
            return super().connect(address, port, source_address)

    network = Short({(A, port): greeter(POP3, 1.0) for port in range(1, 101)})
    results, dummy = run(network, *(Target(A, port, "pop3") for port in range(1, 101)))
    assert {result["status"] for result in results} == {"open"}
    assert network.most_open > 10


def test_no_file_at_all_is_said() -> None:
    results, dummy = run(ReplayedNetwork(files=0), Target(A, 110, "pop3"))
    assert results[0]["status"] == "unreachable"
    assert "ulimit -n" in results[0]["detail"]


def test_first_attempts_come_before_second_ones() -> None:
    network = ReplayedNetwork({(A, port): Peer(error=errno.ECONNREFUSED) for port in range(1, 5)})
    options = Options(deadline=7, delay=5, concurrency=1)
    run(network, *(Target(A, port, "pop3") for port in range(1, 5)), options=options)
    assert [log.port for log in network.log[:4]] == [1, 2, 3, 4]


def test_source_address_is_used_and_named() -> None:
    network = ReplayedNetwork({(A, 110): Peer(error=errno.EADDRNOTAVAIL)})
    results, dummy = run(network, Target(A, 110, "pop3"), options=Options(deadline=0, source_address="192.0.2.99"))
    assert network.log[0].source_address == "192.0.2.99"
    assert "source_address 192.0.2.99" in results[0]["detail"]


def test_local_ports_that_run_out_are_said() -> None:
    results, dummy = run(ReplayedNetwork({(A, 110): Peer(error=errno.EADDRNOTAVAIL)}), Target(A, 110, "pop3"))
    assert results[0]["status"] == "unreachable"
    assert "lower concurrency" in results[0]["detail"]


# --- manners ------------------------------------------------------------------------------------------------------


def test_one_connection_and_one_command() -> None:
    network = ReplayedNetwork({(A, 110): greeter(POP3)})
    run(network, Target(A, 110, "pop3"))
    assert len(network.log) == 1
    assert bytes(network.log[0].received) == b"QUIT\r\n"
    assert network.log[0].closed_at is not None


def test_tls_target_gets_three_hellos_in_one_timeout_and_never_again() -> None:
    network = ReplayedNetwork({(A, 995): Peer(accepts_after=0.5)})
    begun = network.now()
    results, dummy = run(network, Target(A, 995, "pop3s"), options=Options(timeout=60, deadline=300))
    assert (results[0]["status"], results[0]["attempts"]) == ("silent", 3)
    assert network.now() - begun <= 60
    assert [bytes(log.received[:1]) for log in network.log] == [b"\x80", b"\x16", b"\x16"]


def test_filtered_port_behind_a_hello_says_how_long_it_was_waited_for() -> None:
    alert = bytes.fromhex("15030000020228")
    network = ReplayedNetwork({(A, 995): [Peer(says=[(9.0, alert)]), FILTERED]})
    results, dummy = run(network, Target(A, 995, "pop3s"), options=Options(deadline=0, timeout=12, connect_timeout=10))
    assert results[0]["status"] == "timeout"
    assert "in 3 s; before that, it refuses the ssl2 hello: handshake_failure" in results[0]["detail"]


SSL2_HELLO = bytes.fromhex("800b0400010002000000000000")


def test_server_hello_of_a_minute_is_awaited() -> None:
    """Nothing says that Exchange looks its client's name up after the handshake only (Q258745)."""
    network = ReplayedNetwork({(A, 995): Peer(says=[(62.0, SSL2_HELLO)])})
    results, dummy = run(network, Target(A, 995, "pop3s"))
    assert (results[0]["status"], results[0]["attempts"], results[0]["elapsed_ms"]) == ("open", 1, 62000)


@pytest.mark.parametrize("protocol", ["pop3s", "ldap"])
def test_rest_of_a_line_in_clear_is_not_waited_for_for_long(protocol: str) -> None:
    result = one(Peer(says=[(1.0, b"octets or text")]), Target(A, 995, protocol))
    assert result["elapsed_ms"] < 5000


DROPS = Peer(answers=lambda data: Ending.CLOSED)


@pytest.mark.parametrize(
    ("expect", "options", "times"),
    [
        ("open", Options(deadline=300, delay=5), [0, 5, 10]),
        ("open", Options(deadline=7, delay=5), [0, 5, 5]),
        ("open", ONCE, [0, 0, 0]),
        ("any", Options(deadline=300, delay=5), [0, 0, 0]),
    ],
)
def test_hellos_to_a_store_that_may_be_starting_are_spread(expect: str, options: Options, times: list[float]) -> None:
    """It accepts before it can encrypt, and no hello is sent twice; where there is no time, all are sent at once."""
    network = ReplayedNetwork({(A, 995): DROPS})
    begun = network.now()
    results, dummy = run(network, Target(A, 995, "pop3s", expect), options=options)
    assert (results[0]["status"], results[0]["attempts"]) == ("no_certificate", 3)
    assert [log.at - begun for log in network.log] == times
    assert [bytes(log.received[:1]) for log in network.log] == [b"\x80", b"\x16", b"\x16"]


def test_store_that_has_started_by_the_next_hello_is_open() -> None:
    flight = (DATA / "ssl3_flight_des.bin").read_bytes()
    network = ReplayedNetwork({(A, 995): [DROPS, Peer(answers=lambda data: flight)]})
    results, dummy = run(network, Target(A, 995, "pop3s"), options=Options(deadline=300, delay=5))
    assert (results[0]["status"], results[0]["attempts"], results[0]["elapsed_ms"]) == ("open", 2, 5000)


def test_who_drops_the_hellos_and_then_has_to_wait_keeps_that_verdict() -> None:
    peers: dict[tuple[str, int], Peer | list[Peer]] = {(A, port): Peer() for port in range(1, 21)}
    network = ReplayedNetwork({**peers, (A, 995): DROPS})
    targets = [Target(A, 995, "pop3s"), *(Target(A, port, "pop3") for port in range(1, 21))]
    results, dummy = run(network, *targets, options=Options(deadline=100, concurrency=10))
    assert (results[0]["status"], results[0]["attempts"]) == ("no_certificate", 1)


def test_tls_target_that_refuses_is_waited_for_with_all_hellos_left() -> None:
    network = ReplayedNetwork(
        {(A, 995): [Peer(error=errno.ECONNREFUSED), Peer(answers=lambda data: bytes.fromhex("8003000001"))]}
    )
    results, dummy = run(network, Target(A, 995, "pop3s"), options=Options(timeout=60, deadline=300))
    assert (results[0]["status"], results[0]["attempts"]) == ("tls_alert", 4)


def test_tls_port_that_should_close_gets_no_second_hello() -> None:
    hello = bytes.fromhex("800b0400010002000000000000")
    answering = Peer(answers=lambda data: hello)
    network = ReplayedNetwork({(A, 995): [answering, answering, Peer(error=errno.ECONNREFUSED)]})
    results, dummy = run(network, Target(A, 995, "pop3s", "closed"), options=Options(deadline=300))
    assert (results[0]["status"], results[0]["ok"]) == ("refused", True)
    assert [bool(log.received) for log in network.log] == [True, False, False]


def test_a_conversation_that_breaks_costs_only_its_own_target(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(line: bytes) -> t.NoReturn:
        raise ValueError(line)

    monkeypatch.setattr(dialogues, "read_greeting", broken)
    network = ReplayedNetwork({(A, 110): greeter(POP3)})
    results, dummy = run(network, Target(A, 110, "pop3"), Target(A, 111, "pop3"))
    assert [result["status"] for result in results] == ["protocol_error", "refused"]
    assert results[0]["detail"] == f"{NOT_UNDERSTOOD} (ValueError)"
    assert network.log[0].closed_at is not None


# --- hostility ----------------------------------------------------------------------------------------------------

HEARD = st.one_of(st.binary(min_size=1, max_size=300), st.sampled_from([POP3, FOREIGN, SMTP, *Ending][:-1]))
PEERS = st.builds(
    Peer,
    accepts_after=st.sampled_from([0.0, 1.0, 11.0, None]),
    error=st.sampled_from([0, 0, 0, errno.ECONNREFUSED, errno.EHOSTUNREACH, 9999]),
    says=st.lists(st.tuples(st.floats(0, 100), HEARD), max_size=5),
    answers=st.one_of(st.none(), HEARD).map(lambda heard: lambda data: heard),
)


@settings(deadline=None)
@given(
    st.lists(st.tuples(PEERS, st.sampled_from(PROTOCOLS), st.sampled_from(list(SATISFYING))), max_size=8),
    st.sampled_from([0.0, 20.0]),
    st.integers(1, 5),
)
def test_no_network_breaks_a_run(peers: list[tuple[Peer, str, str]], deadline: float, room: int) -> None:
    network = ReplayedNetwork({(A, port): peer for port, (peer, *dummy) in enumerate(peers, 1)}, room=room)
    begun = network.now()
    options = Options(deadline=deadline, delay=5)
    targets = [Target(A, port, protocol, expect) for port, (dummy, protocol, expect) in enumerate(peers, 1)]
    results, dummy_network = run(network, *targets, options=options)
    assert [result["port"] for result in results] == [target.port for target in targets]
    assert all(list(result) == KEYS and result["status"] in {status.value for status in Status} for result in results)
    assert all(log.closed_at is not None for log in network.log)
    assert not any(result["detail"].startswith(NOT_UNDERSTOOD) for result in results)
    rounds = -(-len(peers) // room) * (1 + deadline // 5)
    assert network.now() - begun <= deadline + rounds * options.timeout
