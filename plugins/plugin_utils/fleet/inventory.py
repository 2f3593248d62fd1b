# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The claims of an inventory's hosts, out of Ansible's variables: an adapter between Ansible and the engines.

Variables get their types from the module's own argument spec, so that what a task accepts, claims its port here too.
"""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

from ansible.errors import AnsibleError, AnsibleFilterError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from jinja2 import UndefinedError

from ..exchange.wanted import LISTENER_OPTIONS
from ..problems.problem import Problem, Refused
from ..shapes import Json
from .conflicts import Claims, claims_of
from .look import Look
from .plan import Inventory

PREFIX = "publish_"
_NAMES = (*LISTENER_OPTIONS, "proxy")
_COMPARED = ("listeners", "ports", "pin", "proxy_address", "proxy_addresses")


def claims_in(hostvars: Mapping[str, t.Any], hosts: str | Sequence[str], *, prefix: str) -> list[Claims]:
    """Return what every host claims; one whose variables cannot be templated or read claims nothing.

    Args:
        hostvars: Variables by inventory name.
        hosts: Inventory names; one name, or ``all``.
        prefix: What the variables' names begin with.

    Raises:
        AnsibleFilterError: A host is not in the inventory.
    """
    names = list(hostvars) if hosts == "all" else [hosts] if isinstance(hosts, str) else list(hosts)
    found = (_claims(hostvars, name, prefix) for name in names)
    return [claims for claims in found if claims is not None]


def proxy_name(hostvars: Mapping[str, t.Any], host: str, *, prefix: str) -> str | None:
    """Return the name of a host's proxy, None when it has none or it cannot be templated."""
    try:
        return str(hostvars[host][prefix + "proxy"]) or None
    except (KeyError, AnsibleError, UndefinedError):
        return None


def typed_options(variables: Mapping[str, t.Any], *, prefix: str) -> Json:
    """Return the options of the listeners as a task would get them: ``pop3`` is a list of one, ``ldap=390`` a mapping.

    Args:
        variables: Options, or one host's variables; empty texts are options that are not given.
        prefix: What their names begin with.

    Raises:
        Refused: A value cannot have its option's type.
    """
    given = {name: _plain(variables[prefix + name]) for name in LISTENER_OPTIONS if prefix + name in variables}
    checked = ArgumentSpecValidator(LISTENER_OPTIONS).validate({key: row for key, row in given.items() if row != ""})
    if checked.error_messages:
        remedy = f"Correct what begins with {prefix}." if prefix else "Correct it."
        raise Refused([Problem("bad_option", text, remedy) for text in checked.error_messages])
    return t.cast(Json, checked.validated_parameters)


def _plain(value: t.Any) -> t.Any:
    """Return ordinary containers: the validator copies deeply, and Ansible's lazy ones hold on to every variable."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):  # an encrypted text is a sequence too
        return [_plain(item) for item in value]
    return value


def _claims(hostvars: t.Any, name: str, prefix: str) -> Claims | None:
    if name not in hostvars:
        raise AnsibleFilterError(
            f"{name!r} is no host of the inventory; give inventory names, such as groups['exchange'], "
            f"in {prefix}conflict_hosts"
        )
    variables = hostvars[name]
    try:
        own = {prefix + key: variables[prefix + key] for key in _NAMES if prefix + key in variables}
        return claims_of(name, {**typed_options(own, prefix=prefix), "proxy": own.get(prefix + "proxy")})
    except (AnsibleError, UndefinedError, Refused):
        return None  # its own plan says what is wrong; here it must not stop the others


class FleetVariables:
    """Variables of many hosts for one task of the whole play, each host's gathered once.

    Args:
        hostvars: Ansible's ``hostvars``.
    """

    def __init__(self, hostvars: t.Any) -> None:
        self._hostvars = hostvars
        self._raw: dict[str, Mapping[str, t.Any]] = {}

    def raw(self, host: str) -> Mapping[str, t.Any]:
        """Return a host's variables without templating them, which a registered result does not need.

        A host that is not in the inventory, a probe host for example, has none.
        """
        if host not in self._raw:
            found = self._hostvars.raw_get(host) if host in self._hostvars else {}
            self._raw[host] = found if isinstance(found, Mapping) else {}
        return self._raw[host]

    def registered(self, hosts: Sequence[str], name: str) -> dict[str, t.Any]:
        """Return what was registered on each host; hosts without it are missing."""
        return {host: self.raw(host)[name] for host in hosts if name in self.raw(host)}

    def claims(self) -> list[Claims]:
        """Return what every host of the inventory claims, by its inventory variables."""
        found = (_claims(self, host, PREFIX) for host in self._hostvars if PREFIX + "listeners" in self.raw(host))
        return [claims for claims in found if claims is not None]

    def outside(self, look: Look) -> list[str]:
        """Return the variables of a server's listeners that other servers do not see: they are not the inventory's."""
        given = (name for name in _COMPARED if look.wishes.get(name) not in (None, "", [], {}, False))
        return sorted(PREFIX + name for name in given if PREFIX + name not in self.raw(look.host))

    # -- what _claims asks of Ansible's own hostvars

    def __contains__(self, host: object) -> bool:
        return host in self._hostvars

    def __getitem__(self, host: str) -> Mapping[str, t.Any]:
        """Return the variables of a host, templated only where one of the few that are asked for is a template."""
        raw = self.raw(host)
        asked = {PREFIX + name: raw[PREFIX + name] for name in _NAMES if PREFIX + name in raw}
        return asked if not any(map(_is_template, asked.values())) else t.cast(t.Any, self._hostvars[host])


def _is_template(value: t.Any) -> bool:
    """Whether a value may be more than it looks like: a template, or an encrypted text."""
    if isinstance(value, str):
        return "{{" in value or "{%" in value
    if isinstance(value, Mapping):
        return any(map(_is_template, value.values()))
    if isinstance(value, (list, tuple)):
        return any(map(_is_template, value))
    return not isinstance(value, (int, float, bool, type(None)))


def partial_inventory(variables: Mapping[str, t.Any]) -> str:
    """Say why the inventory may be only a part, empty when nothing tells so.

    A sliced job of AWX is run by a workflow job that bears its job template's name.
    """
    for product in ("awx", "tower"):
        workflow, template = (variables.get(f"{product}_{name}") for name in ("workflow_job_name", "job_template_name"))
        if workflow and workflow == template:
            return (
                f"This job is one slice of '{template}': servers of the other slices are not seen, and so no conflict "
                "with them. Run the playbook msexchange.winsock_proxy.conflicts once over the whole inventory."
            )
    return ""


def inventory_of(variables: FleetVariables, looks: Sequence[Look], task_vars: Mapping[str, t.Any]) -> Inventory:
    """Return what the inventory says beside the looks.

    Args:
        variables: Variables of every host.
        looks: The servers of this plan.
        task_vars: Variables of the task that makes it.
    """
    outside = {look.host: names for look in looks if (names := variables.outside(look))}
    return Inventory(variables.claims(), outside, partial_inventory(task_vars))


def validate(spec: Mapping[str, t.Any], given: Mapping[str, t.Any]) -> tuple[Json, list[str]]:
    """Give values their types, as Ansible does for a module's arguments; return them and what is wrong."""
    checked = ArgumentSpecValidator(spec).validate({name: _plain(value) for name, value in given.items()})
    return t.cast(Json, checked.validated_parameters), list(checked.error_messages)
