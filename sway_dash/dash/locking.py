"""Answers to events of the browser hold the document's lock.

Panel answers an event at once, with the lock, unless a change of some widget is still waiting for its turn, as it is
when somebody types and then clicks. Then it answers later and without the lock, where a change of a Bokeh model is an
error and half of the answer is lost. Its scheduler takes the lock for what carries this mark.
"""

from __future__ import annotations

from panel.reactive import Syncable

for answer in (Syncable._event_coroutine, Syncable._change_coroutine):
    answer.lock = True
