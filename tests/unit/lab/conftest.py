# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds for all tests of the lab: which Python runs it, and that its clients do not leave the machine."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.unit.lab.wire_support import PROXY_VARIABLES

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip on an older Python than the lab runs on; the collection itself is tested there all the same."""
    if sys.version_info >= (3, 11):
        return
    mark = pytest.mark.skip(reason="the lab needs Python 3.11: asyncio.timeout, StreamWriter.start_tls")
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(mark)


@pytest.fixture(autouse=True)
def no_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clear what requests would read: it obeys proxy and CA variables."""
    for name in PROXY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
