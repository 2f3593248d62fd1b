# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a ``publish_look`` task does: check the role's options, compare the server with them, and never fail."""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Mapping

from ..fleet.look import Look, look_result
from ..fleet.targets import Claimed, all_targets
from ..fleet.wishes import Site, Validator, arguments_of, as_result, connection_of, in_role_terms, read_wishes
from ..problems.advice import problem_of
from ..problems.problem import Problem, Refused
from ..shapes import Json
from ..target.errors import unreached
from ..target.session import ConnectionLost, Session
from . import wspcfg

Connect = Callable[[Mapping[str, t.Any]], Session]


def look(
    given: Mapping[str, t.Any],
    *,
    host: str,
    site: Site,
    validate: Validator,
    connect: Connect,
    where: Callable[[], Mapping[str, t.Any]],
    offline: bool = False,
    restoring: bool = False,
    claimed: Callable[[Look], Claimed] = lambda _look: lambda _host, _port: False,
) -> Json:
    """Look at one server.

    Args:
        given: The role's options without their prefix.
        host: Inventory name.
        site: What the controller knows besides.
        validate: Ansible's validation of an argument spec.
        connect: Opens the session from the connection's options; raises Refused.
        where: Address, port and user of the connection, for the message about one that fails.
        offline: Only check the options, and return the ports that they name.
        restoring: Whether a backup must be chosen.
        claimed: Which ports other servers claim, for ``offline``.

    Returns:
        A look, as :func:`fleet.look.look_result` makes it; refusals and lost connections are data.
    """
    try:
        wishes = read_wishes(given, host=host, site=site, validate=validate, restoring=restoring)
    except Refused as refused:
        return look_result(host, problems=refused.problems)
    shown = as_result(wishes)
    try:
        if offline:
            targets = all_targets(wishes, claimed(Look(host, True, (), wishes, {})))
            return look_result(host, wishes=shown, targets=targets)
        session = connect(connection_of(wishes))
    except Refused as refused:
        return look_result(host, problems=[in_role_terms(problem) for problem in refused.problems], wishes=shown)
    try:
        found = wspcfg.run(session, arguments_of(wishes, "wspcfg"), host=host, check=True)
    except ConnectionLost as lost:
        if lost.sent:
            problem = problem_of("connection_lost", text=lost.text)
        else:
            problem = unreached(lost.text, where(), quota=lost.quota, cause=lost.cause)
        return look_result(host, reached=False, problems=[problem], wishes=shown)
    finally:
        session.close()
    rows = found["problems"] if found.pop("failed", False) else []
    found.pop("msg", None)
    problems = [in_role_terms(Problem(**row)) for row in rows]
    return look_result(host, problems=problems, wishes=shown, found=found)
