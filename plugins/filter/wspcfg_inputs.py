# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter ``wspcfg_inputs``: which inputs of the role could not be carried out."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from ..plugin_utils.fleet.inputs import input_problems

DOCUMENTATION = r"""
name: wspcfg_inputs
short_description: Say which inputs of the role could not be carried out
version_added: 1.0.0
author:
  - The msexchange.winsock_proxy authors (@msexchange)
description:
  - Some inputs of the role P(msexchange.winsock_proxy.publish#role) are used only after the file was written, such as
    timeouts of a restart. This finds those that would be refused then, before anything is done.
positional: _input, host
options:
  _input:
    description: Inputs by name, without C(publish_).
    type: dict
    required: true
  host:
    description: Inventory name of the server.
    type: str
    required: true
  found:
    description: Files of tasks by the input that names them, as far as they exist on the controller.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Show what is wrong with a window
  ansible.builtin.debug:
    msg: "{{ {'restart_window': '22:00'} | msexchange.winsock_proxy.wspcfg_inputs(inventory_hostname) }}"
"""

RETURN = r"""
_value:
  description: One sentence per input that cannot be carried out, with host, name, value and remedy.
  type: list
  elements: str
"""


def wspcfg_inputs(given: Mapping[str, t.Any], host: str, found: Mapping[str, str] | None = None) -> list[str]:
    """Return the sentences."""
    return list(input_problems(host, given, found or {}))


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"wspcfg_inputs": wspcfg_inputs}
