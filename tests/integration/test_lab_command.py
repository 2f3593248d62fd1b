# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab as its command line starts it: its inventory is all that a playbook needs, at high ports too."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT
from tests.support.fleets import MAPPED
from tests.support.playbook import Playbooks


def lab(directory: Path, *words: str) -> str:
    command = [sys.executable, "-m", "tests.lab", *words, "--dir", str(directory)]
    environment = {**os.environ, MAPPED: "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_where_low_ports_are_not_allowed_the_inventory_says_the_high_ones(tmp_path: Path) -> None:
    assert "LOW PORTS ARE NOT ALLOWED" in lab(tmp_path, "up", "--background", "--speed", "60")
    try:
        play = Playbooks(tmp_path / "inventory.yml", tmp_path / "runs")
        published = play.run("publish", "--limit", "ex4", extra={"publish_probe_deadline": 120})
        assert published.status == 0, published.output
        assert ":20025 EX4:MSExchangeIMC" in lab(tmp_path, "status")
    finally:
        lab(tmp_path, "down")
