# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Seven simulated Exchange servers, published, broken, audited, repaired and taken off their proxies again.

``python tests/demo/demo.py`` needs the environment that ``make venv`` makes. Every stage prints what was expected and
what was seen; the exit status is not zero when one thing differs.
"""

from __future__ import annotations

import io
import re
import shutil
import sys
import textwrap
import time
import typing as t
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from tests.conftest import link_collection  # noqa: E402
from tests.demo.outside import Port, look_at  # noqa: E402
from tests.lab.api import Lab  # noqa: E402
from tests.lab.fleet import free_net, load  # noqa: E402
from tests.support.fleets import PORTS, moved, port_offset, started  # noqa: E402
from tests.support.playbook import Playbooks, Run  # noqa: E402

WORK = ROOT / "build" / "demo"
SPEED = 60.0
WIDTH = 116  # columns of what is shown
HANG = 4  # columns by which what does not fit into a line stands further in
LONGEST = 150  # lines of the whole story; nobody reads a longer one
BIN = "C:\\exchsrvr\\bin\\Wspcfg.ini"
IMC = "C:\\exchsrvr\\connect\\msexcimc\\bin\\Wspcfg.ini"
MARGIN_S = 10.0  # simulated seconds: a file is newer than a process only by more than 5
STRANGER = "+OK POP3 gateway of somebody else"

SERVERS: Mapping[str, str] = {
    "ex1": "5.5, POP3 + IMAP4 + NNTP, through a management host",
    "ex2": "5.5, POP3 and IMAP4 over TLS with ProxyBindIp, through a management host",
    "ex3": "5.0, LDAP, through a management host",
    "ex4": "5.5, SMTP, direct",
    "ex5": "5.5, POP3 + IMAP4 + LDAP, file written by hand, through a management host",
    "ex6": "5.5, with Proxy Server on the same machine, direct",
    "ex7": "4.0, SMTP only, through a management host",
}
AUDIT_WORDS = ("ok", "drift", "refused", "unknown")
OWING = ("ex1", "ex2", "ex3", "ex4", "ex5", "ex7")
GREETING: Mapping[str, str] = {
    "pop3": "Microsoft Exchange POP3",
    "pop3s": "Microsoft Exchange POP3",
    "imap4": "Microsoft Exchange IMAP4",
    "imap4s": "Microsoft Exchange IMAP4",
    "nntp": "Microsoft Exchange Internet News Service",
    "ldap": "LDAP bind answered",
    "smtp": "220 ",
}
CLOSED = "-"


@dataclass
class Book:
    """What was expected and what was seen: what is as expected in a few words, what differs in full."""

    wrong: int = 0
    stage: int = 0
    good: list[str] = field(default_factory=list)

    def begin(self, title: str, command: str = "") -> None:
        """Close the stage before, and open one."""
        self.end()
        self.stage += 1
        print(f"\n{self.stage}. {title}", flush=True)
        if command:
            print(f"   $ {command}", flush=True)

    def show(self, text: str, *about: str) -> None:
        """Show what a playbook printed for people, of the servers only some when they are named."""
        # A server has a paragraph in a plan, a line in an audit.
        parts = [part.splitlines() for part in re.split(r"\n\s*\n", text.strip("\n"))]
        if len(parts) == 1:
            parts = [[row] for row in parts[0]]
        hidden = [part for part in parts if about and _server(part) not in ("", *about)]
        last = max((number for number, part in enumerate(parts) if _server(part)), default=0)
        rows: list[str] = []
        for number, part in enumerate(parts):
            rows += part if part not in hidden else []
            rows += [f"  ... {len(hidden)} more servers"] if hidden and number == last else []
        for row in rows:
            hang = " " * (len(row) - len(row.lstrip()) + HANG)
            for line in textwrap.wrap(row, WIDTH, subsequent_indent=hang) or [""]:
                print(f"   | {line}".rstrip(), flush=True)

    def check(self, expected: str, seen: object, *, ok: bool) -> None:
        """Note one expectation."""
        if ok:
            self.good.append(expected)
            return
        self.wrong += 1
        print(f"   WRONG expected {expected}; seen {seen}", flush=True)

    def same(self, what: str, expected: object, seen: object) -> None:
        """Note two values that must be equal."""
        self.check(f"{what}: {_text(expected)}", _text(seen), ok=expected == seen)

    def end(self) -> None:
        """Say what was as expected."""
        if self.good:
            text = f"as expected: {'; '.join(self.good)}."
            print(textwrap.fill(text, WIDTH, initial_indent="   ", subsequent_indent="     "), flush=True)
        self.good = []


def _server(part: list[str]) -> str:
    """The server that a paragraph of a plan or a summary, or a line of an audit, is about; empty for the others."""
    first, *more = part[0].split()
    name = more[0] if first in AUDIT_WORDS and more else first
    return name if name in SERVERS else ""


def _text(value: object) -> str:
    if isinstance(value, (list, tuple, set, frozenset)):
        return ", ".join(str(item) for item in value) or "none"
    return str(value)


@dataclass
class Demo:
    """One run against one lab."""

    lab: Lab
    books: Playbooks
    ports: list[Port]
    offset: int
    book: Book = field(default_factory=Book)
    seen: dict[str, dict[Port, str]] = field(default_factory=dict)

    def play(self, title: str, playbook: str, *arguments: str) -> Run:
        """Open a stage that is one run of a playbook."""
        command = ["ansible-playbook", "-i", "inventory.yml", f"msexchange.winsock_proxy.{playbook}", *arguments]
        self.book.begin(title, " ".join(command))
        self.lab.reset_counters()
        return self.books.run(playbook, *arguments)

    def look(self, when: str, expected: Callable[[Port], str]) -> None:
        """Look at every port from outside and compare with the beginning or a part of what it should say."""
        self.seen[when] = look_at(self.ports)
        wrong = {port: line for port, line in self.seen[when].items() if expected(port) not in line}
        text = "; ".join(f"{port.host} {port.protocol}: {line}" for port, line in wrong.items())
        self.book.check(f"all {len(self.ports)} ports, as a plain socket sees them from outside", text, ok=not wrong)

    def said(self, run: Run, name: str) -> str:
        """What the plan and the summary of a run say of a server."""
        return " ".join(run.server(name, text) for text in (run.plan(), run.summary()))

    def audited(self, run: Run) -> dict[str, tuple[str, str]]:
        """State and findings of every server by an audit."""
        rows = run.fleet("publish_plan")["audit"]
        return {row["host"]: (row["state"], "; ".join(row["findings"])) for row in rows}

    def files(self) -> dict[tuple[str, str], bytes | None]:
        """The bytes of every Wspcfg.ini."""
        return {(name, path): self.lab.host(name.upper()).file(path) for name in SERVERS for path in (BIN, IMC)}

    def processes(self) -> dict[str, dict[str, int]]:
        """Process ids by server and service."""
        return {name: self.lab.host(name.upper()).process_ids() for name in SERVERS}

    def number(self, protocol: str) -> int:
        """Port number of a protocol here."""
        return PORTS[protocol] + self.offset


# -- stages -------------------------------------------------------------------------------------------------------


def first_audit(demo: Demo) -> None:
    """What a new fleet looks like."""
    run = demo.play("Audit: nothing is published yet, but on ex6, whose proxy is its own, and partly on ex5", "audit")
    demo.book.show(run.plan(), "ex1", "ex5")
    demo.book.same("exit status", 2, run.status)
    states = {name: state for name, (state, _findings) in demo.audited(run).items()}
    demo.book.same("drift", OWING, tuple(name for name, state in states.items() if state == "drift"))
    demo.book.same("in order", ("ex6",), tuple(name for name, state in states.items() if state == "ok"))
    counters = demo.lab.host("EX4").counters
    cost = f"{counters.executions} execution, {counters.requests} requests, {counters.bytes_in} bytes sent"
    small = counters.executions == 1 and counters.requests <= 9 and counters.bytes_in <= 40_000
    demo.book.check("1 execution, at most 9 requests and 40000 bytes sent per server", cost, ok=small)


def publish(demo: Demo) -> None:
    """The main job."""
    before = demo.processes()
    run = demo.play(
        "Publish: one plan for all servers, then file, restart and proof, one server after another", "publish"
    )
    demo.book.show(run.plan(), "ex1")
    demo.book.show(run.summary(), "ex1")
    demo.book.same("exit status", 0, run.status)
    demo.book.same("changed", OWING, tuple(name for name in SERVERS if run.changed(name)))
    proven = sum(len(row["proven"]) for row in run.fleet("publish_summary")["servers"].values())
    owing = [port for port in demo.ports if port.host in OWING]
    demo.book.same("ports that the summary proves", len(owing), proven)
    after = demo.processes()
    for name, services in (
        ("ex1", {"MSExchangeIS", "MSExchangeIMC", "MSExchangeES"}),
        ("ex4", {"MSExchangeIMC"}),
        ("ex6", set()),
    ):
        anew = {service for service, number in after[name].items() if before[name].get(service) != number}
        demo.book.same(f"services of {name} that run anew", sorted(services), sorted(anew))
    address = next(port.address for port in demo.ports if port.host == "ex2")
    text = (demo.lab.host("EX2").file(BIN) or b"").decode("ascii")
    pair = f"ProxyBindIp={demo.number('imap4s')}:{address},{demo.number('pop3s')}:{address}"
    demo.book.check(f"{pair} on ex2", text.replace("\r\n", " "), ok=pair in text)
    hand = (demo.lab.host("EX5").file(BIN) or b"").decode("cp1252")
    kept = (
        "[awhost32]\r\n",
        "LocalBindTCPPorts=65301\r\n",
        "; remote control of this machine\r\n",
        "      Persistent=1",
    )
    demo.book.same("lines of ex5 that somebody wrote and that stay", len(kept), sum(line in hand for line in kept))
    demo.look("published", lambda port: GREETING[port.protocol])


def publish_again(demo: Demo) -> None:
    """Nothing to do."""
    files, processes = demo.files(), demo.processes()
    run = demo.play("Publish again: nothing changes", "publish")
    demo.book.show(run.plan())
    demo.book.same("exit status", 0, run.status)
    demo.book.same("changed", (), tuple(name for name in SERVERS if run.changed(name)))
    demo.book.check("the same bytes in every file", "others", ok=demo.files() == files)
    demo.book.check("the same process of every service", "others", ok=demo.processes() == processes)
    demo.book.same("executions on ex4", 1, demo.lab.host("EX4").counters.executions)


def drift(demo: Demo) -> None:
    """Five things that happen to a fleet."""
    demo.book.begin("Drift: five things happen to the fleet behind Ansible's back")
    lab = demo.lab
    one, two, four = (lab.host(name) for name in ("EX1", "EX2", "EX4"))
    text = (one.file(BIN) or b"").decode("ascii")
    imap = str(demo.number("imap4"))
    one.write(BIN, text.replace(f",{imap}", "").replace(f"{imap},", ""))
    print(f"   ex1: somebody deletes port {imap} from its file")
    two.write(BIN, (two.file(BIN) or b"").decode("ascii").encode("utf-16"))
    print("   ex2: somebody saves its file as Unicode in Notepad")
    right = four.file(IMC) or b""
    four.write(IMC, "[MSEXCIMC]\r\n")
    four.restart("MSExchangeIMC")
    lab.wait(four.machine.clock.sleep(MARGIN_S))
    four.write(IMC, right)
    print(
        "   ex4: its mail service started while the file was empty; the file was corrected, the service not restarted"
    )
    lab.inject("stop_service", "EX7", name="MSExchangeIMC")
    lab.host("EX7").until_service("MSExchangeIMC", "stopped")
    print("   ex7: somebody stops the Internet Mail Connector")
    address = next(port.address for port in demo.ports if port.host == "ex5")
    lab.inject("take_port", address=address, port=demo.number("pop3"), line=STRANGER, program="popproxy.exe")
    print(f"   ex5: another program takes port {demo.number('pop3')} on the proxy")


FINDS: Mapping[str, tuple[str, ...]] = {
    "ex1": ("has to be replaced", "+ServerBindTcpPorts="),
    "ex2": ("has to be replaced", "Unicode"),
    "ex4": ("not in force", "(smtp)", "MSExchangeIMC: "),
    "ex5": ("(pop3)", STRANGER),
    "ex7": ("MSExchangeIMC: the service is not running", "(smtp) is refused"),
}


def second_audit(demo: Demo) -> None:
    """The audit names each of them."""
    run = demo.play("Audit: each of them is found", "audit")
    demo.book.show(run.plan())
    demo.book.same("exit status", 2, run.status)
    for name, (state, findings) in demo.audited(run).items():
        parts = FINDS.get(name, ())
        word = "drift" if parts else "ok"
        ok = state == word and all(part in findings for part in parts)
        demo.book.check(f"{name} {word}", f"{state}: {findings} (without one of {_text(parts)})", ok=ok)


def repair(demo: Demo) -> None:
    """What may be corrected is corrected, the rest is named."""
    run = demo.play("Publish: corrects what it may, and names what it may not", "publish")
    demo.book.show(run.plan(), "ex1", "ex5", "ex7")
    demo.book.show(run.summary(), "ex4")
    demo.book.same("exit status", 2, run.status)
    demo.book.same("changed", ("ex1", "ex2", "ex4"), tuple(name for name in SERVERS if run.changed(name)))
    demo.book.same("failed", ["ex5", "ex7"], run.failed())
    five, seven = demo.said(run, "ex5"), demo.said(run, "ex7")
    demo.book.check("ex7 is told how to start a stopped service", seven, ok="publish_start_stopped" in seven)
    demo.book.check("ex5 is told who answers", five, ok=STRANGER in five)
    demo.look("repaired", _after_repair)


def _after_repair(port: Port) -> str:
    if port.host == "ex7":
        return CLOSED
    return STRANGER if (port.host, port.protocol) == ("ex5", "pop3") else GREETING[port.protocol]


def on_request(demo: Demo) -> None:
    """The stopped service is started because somebody asks for it; the other program leaves."""
    demo.lab.clear()
    demo.lab.host("EX5").restart("MSExchangeES", "MSExchangeIMC", "MSExchangeIS")
    title = (
        "ex5's port is free again and its services restarted by hand; publish starts what is stopped on ex7, on request"
    )
    run = demo.play(title, "publish", "-e", '{"publish_start_stopped": true}')
    demo.book.show(run.summary())
    demo.book.same("exit status", 0, run.status)
    demo.book.check("started, not restarted", demo.said(run, "ex7"), ok="start MSExchangeIMC" in demo.said(run, "ex7"))
    demo.book.same("changed", ("ex7",), tuple(name for name in SERVERS if run.changed(name)))
    demo.look("complete", lambda port: GREETING[port.protocol])


def unpublish(demo: Demo) -> None:
    """Everything off the proxies again."""
    run = demo.play("Unpublish: every port is closed again, but on ex6, whose proxy is its own", "unpublish")
    demo.book.show(run.plan().rpartition("\n\n")[2])
    demo.book.show(run.summary(), "ex5")
    demo.book.same("exit status", 0, run.status)
    demo.book.same("changed", OWING, tuple(name for name in SERVERS if run.changed(name)))
    files = demo.files()
    gone = sorted(name for name in OWING if files[(name, BIN)] is None and files[(name, IMC)] is None)
    demo.book.same("servers without any Wspcfg.ini", ["ex1", "ex2", "ex3", "ex4", "ex7"], gone)
    hand = files[("ex5", BIN)] or b""
    demo.book.check("ex5 keeps the section of another program", "lost", ok=b"[awhost32]" in hand)
    demo.look("unpublished", lambda port: GREETING[port.protocol] if port.host == "ex6" else CLOSED)


STAGES = (first_audit, publish, publish_again, drift, second_audit, repair, on_request, unpublish)


# -- frame --------------------------------------------------------------------------------------------------------


def table(demo: Demo) -> None:
    """Server by stage: what its ports were, as seen from outside."""
    moments = ("published", "repaired", "complete", "unpublished")
    print("\nThe ports on the proxies' external addresses, as a plain socket saw them:")
    print(f"   {'':<38}" + "".join(f"{moment:<16}" for moment in moments).rstrip())
    for name in SERVERS:
        ports = [port for port in demo.ports if port.host == name]
        where = f"{ports[0].address}: {' '.join(str(port.number) for port in ports)}"
        words = [
            " ".join(dict.fromkeys(_word(port, demo.seen.get(moment, {}).get(port)) for port in ports))
            for moment in moments
        ]
        print(f"   {name} {where:<34}" + "".join(f"{word:<16}" for word in words).rstrip())


def _word(port: Port, line: str | None) -> str:
    if line is None:
        return "not reached"
    if line == CLOSED:
        return "closed"
    return "Exchange" if GREETING[port.protocol] in line else "other"


def published_ports(lab: Lab, offset: int) -> list[Port]:
    """Every port that the inventory wants."""
    return [
        Port(host.name.lower(), protocol, host.publish["proxy_address"], PORTS[protocol] + offset)
        for host in lab.fleet.hosts
        for protocol in host.publish["listeners"]
    ]


def introduce(lab: Lab, offset: int) -> None:
    """Say what is shown, and what it is not."""
    print("Seven Exchange servers behind three proxies. They are simulated: real WinRM, real sockets, no Windows.")
    for name, text in SERVERS.items():
        print(f"   {name}  {text}")
    if offset:
        print(f"Low ports are not allowed here: Exchange is moved to high ones, every number is {offset} larger.")
    print(f"Inventory: {lab.inventory}")


class Counted(io.TextIOBase):
    """Standard output that counts its lines."""

    def __init__(self, out: t.TextIO) -> None:
        self._out = out
        self.lines = 0

    def write(self, text: str) -> int:
        self.lines += text.count("\n")
        return self._out.write(text)

    def flush(self) -> None:
        self._out.flush()


def main() -> int:
    """Run every stage; 0 when everything was as expected."""
    sys.stdout = told = Counted(sys.stdout)
    began = time.monotonic()
    link_collection(ROOT)
    shutil.rmtree(WORK, ignore_errors=True)
    offset = port_offset()
    net, reservation = free_net()
    with reservation, started(Lab(moved(load("demo", net), offset), speed=SPEED, directory=WORK)) as lab:
        demo = Demo(lab, Playbooks(lab.inventory, WORK / "runs"), published_ports(lab, offset), offset)
        introduce(lab, offset)
        for stage in STAGES:
            stage(demo)
        demo.book.same("mistakes of the lab", [], [str(mistake) for mistake in lab.mistakes])
        demo.book.end()
        table(demo)
    lines = told.lines + 2
    if lines > LONGEST and not offset:  # larger numbers wrap more lines
        demo.book.check(f"at most {LONGEST} lines", lines, ok=False)
    seconds = time.monotonic() - began
    print(f"\n{demo.book.wrong} differences from what was expected, {seconds:.0f} s.")
    return int(demo.book.wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
