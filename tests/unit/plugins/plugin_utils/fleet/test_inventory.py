# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a task accepts claims its port, in whatever form the inventory has it; what a task refuses claims nothing."""

from __future__ import annotations

import itertools
import typing as t

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.msexchange.winsock_proxy.plugins.action.wspcfg import ActionModule
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.exchange.wanted import Published, read_wanted
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.fleet.conflicts import find_conflicts
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.fleet.inventory import claims_in, typed_options
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.problems.problem import Refused

ADDRESS = "192.0.2.1"

# Values as people write them in inventories, good and bad ones.
FORMS: dict[str, tuple[t.Any, ...]] = {
    "listeners": (["pop3"], "pop3", "pop3,ldap", "pop3, ldap", ["pop3", "imap4s"], ["ldap", "ldap"], {"pop3": 1}, 110),
    "ports": ({}, {"ldap": 390}, {"ldap": " 390 "}, {"ldap": 390.9}, "ldap=390", '{"ldap": "390"}', "ldap", [390]),
    "proxy_address": (ADDRESS, f"{ADDRESS} ", "", "mail.example.com", "0.0.0.0", 3221225985),
    "proxy_addresses": ({}, {"imap4s": f" {ADDRESS}"}, f"imap4s={ADDRESS}", {"pop4": ADDRESS}),
    "pin": (False, "yes", "no", "perhaps"),
}
GOOD = {"listeners": ["pop3", "ldap"], "ports": {}, "proxy_address": ADDRESS, "proxy_addresses": {}, "pin": False}


def accepted(options: dict[str, t.Any]) -> tuple[Published, ...]:
    """What the task of the role publishes for these options, nothing when it is refused."""
    given = {name: value for name, value in options.items() if value != ""}
    checked = ArgumentSpecValidator(ActionModule.OPTIONS).validate(given)
    if checked.error_messages:
        return ()
    try:
        return read_wanted(checked.validated_parameters).published
    except Refused:
        return ()


PAIRS = [
    {**GOOD, one: first, other: second}
    for one, other in itertools.combinations(FORMS, 2)
    for first in FORMS[one]
    for second in FORMS[other]
]


def test_what_a_task_accepts_claims_and_nothing_else() -> None:
    some = 0
    for options in PAIRS:
        hostvars = {"a": {f"publish_{name}": value for name, value in options.items()}}
        claims = claims_in(hostvars, "all", prefix="publish_")
        claimed = {(item.listener.name, item.port, item.address, item.pinned) for row in claims for item in row.wanted}
        wanted = {(item.listener.name, item.port, item.address, item.pinned) for item in accepted(options)}
        assert claimed == wanted, options
        some += bool(wanted)
    assert 0 < some < len(PAIRS)


@pytest.mark.parametrize(
    "other",
    [
        {"publish_listeners": "pop3"},
        {"publish_proxy_address": f"{ADDRESS} "},
        {"publish_listeners": "imap4", "publish_ports": "imap4=110"},
    ],
)
def test_two_servers_never_get_one_port_however_it_is_written(other: dict[str, t.Any]) -> None:
    plain = {"publish_listeners": ["pop3"], "publish_proxy_address": ADDRESS}
    claims = claims_in({"a": plain, "b": {**plain, **other}}, "all", prefix="publish_")
    assert [(row.address, row.port, row.hosts) for row in find_conflicts(claims)] == [(ADDRESS, 110, ("a", "b"))]


def test_a_value_of_another_type_is_refused_with_its_option() -> None:
    with pytest.raises(Refused) as caught:
        typed_options({"publish_listeners": ["pop3"], "publish_ports": "ldap"}, prefix="publish_")
    (problem,) = caught.value.problems
    assert "ports" in problem.cause and "publish_" in problem.remedy
