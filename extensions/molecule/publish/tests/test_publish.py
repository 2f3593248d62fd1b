# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Verification with a second tool: testinfra over WinRM looks inside, the port probe looks from outside."""

from __future__ import annotations

import os
import subprocess
import typing as t
from pathlib import Path
from urllib.parse import quote

import pytest
import testinfra
import yaml

INVENTORY = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "lab" / "inventory.yml"
BIN = r"C:\exchsrvr\bin\Wspcfg.ini"
IMC = r"C:\exchsrvr\connect\msexcimc\bin\Wspcfg.ini"

# Servers whose own WinRM is reached, and through which file and services are seen.
DIRECT = ["ex4", "ex6"]


def variables(name: str) -> dict[str, t.Any]:
    inventory = yaml.safe_load(INVENTORY.read_text(encoding="utf-8"))
    return t.cast("dict[str, t.Any]", inventory["all"]["children"]["exchange"]["hosts"][name])


def connect(name: str) -> testinfra.host.Host:
    """testinfra's own winrm backend, NTLM over HTTP."""
    of_host = variables(name)
    user, password = quote(of_host["ansible_user"], safe=""), quote(of_host["ansible_password"], safe="")
    address = f"{of_host['ansible_host']}:{of_host['ansible_port']}"
    return testinfra.get_host(f"winrm://{user}:{password}@{address}?no_ssl=true&no_verify_ssl=true")


@pytest.fixture(params=DIRECT)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_the_file_of_the_mail_service_is_the_article_s() -> None:
    shown = connect("ex4").run(f"type {IMC}")
    assert shown.rc == 0
    port = variables("ex4").get("publish_ports", {}).get("smtp", 25)
    assert shown.stdout.splitlines() == [
        "[MSEXCIMC]",
        f"ServerBindTcpPorts={port}",
        "Persistent=1",
        "KillOldSession=1",
    ]


@pytest.mark.parametrize("path", [BIN, IMC])
def test_a_server_with_its_own_proxy_has_no_file(path: str) -> None:
    assert connect("ex6").run(f"type {path}").rc != 0


@pytest.mark.parametrize("service", ["MSExchangeSA", "MSExchangeDS", "MSExchangeIS", "MSExchangeMTA", "MSExchangeIMC"])
def test_every_service_runs(name: str, service: str) -> None:
    shown = connect(name).run(f"sc query {service}")
    assert shown.rc == 0
    assert "RUNNING" in shown.stdout


def test_a_service_that_is_not_there_is_not_called_running(name: str) -> None:
    assert "1060" in connect(name).run("sc query NoSuchService").stdout


def test_every_published_port_answers_as_exchange_from_outside() -> None:
    done = subprocess.run(
        ["ansible-playbook", "-i", str(INVENTORY), "msexchange.winsock_proxy.verify"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
