# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of the modules, as their own plugins validate them."""

from __future__ import annotations

import copy
import importlib
import typing as t

import yaml

from ansible_collections.msexchange.winsock_proxy.plugins.module_utils.probe.options import ARGUMENT_SPEC
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.target.connection import TARGET_ARGUMENT_SPEC
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.tasks.fleet_action import FleetAction

Spec: t.TypeAlias = t.Mapping[str, t.Mapping[str, t.Any]]
PLUGINS: t.Final = "ansible_collections.msexchange.winsock_proxy.plugins"


def taken(module: str) -> Spec:
    """Return the options that a module's plugin takes, each as its argument specification has it."""
    if module == "port_probe":
        return ARGUMENT_SPEC
    action = importlib.import_module(f"{PLUGINS}.action.{module}").ActionModule
    return action.OPTIONS if issubclass(action, FleetAction) else {**TARGET_ARGUMENT_SPEC, **action.OPTIONS}


def options_of(module: str, /, **said: t.Any) -> dict[str, t.Any]:
    """Return what a task gets when a playbook says only some of its options.

    Args:
        module: short name of the module.
        said: the options that are said; values are taken as they are, unusable ones as well.

    Raises:
        ValueError: an option that the module does not have.
    """
    spec = taken(module)
    unknown = sorted(set(said) - set(spec))
    if unknown:
        raise ValueError(f"{module} has no {', '.join(unknown)}")
    return {**{name: copy.deepcopy(option.get("default")) for name, option in spec.items()}, **said}


def documented_options(module: str) -> dict[str, t.Any]:
    """Options of a module by name; its own text goes before that of a fragment."""
    text = yaml.safe_load(importlib.import_module(f"{PLUGINS}.modules.{module}").DOCUMENTATION)
    options: dict[str, t.Any] = {}
    for name in text.get("extends_documentation_fragment", []):
        options |= yaml.safe_load(_fragment(name)).get("options", {})
    return {**options, **text["options"]}


def _fragment(name: str) -> str:
    """The text that ``namespace.collection.fragment`` names, or ``namespace.collection.fragment.variable``."""
    fragment, _dot, variable = name.removeprefix("msexchange.winsock_proxy.").partition(".")
    holder = importlib.import_module(f"{PLUGINS}.doc_fragments.{fragment}").ModuleDocFragment
    return str(getattr(holder, variable.upper() or "DOCUMENTATION"))
