# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings every symptom of a connection about, over winrm and psrp, and collects what the user sees."""

from __future__ import annotations

import contextlib
import re
import typing as t
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.lab.api import Lab
from tests.lab.fleet import Fleet, HostSpec, free_net
from tests.support import mail_servers
from tests.support.odd_hosts import (
    KERBEROS,
    NO_CREDSSP,
    PROXIED,
    SYMPTOMS,
    Symptom,
    answers,
    host_variables,
    standing,
)
from tests.support.peers import peer
from tests.support.playbook import Playbooks, Run

STAND_INS = Path(__file__).resolve().parent / "stand_ins"
CONNECTIONS = ("winrm", "psrp")
PLAY = """\
- hosts: all:!localhost
  gather_facts: false
  tasks:
    - msexchange.winsock_proxy.wspcfg_info:
        target_deadline: 0
"""


@dataclass(frozen=True)
class Seen:
    """What one symptom looks like over one connection.

    Attributes:
        symptom: What is wrong.
        connection: ``winrm`` or ``psrp``.
        code: What the collection should make of it; empty: the task succeeds.
        outcome: ``unreachable``, ``failed`` or ``ok``.
        message: All that the task says.
        host: Inventory name.
    """

    symptom: str
    connection: str
    code: str
    outcome: str
    message: str
    host: str

    @property
    def text(self) -> str:
        """The message as it always is: without the libraries' own words, which differ by release, and without ports."""
        text = self.message[max(self.message.find(f"{self.host}: "), 0) :]  # releases put words of their own before it
        text = re.sub(r" \[.*\]\. ", ". ", text, flags=re.DOTALL)
        text = re.sub(r"ansible_port=\d+", "ansible_port=PORT", text)
        text = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:PORT", text)
        return re.sub(r"127\.\d+\.\d+\.\d+(?!:)", "192.0.2.1", text).replace(f"{self.host}: ", "EXCH1: ")

    @property
    def cause(self) -> str:
        """What the message says is wrong, without option and remedy."""
        found = re.match(r"EXCH1: (?:option \w+(?:=\S+)?: )?(.*?)\. ", self.text)
        return found[1] if found else ""


def observe(work: Path) -> list[Seen]:
    """Bring everything about.

    Args:
        work: Directory for what the runs leave.
    """
    with mail_servers.directory() as path:
        identity = mail_servers.certificate(path)
        found = _observe(SYMPTOMS, work / "hosts", identity)
        found += _observe(KERBEROS, work / "kerberos", identity, PYTHONPATH=str(STAND_INS / "kerberos_fails"))
        found += _observe(NO_CREDSSP, work / "credssp", identity, PYTHONPATH=str(STAND_INS / "credssp_absent"))
        with peer(answers(503)) as proxy:
            url = f"http://someone:secret@127.0.0.1:{proxy}"
            found += _observe(PROXIED, work / "proxy", identity, http_proxy=url, https_proxy=url)
    return found + _observe_lab(work / "lab")


def _observe(symptoms: Iterable[Symptom], work: Path, identity: tuple[Path, Path], **environment: str) -> list[Seen]:
    named = {
        f"{connection}{number}": (symptom, connection)
        for number, symptom in enumerate(symptoms)
        for connection in CONNECTIONS
    }
    with contextlib.ExitStack() as stack:
        ports = {symptom.name: stack.enter_context(standing(symptom, identity)) for symptom in symptoms}
        hosts = {
            name: host_variables(symptom, connection, ports[symptom.name])
            for name, (symptom, connection) in named.items()
        }
        work.mkdir(parents=True)
        inventory = work / "inventory.yml"
        inventory.write_text(yaml.safe_dump({"all": {"hosts": hosts}}), encoding="utf-8")
        playbooks = Playbooks(inventory, work, environment)
        run = playbooks.run(playbooks.write("play.yml", PLAY))
    return [_seen(run, name, symptom.name, connection, symptom.code) for name, (symptom, connection) in named.items()]


def _seen(run: Run, host: str, symptom: str, connection: str, code: str) -> Seen:
    (entry,) = run.of(host, "wspcfg_info")
    return Seen(symptom, connection, code, entry.outcome, run.messages(host), host)


# Name -> the lab's fault, its values, and the code; they need a WinRM that runs commands.
_IN_THE_LAB: t.Mapping[str, tuple[str, dict[str, str], str]] = {
    "no PowerShell on the host": ("no_powershell", {}, "powershell_missing"),
    "PowerShell is constrained": ("constrained", {}, "constrained_language"),
    "a profile prints around the answer": ("noise", {"before": "Willkommen!"}, ""),
    "a profile prints and ends": ("silent", {"said": "Willkommen!"}, "printed_instead"),
    "the command says nothing": ("silent", {}, "no_answer"),
    "no administrator, inside of NTLM's encryption": ("no_administrator", {}, "not_administrator"),
}


def _observe_lab(work: Path) -> list[Seen]:
    with _lab() as (lab, named):
        for name, (symptom, dummy) in named.items():
            fault, values, dummy_code = _IN_THE_LAB[symptom]
            lab.inject(fault, name, **values)
        playbooks = Playbooks(Path(lab.inventory), work)
        run = playbooks.run(playbooks.write("play.yml", PLAY))
        assert lab.mistakes == []
    return [
        _seen(run, name.lower(), symptom, connection, _IN_THE_LAB[symptom][2])
        for name, (symptom, connection) in named.items()
    ]


@contextlib.contextmanager
def _lab() -> Iterator[tuple[Lab, dict[str, tuple[str, str]]]]:
    net, reservation = free_net()
    named: dict[str, tuple[str, str]] = {}
    hosts = []
    for number, symptom in enumerate(_IN_THE_LAB):
        for place, connection in enumerate(CONNECTIONS):
            name = f"EX{connection.upper()}{number}"
            named[name] = (symptom, connection)
            hosts.append(HostSpec(name, address=f"{net}.2.{2 * number + place + 1}", connection=connection))
    with reservation, Lab(Fleet(hosts=tuple(hosts), speed=2000)) as lab:
        yield lab, named
