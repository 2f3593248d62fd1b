# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the collection importable by its real name, from the checkout and without installing it."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def link_collection(root: Path) -> Path:
    """Make ``build/link/ansible_collections/msexchange/winsock_proxy`` point to the checkout; return ``build/link``."""
    link_root = root / "build" / "link"
    namespace = link_root / "ansible_collections" / "msexchange"
    namespace.mkdir(parents=True, exist_ok=True)
    link = namespace / "winsock_proxy"
    if not link.is_symlink():
        link.symlink_to(root, target_is_directory=True)
    return link_root


sys.path.insert(0, str(link_collection(ROOT)))
sys.path.insert(0, str(ROOT))
