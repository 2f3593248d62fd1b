# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import typing as t
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.pairs import Pair, pair


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Callable[..., Pair]]:
    """Starts two servers in a lab of their own, as a test wants them."""
    with contextlib.ExitStack() as stack:

        def start(**values: t.Any) -> Pair:
            return stack.enter_context(pair(tmp_path / "controller", **values))

        yield start
