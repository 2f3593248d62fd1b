# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Options of modules that look for Exchange on its server."""

    DOCUMENTATION = r"""
options:
  bin_dir:
    description:
      - Directory of C(Store.exe), as the Exchange server has it, when it should not be looked for.
    type: str
  imc_dir:
    description:
      - Directory of C(Msexcimc.exe), as the Exchange server has it, when it should not be looked for.
    type: str
"""

    VERSION = r"""
options:
  exchange_version:
    description:
      - Version of Exchange, V(4.0), V(5.0) or V(5.5), when the build number in the registry is missing or wrong.
    type: str
"""
