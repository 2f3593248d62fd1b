# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reports to look at: a small fleet in which everything happens, and a large one that is mostly in order."""

from __future__ import annotations

from collections.abc import Iterator

from ansible_collections.msexchange.winsock_proxy.plugins.module_utils.listeners import LISTENERS
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.reports.model import (
    PORT_STATES,
    Downtime,
    File,
    Made,
    Port,
    Report,
    Restart,
    Server,
)

AT = 1_796_076_000.0  # 2026-11-30 22:00 UTC
PATH = "C:\\exchsrvr\\bin\\Wspcfg.ini"
BACKUP = "C:\\winnt\\msexchange.winsock_proxy\\backup\\9f3c21ab.ini"
# What nobody should ever see run: it closes every context that a page may put it into.
HOSTILE = (
    "+OK \"'><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
    "{{ 7 * 7 }} {% raw %} ]]> --> </style></q> \x1b[31m\x00 <h1 id=owned>"
)


def port(state: str, name: str = "pop3", *, greeting: str | None = None, address: str = "203.0.113.10") -> Port:
    """One port in a state; one that is proven has greeted."""
    listener = LISTENERS[name]
    version = "5.5.2653.23" if state == "proven" else None
    said = f"+OK Microsoft Exchange {name.upper()} server version {version} ready" if version else greeting
    status = {"proven": "open", "foreign": "foreign", "silent": "timeout", "still open": "open"}.get(state, "refused")
    asked = state not in ("not asked",)
    return Port(
        address=address,
        port=listener.port,
        protocol=name,
        wanted="closed" if state in ("closed", "closing", "still open") else "any" if state == "elsewhere" else "open",
        state=state,
        status=status if asked else None,
        greeting=said,
        product="Microsoft Exchange" if version else None,
        version=version,
        attempts=1 if asked else 0,
        elapsed_ms=12 if asked else 0,
        asked_at=AT + 100 if asked else None,
    )


def few() -> Report:
    """Seven servers in which every state of a port and most of a server's occur."""
    diff = ("@@ -1,3 +1,3 @@", " [STORE]", "-ServerBindTcpPorts=110", "+ServerBindTcpPorts=110,143", " Persistent=1")
    names = list(LISTENERS)
    every = tuple(port(state, names[number % len(names)]) for number, state in enumerate(PORT_STATES))
    servers = (
        Server(
            "exch1",
            "done",
            asked_from="outside1",
            ports=(port("proven"), port("proven", "imap4"), port("closed", "smtp")),
            files=(File(PATH, "replace", done=True, backup=BACKUP, diff=diff),),
            downtimes=(
                Downtime("MSExchangeIS", AT + 10, AT + 48, 38.0, "running"),
                Downtime("MSExchangeIMC", AT + 8, AT + 53, 45.0, "running"),
            ),
        ),
        Server(
            "exch2",
            "failed",
            reasons=(
                "1 of 2 ports are not as expected.",
                "203.0.113.11:110 (pop3): is taken by someone else on the proxy.",
            ),
            asked_from="outside1",
            ports=(port("foreign", greeting=HOSTILE), port("still open", "ldap")),
            files=(File(PATH, "create", done=True, put_back=True, diff=("@@ -0,0 +1 @@", f"+; {HOSTILE}")),),
            downtimes=(Downtime("MSExchangeIS", AT + 60, None, None, "stopped"),),
        ),
        Server(
            "exch3",
            "planned",
            notes=("publish_probe is false, so no port is checked and nothing is proven",),
            ports=(port("not asked"), port("not asked", "imap4s")),
            files=(File(PATH, "create", done=False, diff=("@@ -0,0 +1,2 @@", "+[STORE]", "+ServerBindTcpPorts=110")),),
            restarts=(Restart("MSExchangeIS", "its process has the old [STORE]"),),
            takes_down=("MSExchangeIMC",),
        ),
        Server(
            "exch4", "refused", reasons=("203.0.113.10:110 is wanted by exch1 too; give one of them another address",)
        ),
        Server(
            "exch5",
            "not reached",
            reasons=("mgmt1.example.com refused the login of EXAMPLE\\exadmin; check ansible_password",),
        ),
        Server(
            "exch6",
            "drift",
            findings=(f"{PATH} has to be replaced", "restart of MSExchangeIS waits since 2 days"),
            asked_from="outside1",
            ports=every,
            restarts=(Restart("MSExchangeIS", "its section differs", "outside of publish_restart_window"),),
        ),
        Server("exch7", "in order", asked_from="outside1", ports=(port("proven"), port("proven", "smtp"))),
    )
    return Report(
        kind="publish",
        check_mode=False,
        complete=True,
        headline="Published 1 of 4 servers in 2 min 14 s.",
        made=Made(AT + 134, "alice", "controller.example.com"),
        seconds=134.0,
        servers=servers,
        conflicts=("203.0.113.10:110 (pop3) is claimed by exch1 and exch4",),
        warnings=("Server Monitors that watch MSExchangeIS may restart a machine while it is down (Q245838).",),
    )


def many(number: int = 300) -> Report:
    """A fleet in which most is in order: two of a hundred servers drift, one cannot be reached."""
    drift, away = number // 50, number // 100
    return Report(
        kind="audit",
        check_mode=False,
        complete=True,
        headline=f"{number} servers: {number - drift - away} in order, {drift} drift, {away} unknown",
        made=Made(AT, "alice", "controller.example.com"),
        seconds=33.0,
        servers=tuple(_of_many(number)),
    )


def _of_many(number: int) -> Iterator[Server]:
    for each in range(number):
        address = f"203.0.113.{each % 250 + 1}"
        good = tuple(port("proven", name, address=address) for name in LISTENERS)
        host = f"exch{each:03d}.site{each % 7}.example.com"
        if each % 100 == 0:
            yield Server(host, "not reached", reasons=("the login was refused; check ansible_password",))
        elif each % 50 == 1:
            file = File(PATH, "replace", done=False, diff=("@@ -1 +1 @@", "-Persistent=0", "+Persistent=1"))
            yield Server(
                host,
                "drift",
                findings=(f"{PATH} has to be replaced",),
                asked_from="outside1",
                ports=good,
                files=(file,),
            )
        else:
            yield Server(host, "in order", asked_from="outside1", ports=good)
