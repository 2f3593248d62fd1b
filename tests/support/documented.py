# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options that a module documents, those of its fragments included."""

from __future__ import annotations

import importlib
import typing as t

import yaml

PLUGINS = "ansible_collections.msexchange.winsock_proxy.plugins"
PREFIX = "msexchange.winsock_proxy."


def documented_options(module: str) -> dict[str, t.Any]:
    """Options of a module by name; its own text goes before that of a fragment."""
    text = yaml.safe_load(importlib.import_module(f"{PLUGINS}.modules.{module}").DOCUMENTATION)
    options: dict[str, t.Any] = {}
    for name in text.get("extends_documentation_fragment", []):
        options |= yaml.safe_load(_fragment(name))["options"]
    return {**options, **text["options"]}


def _fragment(name: str) -> str:
    """The text that ``namespace.collection.fragment`` names, or ``namespace.collection.fragment.variable``."""
    fragment, _dot, variable = name.removeprefix(PREFIX).partition(".")
    holder = importlib.import_module(f"{PLUGINS}.doc_fragments.{fragment}").ModuleDocFragment
    return str(getattr(holder, variable.upper() or "DOCUMENTATION"))
