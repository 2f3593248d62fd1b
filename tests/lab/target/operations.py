# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One request in, one answer out."""

from __future__ import annotations

import typing as t

from ..machines.errors import WindowsFailure
from ..machines.machine import Machine, Network
from .apply import Application
from .failures import Json, TargetFailure, denied
from .inspect import Inspection
from .request import VERSION, check_request
from .restart import Restart, restart_status
from .scene import Scene, find_server


async def answer_request(network: Network, runner: Machine, request: t.Any, *, delegated: bool = True) -> Json:
    """Run one operation as the target script would on ``runner``.

    Args:
        network: Machines that ``runner`` can reach.
        runner: Machine on which the script runs.
        request: The protocol's request.
        delegated: Whether the caller's login can be used for a second hop.
    """
    answer = _head(runner, request)
    known: Json = {}
    try:
        check_request(request)
        server = find_server(network, runner, request, delegated=delegated)
        scene = Scene(runner, server, request["op"], request["run"], request["who"])
        answer.update(await _run(scene, request, known))
    except TargetFailure as failure:
        answer.update(known, error=failure.as_json())
    except WindowsFailure as failure:
        answer.update(known, error=denied(failure).as_json())
    return answer


def _head(runner: Machine, request: t.Any) -> Json:
    asked = request if isinstance(request, dict) else {}
    return {
        "version": VERSION,
        **{key: asked.get(key) for key in ("op", "run", "computer")},
        "clock": {"now": runner.clock.now(), "utc_offset_minutes": runner.clock.utc_offset_minutes},
    }


async def _run(scene: Scene, request: Json, known: Json) -> Json:
    """Run the operation; ``known`` grows with what an answer that ends in an error carries as well."""
    if request["op"] == "inspect":
        return await Inspection(scene, request, known).run()
    if request["op"] == "apply":
        return await Application(scene, request, known).run()
    if request["op"] == "restart":
        return await Restart(scene, request).run()
    return await restart_status(scene, request)
