# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fleets for playbooks: where low ports are not allowed, Exchange itself is moved to high ports."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from tests.lab.api import Lab
from tests.lab.doors import MAPPED_OFFSET
from tests.lab.moving import PORTS, moved

__all__ = ["PORTS", "moved", "port_offset", "started"]

MAPPED = "WSP_LAB_MAPPED_PORTS"


def port_offset() -> int:
    """What is added to every port number here."""
    return MAPPED_OFFSET if os.environ.get(MAPPED) == "1" else 0


@contextmanager
def started(lab: Lab) -> Iterator[Lab]:
    """Run a lab whose fleet is moved already, so that it maps no ports itself."""
    mapped = os.environ.pop(MAPPED, None)
    try:
        lab.__enter__()
    finally:
        if mapped is not None:
            os.environ[MAPPED] = mapped
    try:
        yield lab
    finally:
        lab.__exit__(None, None, None)
