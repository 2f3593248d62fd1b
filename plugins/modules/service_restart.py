# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restart Windows services with their dependents, and tell what really happened."""

from __future__ import annotations

DOCUMENTATION = r"""
module: service_restart
short_description: Restart Windows services with their dependents, and tell what really happened
version_added: 1.0.0
description:
  - Stops the given services with everything that runs and depends on them, and starts exactly what ran before, in the
    order of the dependency graph. What was stopped stays stopped.
  - The work is done by a detached process on the machine that runs the script. It outlives the connection, the shell
    and the controller, obeys only its deadlines, and kills nothing.
  - Services that a restart cut short has left stopped are started again by the next restart.
  - Reports states and processes as they were seen, and is C(changed) only if something was restarted.
  - Works for any Windows service, on the host of the connection and through a management host.
author:
  - The msexchange.winsock_proxy authors (@msexchange)
extends_documentation_fragment:
  - msexchange.winsock_proxy.target
  - msexchange.winsock_proxy.exchange
options:
  names:
    description:
      - Services to restart, by their names (not their display names). Mutually exclusive with O(plan).
      - With O(only_if_pending) and without names, the services of Exchange that read a C(Wspcfg.ini).
    type: list
    elements: str
  plan:
    description:
      - The value C(restart) of a result of M(msexchange.winsock_proxy.wspcfg). No inspection is needed then, and a fast
        restart is one remote execution. Mutually exclusive with O(names).
    type: dict
  only_if_pending:
    description:
      - Restart only those of O(names) whose process has not loaded its section of C(Wspcfg.ini) as it is now.
      - Services that read no C(Wspcfg.ini) are refused.
    type: bool
    default: false
  dependents:
    description:
      - What becomes of running services that depend on the named ones. V(restore) starts them again, V(leave_stopped)
        does not, V(fail) refuses the restart if there are any.
    type: str
    choices: [restore, leave_stopped, fail]
    default: restore
  start:
    description:
      - Also start named services that are stopped. Without it they are reported and left alone.
    type: bool
    default: false
  start_dependencies:
    description:
      - Start a stopped service that a named one depends on, instead of refusing.
    type: bool
    default: false
  stop_timeout:
    description:
      - Seconds that one service may take to stop. Exchange may need more than ten minutes (Q246287).
    type: int
    default: 900
  start_timeout:
    description:
      - Seconds that one service may take to start. The information store may replay its logs (Q262041).
    type: int
    default: 1800
  deadline:
    description:
      - Seconds that everything together may take. Until then a service that passed its own limit is waited for, and
        started once it is down; only what comes back may take longer.
    type: int
    default: 3600
  settle:
    description:
      - Seconds after which a started service must still be running, as the same process, to count as started.
    type: int
    default: 10
  finish:
    description:
      - Which interrupted restart is completed first. V(same_boot) is one of this boot and of the last 24 hours, V(any)
        also an older one.
    type: str
    choices: [same_boot, any]
    default: same_boot
  window:
    description:
      - Time of day in which a restart must begin, such as V(22:00-05:00), by the clock of the machine that runs the
        script. Outside of it nothing is restarted and the task fails.
    type: str
  allow_kms:
    description:
      - Restart the Key Management Server too. It asks for its password at every start (Q151689, Q196129).
    type: bool
    default: false
  allow_cluster:
    description:
      - Restart services of a cluster node, which Cluster Administrator should do (Q173809).
    type: bool
    default: false
  allow_disabled:
    description:
      - Stop services that are disabled and will not start again.
    type: bool
    default: false
attributes:
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in check_mode), when in diff mode.
    support: full
notes:
  - While a restart takes longer than half a minute, the task prints every 30 seconds which service is stopping or
    starting, for how long, and until when at most by the clock of the machine that runs the script.
  - A restart of C(MSExchangeDS) takes down C(MSExchangeIS), C(MSExchangeMTA), C(MSExchangeIMC) and whatever else runs
    on top of the directory. Check mode shows what.
seealso:
  - module: msexchange.winsock_proxy.wspcfg
  - module: ansible.windows.win_service
"""

EXAMPLES = r"""
- name: Restart the information store, and what runs on top of it
  msexchange.winsock_proxy.service_restart:
    computer: EXCH1
    names: [MSExchangeIS]

- name: Restart what has not loaded its settings yet, at night
  msexchange.winsock_proxy.service_restart:
    only_if_pending: true
    window: "22:00-05:00"

- name: Restart the spooler of a print server of today
  msexchange.winsock_proxy.service_restart:
    names: [Spooler]
    dependents: fail
    stop_timeout: 60
    start_timeout: 60

- name: Start what an older interrupted restart left down
  msexchange.winsock_proxy.service_restart:
    only_if_pending: true
    finish: any
"""

RETURN = r"""
outcome:
  description: V(restarted), V(nothing), V(failed), V(interrupted), or V(predicted) in check mode.
  returned: always
  type: str
launched:
  description:
    - How the process that did the work was started, V(wmi), or V(process) where WMI did not answer. The latter may end
      together with the connection; a warning says so. Null when none was started.
  returned: always
  type: str
  sample: wmi
services:
  description:
    - Every service concerned, in start order. When the worker died and another run completed its work, the states and
      processes afterwards are those that were seen at the end.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: Name of the service.
      type: str
    role:
      description: V(requested) or V(dependent).
      type: str
    before:
      description: State before, as observed.
      type: str
    after:
      description: State afterwards, as observed; the last one seen when it hung.
      type: str
    process_before:
      description: Process before, with C(id) and C(started); null where it cannot be known.
      type: dict
    process_after:
      description: Process afterwards; null where it cannot be known.
      type: dict
    process_source:
      description: How the process is known, V(path) or V(unknowable).
      type: str
    stop_ms:
      description: Milliseconds that it took to stop, null when it was not stopped.
      type: int
    start_ms:
      description: Milliseconds that it took to start, null when it was not started.
      type: int
    step:
      description:
        - Last step, of V(recorded), V(stopping), V(stopped), V(starting), V(running), V(failed), V(hung), V(left)
          (stopped on purpose), V(predicted).
      type: str
    error:
      description: What went wrong with it, null when nothing did.
      type: dict
timeline:
  description: Every step with its time.
  returned: always
  type: list
  elements: dict
roots:
  description: Services that were asked for and were running.
  returned: always
  type: list
  elements: str
takes_down:
  description: Running dependents, in stop order.
  returned: always
  type: list
  elements: str
not_concerned:
  description: Named services that were left alone, each with C(name) and C(reason).
  returned: always
  type: list
  elements: dict
down:
  description:
    - Services that do not run now and ran before, or before an interrupted restart that this one was to complete or
      only reports.
  returned: always
  type: list
  elements: str
advice:
  description: What to do about each service that failed or is RV(down), with the article's number.
  returned: always
  type: list
  elements: str
left_alone:
  description: Services of an interrupted restart that somebody else has stopped since.
  returned: always
  type: list
  elements: str
completed:
  description: Services that were started to complete an interrupted restart.
  returned: always
  type: list
  elements: str
previous:
  description: An interrupted restart of before, null when there was none.
  returned: always
  type: dict
  contains:
    run:
      description: Its identifier.
      type: str
    who:
      description: Who had begun it.
      type: str
    began:
      description: When, in seconds since 1970.
      type: float
    down:
      description: What it had stopped and what is still down.
      type: list
      elements: str
unfinished:
  description: What an interrupted restart had left behind when the task began, null when there was none.
  returned: always
  type: dict
refusals:
  description: Reasons against the restart that were not accepted.
  returned: always
  type: list
  elements: dict
problems:
  description:
    - Why the task failed, each with C(code), C(option), C(value), C(cause) and C(remedy). When the worker of the
      restart died and what it had stopped could not be started again, the second one says why.
  returned: always
  type: list
  elements: dict
error:
  description: The error that the target, or the connection to it, ended with.
  returned: when there was one
  type: dict
  contains:
    code:
      description: Its name in C(docs/target_protocol.md).
      type: str
    message:
      description: What the target said.
      type: str
    detail:
      description: What it is about; C(finish_error) holds the error of a run that could not complete this one.
      type: dict
executions:
  description: Remote executions of this task.
  returned: always
  type: int
clock:
  description:
    - Time, UTC offset and name of the machine that ran the script; the name is null where a plan was carried out,
      because nothing was inspected then.
  returned: always
  type: dict
"""
