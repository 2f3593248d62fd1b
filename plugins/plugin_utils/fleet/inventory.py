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

_NAMES = (*LISTENER_OPTIONS, "proxy")


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


def _claims(hostvars: Mapping[str, t.Any], name: str, prefix: str) -> Claims | None:
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
