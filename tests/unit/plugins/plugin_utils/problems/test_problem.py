# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every error code has advice, and every message names host, cause and remedy."""

from __future__ import annotations

import re

import pytest

from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.problems.advice import (
    ADVICE,
    down_advice,
    problem_of,
    slow_hint,
)
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.problems.problem import Problem, Refused
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.target.errors import (
    TargetError,
    explain,
    unreached,
)
from tests.conftest import ROOT

PROTOCOL = (ROOT / "docs" / "target_protocol.md").read_text(encoding="utf-8")


def documented() -> set[str]:
    table = PROTOCOL.split("### Error codes")[1].split("\n## ")[0]
    rows = set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))
    alone = re.search(r"Codes of the controller alone: (.*?)\.$", table, re.MULTILINE | re.DOTALL)
    assert alone is not None
    return rows | set(re.findall(r"`(\w+)`", alone[1]))


def test_every_documented_code_has_advice() -> None:
    assert documented() <= set(ADVICE)


def test_no_code_is_undocumented() -> None:
    assert set(ADVICE) <= documented()


@pytest.mark.parametrize("code", sorted(ADVICE))
def test_message_names_host_and_remedy(code: str) -> None:
    detail = {"path": "C:\\f.ini", "computer": "EX1", "service": "MSExchangeIS", "dependency": "MSExchangeDS"}
    text = explain(TargetError(code, "as Windows says it", detail), "host1")
    assert text.startswith("host1: ") and "as Windows says it" in text
    assert "{" not in text and len(text) > 60
    if "{path}" in ADVICE[code].cause:
        assert "C:\\f.ini" in text


def test_missing_detail_does_no_harm() -> None:
    assert explain(TargetError("locked"), "h").startswith("h: another program holds")
    assert "unknown error" in explain(TargetError("never_heard_of"), "h")


@pytest.mark.parametrize(
    ("native", "why"), [(5, "access was denied"), (112, "the disk is full"), (183, "exists already")]
)
def test_a_backup_that_failed_says_why(native: int, why: str) -> None:
    assert why in problem_of("backup_failed", {"path": "C:\\f.bak", "native": native}).cause
    assert "(" not in problem_of("backup_failed", {"path": "C:\\f.bak", "native": None}).cause


@pytest.mark.parametrize(
    "code", ["parent_missing", "is_directory", "too_large", "backup_failed", "locked", "disk_full"]
)
def test_errors_of_any_file_do_not_speak_of_one(code: str) -> None:
    text = explain(TargetError(code, "", {"path": "C:\\f.ini", "size": 1, "max_bytes": 1}), "h")
    assert "Wspcfg" not in text and "bin_dir" not in text


def test_problem_names_option_and_value() -> None:
    problem = Problem("c", "this is no TCP port", "Give a port.", "ports.pop3", "x", path="C:\\f")
    assert problem.message("EX1") == "EX1: option ports.pop3='x': this is no TCP port (C:\\f). Give a port."


def test_second_hop_names_the_three_ways() -> None:
    text = problem_of("become_refused").message("h")
    assert "CredSSP" in text and "Kerberos" in text and "computer_username" in text
    assert "option computer='EX1'" in explain(TargetError("second_hop_denied", "", {"computer": "EX1"}), "h")


def test_refused_says_all() -> None:
    refused = Refused([problem_of("become_refused"), problem_of("not_windows")])
    assert len(refused.message("h").splitlines()) == 2


# What pywinrm, pypsrp, OpenSSH and Ansible's plugins say.
SAID = [
    ("ntlm: the specified credentials were rejected by the server", "login_refused"),
    ("failed to authenticate with the server: Failed to authenticate the user x with ntlm", "login_refused"),
    ("ntlm: Bad HTTP response returned from server. Code 404", "not_winrm"),
    ("('Connection aborted.', BadStatusLine('SSH-2.0-OpenSSH_9.2'))", "not_winrm"),
    (
        "ntlm: HTTPConnectionPool(host='192.0.2.1', port=5985): Max retries exceeded (Connection refused)",
        "host_unreachable",
    ),
    ("ntlm: [Errno -2] Name or service not known", "host_unreachable"),
    ("the connection attempt timed out", "host_unreachable"),
]


@pytest.mark.parametrize(("text", "code"), SAID)
def test_unreached_hosts_are_told_apart(text: str, code: str) -> None:
    problem = unreached(text)
    assert (
        problem.code == code
        and text in problem.message("EX1")
        and problem.message("EX1").startswith("EX1: option ansible_")
    )


OF_SERVICES = [
    *("service_pending", "dependency_down", "stop_refused", "stop_timeout", "start_failed", "start_timeout", "died"),
    *("dependency_failed", "interrupted"),
]


@pytest.mark.parametrize("code", OF_SERVICES)
def test_advice_about_services_names_an_article(code: str) -> None:
    assert re.search(r"\bQ\d{6}\b", problem_of(code, {"service": "A", "dependency": "B", "state": "stopped"}).remedy)


@pytest.mark.parametrize("kind", ["stopped", "earlier", "disabled", "wished"])
def test_advice_about_what_is_down_names_service_and_article(kind: str) -> None:
    text = down_advice(kind, "MSExchangeES")
    assert text.startswith("MSExchangeES ") and re.search(r"\bQ\d{6}\b", text) and "{" not in text


def test_values_are_named() -> None:
    detail = {"address": "192.0.2.1", "user": "LAB\\me", "port": 5985, "computer": "EX1", "username": "LAB\\you"}
    assert "option ansible_host='192.0.2.1'" in unreached("timed out", detail).message("h")
    assert "option ansible_user='LAB\\\\me'" in unreached("credentials were rejected", detail).message("h")
    assert "option ansible_port=5985" in unreached("BadStatusLine('SSH')", detail).message("h")
    assert "option computer_username='LAB\\\\you'" in problem_of("credential_refused", detail).message("h")


def test_window_says_the_clock_with_its_offset() -> None:
    detail = {"now": 86400 * 20000 + 9 * 3600, "utc_offset_minutes": -150, "window": {"from": "22:00", "to": "05:00"}}
    text = problem_of("outside_window", detail).message("h")
    assert "option window='22:00-05:00'" in text and "says 06:30 (UTC-02:30)" in text


def test_quota_is_named() -> None:
    assert unreached("maximum number of concurrent shells", quota=True).code == "quota_reached"


@pytest.mark.parametrize(
    ("service", "step", "article"),
    [
        ("MSExchangeIS", "stopping", "Q246287"),
        ("msexchangemta", "stopping", "Q231275"),
        ("MSExchangeIS", "starting", "Q262041"),
        ("MSExchangeDS", "starting", "Q241152"),
        ("MSExchangeES", "starting", None),
        ("MSExchangeIS", "stopped", None),
        ("Spooler", "stopping", None),
    ],
)
def test_what_is_known_of_slow_services(service: str, step: str, article: str | None) -> None:
    hint = slow_hint(service, step)
    assert hint is None if article is None else str(hint).startswith(f"{article}: ")
