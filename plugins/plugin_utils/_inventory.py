# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The claims of an inventory's hosts, out of Ansible's variables.

Private to this collection: names and shapes may change in any release.
"""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

from ansible.errors import AnsibleError, AnsibleFilterError
from jinja2 import UndefinedError

from ._conflicts import Claims, claims_of

_VARIABLES = ("listeners", "ports", "proxy_address", "proxy_addresses", "pin", "state", "proxy")


def claims_in(hostvars: Mapping[str, t.Any], hosts: str | Sequence[str], *, prefix: str) -> list[Claims]:
    """Return what every host claims; one whose variables cannot be templated claims nothing.

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


def _claims(hostvars: Mapping[str, t.Any], name: str, prefix: str) -> Claims | None:
    if name not in hostvars:
        raise AnsibleFilterError(
            f"{name!r} is no host of the inventory; give inventory names, such as groups['exchange']"
        )
    variables = hostvars[name]
    try:
        own = {prefix + key: variables[prefix + key] for key in _VARIABLES if prefix + key in variables}
        return claims_of(name, own, prefix=prefix)
    except (AnsibleError, UndefinedError):
        return None  # its own plan says what is undefined; here it must not stop the others
