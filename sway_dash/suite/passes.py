"""Forward passes of a trace: look-ups that missed together, laid out in time.

A trace has one record a look-up. The misses of one batch went through the model at once: each carries an equal share
of the batch's time and is written when the batch, and the group of views it belongs to, is done.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sway_dash.suite.trace_file import TraceEvent

Floats = npt.NDArray[np.float64]


def continues(call: TraceEvent, before: TraceEvent | None, n: int) -> bool:
    """Whether a miss belongs to the pass of ``before``, of which ``n`` look-ups are known."""
    if before is None or call.hit or before.hit or (call.batch or 1) <= n:
        return False
    mine = (call.view_id, call.op, call.owner, call.batch, call.wall_ms)
    return mine == (before.view_id, before.op, before.owner, before.batch, before.wall_ms)


def lay_out(written: Floats, seconds: Floats) -> Floats:
    """Latest possible starts of passes that follow each other and had ended when they were written.

    Several passes are written in one go, after the last of them, so ``written - seconds`` alone would draw them on top
    of each other. One device works on one pass at a time: pass ``k`` ended before pass ``k + 1`` began. A pause inside
    such a group is therefore seen before the group; its length is right.

    Parameters
    ----------
    written, seconds
        ``(n,)`` time at which each pass was written and how long it took, in the order of the trace.

    Returns
    -------
    ``(n,)`` starts, on the clock of ``written``.
    """
    if not len(written):
        return np.zeros(0)
    # end_k = min over j ≥ k of written_j less what lies between the end of k and the end of j.
    done = np.cumsum(seconds)
    latest = np.minimum.accumulate((written - done)[::-1])[::-1]
    return np.asarray(latest + done - seconds, dtype=np.float64)
