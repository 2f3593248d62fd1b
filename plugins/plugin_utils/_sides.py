# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which side is broken: what the probe saw outside, against what the Exchange server shows inside.

Private to this collection: names and shapes may change in any release.
"""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..module_utils._greetings import read_greeting
from ..module_utils._listeners import LISTENERS


@dataclass(frozen=True)
class Side:
    """Where to look.

    Attributes:
        side: One of `EXPLANATIONS`.
        explanation: One sentence with host, port and service.
    """

    side: str
    explanation: str


EXPLANATIONS: Mapping[str, str] = {
    "none": "{where} is as expected",
    "server": "{service} does not listen on port {port} of the Exchange server: see its state and its events",
    "server_foreign": "port {port} of the Exchange server is taken by another program ({greeting}), not by {service}",
    "server_mute": "{service} listens on port {port} of the Exchange server and does not answer there either",
    "proxy": (
        "{service} answers on port {port} of the Exchange server but not on {where}: see its Wspcfg.ini, whether the "
        "service was restarted since, and the WinSock Proxy client"
    ),
    "proxy_foreign": "{where} is taken by someone else on the proxy: {greeting}",
    "still_there": (
        "{where} should be closed and is {status}{heard}: {service} has not been restarted since, or somebody else has "
        "the port on the proxy"
    ),
    "certificate": "{service} listens on {where} without a usable certificate (event 13002, Q251097)",
    "vantage": "the probe host cannot see the proxy ({where} is {status}): check from another one",
    "unknown": "{where} is {status}, and the Exchange server's own view of port {port} is not known",
}
"""Side -> sentence."""

_VANTAGE = ("unreachable", "unresolved")
_CERTIFICATE = ("no_certificate", "tls_alert")


def broken_side(result: Mapping[str, t.Any], inside: Sequence[Mapping[str, t.Any]]) -> Side:
    """Say which side a failed check points to.

    Args:
        result: One of ``port_probe``'s results.
        inside: The server's own ports: ``port``, ``listening`` (null when it cannot be known), ``connected`` and
            ``greeting`` (text or null).
    """
    view = next((entry for entry in inside if entry.get("port") == result["port"]), None)
    side = "none" if result["ok"] else _outside(result) or _inside(result, view)
    listener = LISTENERS.get(result["protocol"])
    greeting = (view or {}).get("greeting") if side == "server_foreign" else result["greeting"]
    text = EXPLANATIONS[side].format(
        where=f"{result['host']}:{result['port']}",
        port=result["port"],
        status=result["status"],
        service="the service" if listener is None else listener.owner.service,
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
    if result["status"] == "foreign":
        return "proxy_foreign"
    return "certificate" if result["status"] in _CERTIFICATE else None


def _inside(result: Mapping[str, t.Any], view: Mapping[str, t.Any] | None) -> str:
    if view is None or (view.get("listening") is None and view.get("connected") is None):
        return "unknown"
    if view.get("listening") is False or not view.get("connected"):
        return "server"
    if _has_greeting(result["protocol"]):
        greeting = read_greeting(str(view.get("greeting") or "").encode("ascii", "replace"))
        if not greeting.text:
            return "server_mute"
        if not greeting.is_exchange:
            return "server_foreign"
    return "proxy"


def _has_greeting(protocol: str) -> bool:
    """Whether a connection to the server's own port is greeted in clear."""
    listener = LISTENERS.get(protocol)
    return listener is not None and not listener.tls and listener.protocol != "ldap"
