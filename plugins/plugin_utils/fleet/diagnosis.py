# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which side is broken: what the probe saw outside, against what the Exchange server shows inside."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...module_utils.listeners import LISTENERS
from ...module_utils.probe.greetings import read_greeting
from ...module_utils.probe.model import TAKEN, said_of


@dataclass(frozen=True)
class Side:
    """Where to look.

    Attributes:
        side: One of `EXPLANATIONS`.
        explanation: One sentence with host, port and service.
    """

    side: str
    explanation: str


_SEE = "see its Wspcfg.ini, whether the service was restarted since, and the WinSock Proxy client"

EXPLANATIONS: Mapping[str, str] = {
    "none": "{where} is as expected",
    "server": "{service} does not listen on port {port} of the Exchange server: see its state and its events",
    "server_foreign": "port {port} of the Exchange server is taken by another program ({greeting}), not by {service}",
    "server_mute": "{service} listens on port {port} of the Exchange server and was not heard there either",
    "proxy": f"{{service}} {{answers}} on port {{port}} of the Exchange server but {{where}} {{said}}: {_SEE}",
    "proxy_unheard": (
        "{service} listens on port {port} of the Exchange server, where it was not heard in time, and {where} "
        f"{{said}}: {_SEE}"
    ),
    "proxy_foreign": "{where} is taken by someone else on the proxy: {greeting}",
    "still_there": (
        "{where} should be closed and {said}{heard}: {service} has not been restarted since, or somebody else has "
        "the port on the proxy"
    ),
    "certificate": "{service} listens on {where} without a usable certificate (event 13002, Q251097)",
    "vantage": "the probe host cannot see the proxy ({where} {said}): check from another one",
    "unknown": "{where} {said}, and the Exchange server's own view of port {port} is not known",
}
"""Side -> sentence."""

_VANTAGE = ("unreachable", "unresolved")
_NOT_ACCEPTED = ("refused", "timeout")
# WSAECONNREFUSED; the text that comes with it is in the language of the machine.
_REFUSED = 10061
_CERTIFICATE = ("no_certificate", "tls_alert")


def broken_side(result: Mapping[str, t.Any], inside: Sequence[Mapping[str, t.Any]]) -> Side:
    """Say which side a failed check points to.

    Args:
        result: One of ``port_probe``'s results.
        inside: The server's own ports, as ``wspcfg_info`` tells them: ``port``, ``listening`` (null when it cannot be
            known), ``connected``, ``greeting`` and ``speaks`` (text or null) and ``native`` (WinSock's code or null).
    """
    view = next((entry for entry in inside if entry.get("port") == result["port"]), None)
    side = "none" if result["ok"] else _outside(result) or _inside(result, view)
    listener = LISTENERS.get(result["protocol"])
    greeting = (view or {}).get("greeting") if side == "server_foreign" else result["greeting"]
    text = EXPLANATIONS[side].format(
        where=f"{result['host']}:{result['port']}",
        port=result["port"],
        said=said_of(result["status"]),
        service="the service" if listener is None else listener.owner.service,
        answers="answers" if _speaks_inside(result["protocol"]) else "listens",
        greeting=f"it answers '{greeting}'" if greeting else "it answers, but not as Exchange",
        heard=f" ('{greeting}')" if greeting else "",
    )
    return Side(side, text)


def _outside(result: Mapping[str, t.Any]) -> str | None:
    """Sides that the probe alone tells."""
    if result["status"] in _VANTAGE:
        return "vantage"
    if result["expect"] == "closed":
        return "still_there"
    if result["status"] in TAKEN:
        return "proxy_foreign"
    return "certificate" if result["status"] in _CERTIFICATE else None


def _inside(result: Mapping[str, t.Any], view: Mapping[str, t.Any] | None) -> str:
    if view is None:
        return "unknown"
    if not view.get("connected"):
        return "server" if _listens_nowhere(view) else "unknown"
    protocol = _speaks_inside(result["protocol"])
    if protocol is None:
        return "proxy"
    if not view.get("greeting"):
        return "proxy_unheard" if result["status"] in _NOT_ACCEPTED else "server_mute"
    return "proxy" if _is_own(protocol, view) else "server_foreign"


def _listens_nowhere(view: Mapping[str, t.Any]) -> bool:
    """Whether it was seen that nobody listens; a connection request that got no answer in time has shown nothing."""
    if view.get("listening") is not None:
        return not view["listening"]
    return view.get("native") == _REFUSED


def _is_own(protocol: str, view: Mapping[str, t.Any]) -> bool:
    if protocol == "ldap":
        return view.get("speaks") == protocol
    return read_greeting(str(view["greeting"]).encode("ascii", "replace")).is_exchange


def _speaks_inside(protocol: str) -> str | None:
    """Return the protocol that is heard from the server's own port, None where that is only connected to."""
    listener = LISTENERS.get(protocol)
    return None if listener is None or listener.tls else listener.protocol
