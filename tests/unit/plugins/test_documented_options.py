# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every module documents the options that its action takes: names, types, choices, defaults.

ansible-test compares only modules that have code of their own; most of these have an action plugin alone.
"""

from __future__ import annotations

import importlib
import typing as t

import pytest
import yaml

from ansible_collections.msexchange.winsock_proxy.plugins.doc_fragments.target import ModuleDocFragment
from tests.conftest import ROOT
from tests.support.options import PLUGINS, Spec, taken

NAMES = sorted(path.stem for path in (ROOT / "plugins" / "modules").glob("*.py") if path.stem != "__init__")


def documented(name: str) -> Spec:
    text = yaml.safe_load(importlib.import_module(f"{PLUGINS}.modules.{name}").DOCUMENTATION)
    fragments = text.get("extends_documentation_fragment", [])
    shared = yaml.safe_load(ModuleDocFragment.DOCUMENTATION)["options"] if fragments else {}
    return {**shared, **text["options"]}


def facts(option: t.Mapping[str, t.Any], nested: str) -> dict[str, t.Any]:
    """What documentation and argument specification both say about an option."""
    return {
        "type": option.get("type", "str"),
        "elements": option.get("elements"),
        "required": option.get("required", False),
        "default": option.get("default"),
        "choices": list(option.get("choices") or []),
        "options": {key: facts(value, nested) for key, value in (option.get(nested) or {}).items()},
    }


@pytest.mark.parametrize("name", NAMES)
def test_documentation_and_validation_agree(name: str) -> None:
    said = {key: facts(option, "suboptions") for key, option in documented(name).items()}
    done = {key: facts(option, "options") for key, option in taken(name).items()}
    assert said == done
