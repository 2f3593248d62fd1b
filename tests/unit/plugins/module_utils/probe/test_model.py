# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Words of the port probe's statuses."""

from __future__ import annotations

import pytest

from ansible_collections.msexchange.winsock_proxy.plugins.module_utils.probe.model import Status, said_of


@pytest.mark.parametrize("status", Status)
def test_every_status_can_be_said_in_a_sentence(status: Status) -> None:
    said = said_of(status.value)
    assert said == said_of(status)
    assert "_" not in said
    assert said.split()[0] in ("is", "gives", "cannot", "resets", "refuses", "does", "has", "breaks")


def test_a_port_is_never_timeout() -> None:
    assert said_of("timeout") == "gives no answer"
    assert said_of("refused") == "is refused"
