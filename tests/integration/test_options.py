# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options and places of the role publish, against the lab: what each does to the file, the ports and the messages."""

from __future__ import annotations

import typing as t

import pytest

from tests.demo.outside import Port, look
from tests.support.playbook import Run
from tests.support.site import BIN, COMPUTER, DIRECT, Site, Wish, site

if t.TYPE_CHECKING:
    from collections.abc import Iterator

POP: t.Final = {"listeners": ["pop3"]}
MAIL: t.Final = {"listeners": ["smtp"]}
ELSEWHERE = "D:\\apps\\exchange"
GIVEN = "E:\\given\\bin"
CLIENT = "C:\\mspclnt\\mspclnt.ini"
SECTIONS = "[Common]\nPort=1745\n[emsmta]\nDisable=1\n[mad]\nDisable=1\nNameResolution=L\n[outlook]\nDisable=0\n"
TEXT = "[STORE]\nServerBindTcpPorts=110\nPersistent=1\nKillOldSession=1\n"
PROXY = "wspsrv"
PUBLISHED = ("COPY", "FALSE", "FORCE", "ROOT", "BINDIR", "OFF", "UNSEEN")


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    wishes = [
        Wish("COPY", COMPUTER, POP, {"files": {CLIENT: SECTIONS}}),
        Wish("FALSE", DIRECT, {**POP, "mta_direct": "false"}, {"files": {CLIENT: SECTIONS}}),
        Wish("FORCE", DIRECT, {**POP, "force_credentials": True}),
        Wish("ROOT", DIRECT, {"listeners": ["pop3", "smtp"]}, {"root": ELSEWHERE}),
        Wish(
            "BINDIR",
            DIRECT,
            {**POP, "bin_dir": GIVEN, "restart": "never", "probe": False},
            {"files": {f"{GIVEN}\\store.exe": "MZ"}},
        ),
        Wish("OWN", DIRECT, MAIL, {"proxy_here": True, "files": {BIN: TEXT}}),
        Wish("OFF", DIRECT, POP, {"proxy_here": True}),
        Wish("UNSEEN", DIRECT, {**POP, "proxy_address": "", "probe": False}),
        Wish("NOWHERE", DIRECT, {**POP, "proxy_address": ""}),
        Wish("OWNAWAY", DIRECT, {**MAIL, "proxy_address": ""}, {"proxy_here": True}),
        Wish("MOVE", DIRECT, {"listeners": ["imap4s"]}),
        Wish("TEXT", DIRECT, {"listeners": "pop3"}),
        Wish("LIST", COMPUTER, POP, share="TEXT"),
    ]
    with site(tmp_path_factory.mktemp("options"), wishes) as running:
        running.lab.inject("start_type", "OFF", name=PROXY, to="disabled")
        yield running


@pytest.fixture(scope="module")
def run(here: Site) -> Run:
    """One run over all of them."""
    every = {"publish_serial": 20, "publish_max_fail_percentage": 100}
    return here.play.run("publish", "-l", "all:!move", "--forks", "20", extra=every)


def text_of(here: Site, name: str, path: str = BIN) -> str:
    return (here.host(name).file(path) or b"").decode("cp1252").replace("\r\n", "\n")


def said(run: Run, name: str) -> str:
    """What the plan said of a server."""
    return run.server(name.lower(), run.plan())


def published(here: Site, name: str, protocol: str = "pop3") -> str:
    return look(Port(name, protocol, here.address(name), here.port(protocol)))


@pytest.mark.parametrize("name", PUBLISHED)
def test_it_is_done(run: Run, name: str) -> None:
    assert name.lower() not in run.failed(), run.output
    assert run.changed(name.lower()) > 0


@pytest.mark.parametrize("name", ["COPY", "FALSE", "FORCE", "ROOT", "OFF"])
@pytest.mark.usefixtures("run")
def test_its_port_answers(here: Site, name: str) -> None:
    assert published(here, name).startswith("+OK Microsoft Exchange POP3")


@pytest.mark.parametrize(("name", "mta"), [("COPY", "[emsmta]\nDisable=1\n"), ("FALSE", "")])
def test_what_a_new_file_would_hide_of_the_client_s_is_copied(here: Site, run: Run, name: str, mta: str) -> None:
    assert text_of(here, name).endswith(f"KillOldSession=1\n{mta}[mad]\nDisable=1\nNameResolution=L\n")
    warnings = str(run.last(name.lower(), "wspcfg", "Write").get("warnings"))
    assert ("Q254909" in warnings) == (name == "FALSE"), warnings


@pytest.mark.usefixtures("run")
def test_force_credentials_is_written_and_taken_away_again(here: Site) -> None:
    assert "ForceCredentials=1\n" in text_of(here, "FORCE")
    again = here.play.run("publish", "-l", "force", extra={"publish_force_credentials": False})
    assert again.status == 0, again.output
    assert "ForceCredentials" not in text_of(here, "FORCE")


@pytest.mark.usefixtures("run")
def test_another_installation_directory_is_found(here: Site) -> None:
    assert "[STORE]" in text_of(here, "ROOT", f"{ELSEWHERE}\\bin\\Wspcfg.ini")
    assert "[MSEXCIMC]" in text_of(here, "ROOT", f"{ELSEWHERE}\\connect\\msexcimc\\bin\\Wspcfg.ini")
    assert not [path for path in here.host("ROOT").files() if path.lower().startswith("c:\\exchsrvr")]


@pytest.mark.usefixtures("run")
def test_a_directory_that_is_given_is_not_looked_for(here: Site) -> None:
    assert "[STORE]" in text_of(here, "BINDIR", f"{GIVEN}\\Wspcfg.ini")
    assert here.host("BINDIR").file(BIN) is None


def test_proxy_server_that_is_disabled_is_named_and_ignored(here: Site, run: Run) -> None:
    assert "[STORE]" in text_of(here, "OFF")
    assert "its WinSock Proxy service is disabled" in str(run.last("off", "wspcfg", "Write")["warnings"])


def test_a_server_with_proxy_server_is_left_alone_and_its_ports_are_verified(here: Site, run: Run) -> None:
    assert run.changed("own") == 0
    assert text_of(here, "OWN") == TEXT
    (checked,) = [port for port in run.answers() if port["host"] == here.address("OWN")]
    assert (checked["port"], checked["status"]) == (here.port("smtp"), "open")
    audit = here.play.run("audit", "-l", "own")
    assert audit.status == 0, audit.output
    line, _totals = audit.plan().splitlines()
    assert line.startswith(f"ok       own  note: {BIN}: Proxy Server runs on this server")
    here.lab.inject("stop_service", "OWN", name="MSExchangeIMC")
    here.host("OWN").until_service("MSExchangeIMC", "stopped")
    broken = here.play.run("publish", "-l", "own")
    assert broken.failed() == ["own"]
    assert f"{here.address('OWN')}:{here.port('smtp')} (smtp)" in broken.messages("own")
    assert text_of(here, "OWN") == TEXT


def test_without_a_port_check_the_run_says_that_nothing_is_proven(run: Run) -> None:
    for name in ("UNSEEN", "BINDIR"):
        assert "note publish_probe is false" in said(run, name)
        assert "nothing is proven" in said(run, name)
    assert "nothing is proven" not in said(run, "COPY")


@pytest.mark.parametrize("name", ["NOWHERE", "OWNAWAY"])
def test_what_nothing_could_prove_is_refused(here: Site, run: Run, name: str) -> None:
    assert name.lower() in run.failed()
    for part in (name.lower(), "publish_proxy_address", "smtp" if name == "OWNAWAY" else "pop3", "publish_probe"):
        assert part in run.messages(name.lower())
    assert here.host(name).file(BIN) is None
    audit = here.play.run("audit", "-l", name.lower())
    assert (audit.status, "ports not checked" in audit.messages(name.lower())) == (2, True)


@pytest.mark.parametrize(("name", "other"), [("TEXT", "list"), ("LIST", "text")])
def test_two_servers_get_no_port_in_common_however_it_is_written(here: Site, run: Run, name: str, other: str) -> None:
    assert name.lower() in run.failed()
    for part in (f"is claimed by {other} as well", "publish_listeners", str(here.port("pop3")), "publish_ports"):
        assert part in run.messages(name.lower())
    assert here.host(name).file(BIN) is None


def test_a_listener_that_moves_to_another_address_is_proven_at_both(here: Site) -> None:
    host, port = here.host("MOVE"), here.port("imap4s")
    old, new = here.address("COPY"), here.address("MOVE")
    rest = f"ServerBindTcpPorts={port}\r\nProxyBindIp={port}:{old}\r\nPersistent=1\r\nKillOldSession=1\r\n"
    host.write(BIN, f"[STORE]\r\n{rest}")
    host.restart("MSExchangeES", "MSExchangeIMC", "MSExchangeIS")
    here.let_pass("MOVE", 30)
    later = here.play.run("publish", "-l", "move", extra={"publish_restart": "defer"})
    assert later.status == 0, later.output
    now = here.play.run("publish", "-l", "move")
    assert now.status == 0, now.output
    assert published(here, "MOVE", "imap4s").startswith("* OK Microsoft Exchange IMAP4")
    assert f"ProxyBindIp={port}:{new}\n" in text_of(here, "MOVE")


def test_a_mistake_in_what_claims_are_compared_with_concerns_one_server_only(here: Site, run: Run) -> None:
    assert run.output
    typo = here.play.run(
        here.play.write("typo.yml", TYPO), "-l", "copy,force", extra={"publish_force_credentials": False}
    )
    assert typo.failed() == ["copy"], typo.output
    for part in ("copy", "publish_conflict_hosts", "exchnage", "a group's name"):
        assert part in typo.messages("copy")


TYPO = """
- name: The first server compares with a group that is none
  hosts: exchange
  gather_facts: false
  roles:
    - role: msexchange.winsock_proxy.publish
      publish_conflict_hosts: "{{ 'exchnage' if inventory_hostname == 'copy' else 'all' }}"
"""


def test_become_of_a_play_is_taken_back_by_the_inventory(here: Site) -> None:
    refused = here.play.run("audit", "-l", "force", "--become")
    assert "become" in refused.output and "CredSSP" in refused.output
    taken_back = here.play.run("audit", "-l", "force", "--become", extra={"ansible_become": False})
    assert taken_back.status in (0, 2) and "CredSSP" not in taken_back.output
