# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Arguments of a task by its spec; one that does not exist is named with the nearest one that does."""

from __future__ import annotations

import typing as t
from collections.abc import Iterator, Mapping
from difflib import get_close_matches

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ..shapes import Json

Spec = Mapping[str, Mapping[str, t.Any]]


def validated(action: ActionBase, spec: Spec, **rules: t.Any) -> Json:
    """Return a task's arguments in their types.

    Args:
        action: The action plugin that runs.
        spec: Its options.
        **rules: What else Ansible's validation takes, ``required_together`` for example.

    Raises:
        AnsibleActionFail: An argument does not exist or cannot have its type.
    """
    wrong = [f"{action._task.action}: {text}" for text in unknown_options(action._task.args, spec)]
    if wrong:
        raise AnsibleActionFail("\n".join(wrong))
    dummy, options = action.validate_argument_spec(argument_spec=spec, **rules)
    return t.cast(Json, options)


def unknown_options(given: t.Any, spec: Spec, within: str = "") -> Iterator[str]:
    """Yield a sentence for every option that does not exist, those inside of mappings and lists of mappings too.

    Args:
        given: Arguments as the task has them.
        spec: Options as Ansible's argument specs have them.
        within: Option that the arguments belong to, with a dot at its end.
    """
    if not isinstance(given, Mapping):
        return
    for name, value in given.items():
        own = spec.get(name)
        if own is None:
            near = get_close_matches(str(name), list(spec), 1)
            hint = f"did you mean {within}{near[0]}?" if near else f"there are {', '.join(sorted(spec))}"
            yield f"there is no option {within}{name}; {hint}"
        elif own.get("options"):
            for item in value if isinstance(value, (list, tuple)) else [value]:
                yield from unknown_options(item, own["options"], f"{within}{name}.")
