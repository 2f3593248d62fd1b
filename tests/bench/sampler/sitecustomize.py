# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A sampling profiler that Python starts by itself where this folder is on PYTHONPATH, in every forked worker too.

Ansible's workers live for less than a tenth of a second, which is too short for a profiler that attaches from outside.
Every few milliseconds of processor time the stack is appended to the file ``SAMPLER_PATH``, innermost frame first.
"""

from __future__ import annotations

import atexit
import os
import signal
import types

INTERVAL_S = 0.002
_PATH = os.environ.get("SAMPLER_PATH")


def _sample(_number: int, frame: types.FrameType | None) -> None:
    stack = []
    while frame is not None:
        code = frame.f_code
        stack.append(f"{code.co_qualname}\t{code.co_filename}\t{frame.f_lineno}\t{code.co_firstlineno}")
        frame = frame.f_back
    data = ("\n".join(stack) + "\n\n").encode()
    handle = os.open(_PATH, os.O_WRONLY | os.O_APPEND | os.O_CREAT)  # type: ignore[arg-type]
    os.write(handle, data)
    os.close(handle)


def _start() -> None:
    signal.signal(signal.SIGPROF, _sample)
    signal.setitimer(signal.ITIMER_PROF, INTERVAL_S, INTERVAL_S)


def _stop() -> None:
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.signal(signal.SIGPROF, signal.SIG_IGN)  # Python takes its handlers away at its end; the default is to die


if _PATH:
    _start()
    atexit.register(_stop)
    os.register_at_fork(after_in_child=_start)  # timers are not inherited
