"""What every backend counts, remembers and records: the scoring cache, its counters, the trace.

A backend owns one :class:`BackendInstrumentation`; a run borrows it (:meth:`BackendInstrumentation.attached`) so that
counters and trace belong to that run alone, however long the backend lives.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, TextIO, TypeVar

import numpy as np

from sway_dash.core.events import CacheAccess

T = TypeVar("T")
MISS: Final = object()
"""What :meth:`ForwardCache.get` returns when it has nothing; ``None`` is a value like any other."""

DEFAULT_CACHE_BYTES = 256 * 1024**2


@lru_cache(maxsize=65_536)
def prompt_digest(prompt: str) -> str:
    """First 12 hex digits of the SHA-1 of a prompt: its name in a trace (not a security measure)."""
    return hashlib.sha1(prompt.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()[:12]


def pair_name(prompt: str, completion: str) -> str:
    """One text for a prompt and its completion in keys and traces; no two pairs have the same, whatever they hold."""
    return f"{len(prompt)}:{prompt}{completion}"


@dataclass(slots=True)
class BackendStats:
    """Counters of one run. ``forward_passes`` counts prompts that reached the model, so it equals the misses."""

    cache_hits: int = 0
    cache_misses: int = 0
    forward_passes: int = 0
    scoring_wall_s: float = 0.0
    batches_sent: int = 0
    batched_prompts: int = 0
    max_batch_size: int = 0
    evictions: int = 0
    by_phase: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def total_lookups(self) -> int:
        """Hits and misses together."""
        return self.cache_hits + self.cache_misses

    @property
    def hit_rate(self) -> float:
        """Share of look-ups the cache answered; 0.0 without look-ups."""
        return self.cache_hits / self.total_lookups if self.total_lookups else 0.0

    @property
    def avg_batch_size(self) -> float:
        """Prompts per batch; 0.0 without batches."""
        return self.batched_prompts / self.batches_sent if self.batches_sent else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return all counters and rates, JSON-ready."""
        return {
            **asdict(self),
            "scoring_wall_s": round(self.scoring_wall_s, 6),
            "hit_rate": self.hit_rate,
            "avg_batch_size": self.avg_batch_size,
        }


class ForwardCache:
    """Least-recently-used cache bounded by bytes; thread-safe; its arrays are read-only.

    An entry larger than the whole budget is not stored: it would only empty the cache.
    """

    def __init__(self, max_bytes: int = DEFAULT_CACHE_BYTES) -> None:
        if max_bytes <= 0:
            msg = f"maxsize must be positive, got {max_bytes} bytes"
            raise ValueError(msg)
        self.max_bytes = max_bytes
        self.nbytes = 0
        self.evictions = 0
        self._entries: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._entries

    def get(self, key: Hashable) -> Any:
        """Return the value and mark it recently used, or :data:`MISS`."""
        with self._lock:
            found = self._entries.get(key)
            if found is None:
                return MISS
            self._entries.move_to_end(key)
            return found[0]

    def put(self, key: Hashable, value: Any) -> None:
        """Store ``value``, dropping the least recently used entries until it fits."""
        size = _nbytes(value)
        with self._lock:
            self.nbytes -= self._entries.pop(key, (None, 0))[1]
            if size > self.max_bytes:
                return
            while self.nbytes + size > self.max_bytes:
                self.nbytes -= self._entries.popitem(last=False)[1][1]
                self.evictions += 1
            self._entries[key] = (_read_only(value), size)
            self.nbytes += size

    def retain(self, wanted: Callable[[Hashable], bool]) -> None:
        """Forget every entry whose key is not wanted."""
        with self._lock:
            for key in [k for k in self._entries if not wanted(k)]:
                self.nbytes -= self._entries.pop(key)[1]

    def items(self) -> list[tuple[Hashable, Any]]:
        """Everything that is stored, the least recently used first."""
        with self._lock:
            return [(key, value) for key, (value, _) in self._entries.items()]

    def shrink(self) -> None:
        """Forget everything, and hold half as much from now on: its memory was wanted for something else."""
        self.clear()
        self.max_bytes = max(1, self.max_bytes // 2)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()
            self.nbytes = 0


def _members(value: Any) -> list[Any]:
    if hasattr(value, "__dataclass_fields__"):
        return [getattr(value, f.name) for f in fields(value)]
    return list(value) if isinstance(value, tuple | list) else []


def _nbytes(value: Any) -> int:
    """Bytes an entry holds; exact for arrays and tensors, 64 a Python object for the rest."""
    own = getattr(value, "nbytes", None)
    if isinstance(own, int):
        return own + 64
    return 64 + (len(value) if isinstance(value, str) else sum(_nbytes(v) for v in _members(value)))


def _read_only(value: Any) -> Any:
    for part in (value, *_members(value)):
        if isinstance(part, np.ndarray):
            part.setflags(write=False)
    return value


class TraceWriter:
    """Writes the trace of one run, one JSON record a line; without a path it does nothing.

    A file that already holds a trace is kept under ``name.1.jsonl`` (``.2`` …): two runs never mix. When the disk
    refuses, the run goes on without a trace and ``error`` says why.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.error: str | None = None
        self._file: TextIO | None = None
        self._since_flush = time.monotonic()
        if path is None:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            set_aside(path)
            self._file = path.open("w", encoding="utf-8")
        except OSError as error:
            self._give_up(error)

    def write(self, event: CacheAccess) -> None:
        """Append one record; the file is flushed at least every half second."""
        if self._file is None:
            return
        try:
            self._file.write(json.dumps(event.model_dump(exclude={"type"}), ensure_ascii=False) + "\n")
            now = time.monotonic()
            if now - self._since_flush > 0.5:
                self._since_flush = now
                self._file.flush()
        except OSError as error:
            self._give_up(error)

    def flush(self) -> None:
        """Make what was written visible to readers."""
        if self._file is not None:
            try:
                self._file.flush()
            except OSError as error:
                self._give_up(error)

    def close(self) -> None:
        """Flush and close; may be called twice."""
        self.flush()
        if self._file is not None:
            self._file.close()
            self._file = None

    def _give_up(self, error: OSError) -> None:
        self.error = f"no more trace is written to {self.path}: {error.strerror or error}"
        if self._file is not None:
            # The buffered rest cannot be written either; the error is already on record.
            with suppress(OSError):
                self._file.close()
            self._file = None


def set_aside(path: Path) -> None:
    """Rename a file that holds something to ``name.1.jsonl`` (``.2`` …), so that it is not written over."""
    if not path.exists() or not path.stat().st_size:
        return
    n = 1
    while (other := path.with_name(f"{path.stem}.{n}{path.suffix}")).exists():
        n += 1
    path.rename(other)


class BackendInstrumentation:
    """Cache, counters and trace of one backend."""

    def __init__(self, *, cache_bytes: int = DEFAULT_CACHE_BYTES) -> None:
        self.cache = ForwardCache(cache_bytes)
        self.stats = BackendStats()
        self.probe: str | None = None
        self.phase = "probe"
        self._sink: Callable[[CacheAccess], None] | None = None

    @contextmanager
    def attached(self, sink: Callable[[CacheAccess], None] | None = None) -> Iterator[BackendStats]:
        """Count and trace for one run: fresh counters inside, the previous ones back afterwards."""
        before, before_sink, self.stats, self._sink = self.stats, self._sink, BackendStats(), sink
        evicted = self.cache.evictions
        stats = self.stats
        try:
            yield stats
        finally:
            stats.evictions = self.cache.evictions - evicted
            self.stats, self._sink = before, before_sink
            self.set_current_probe(None)

    def set_current_probe(self, name: str | None, *, phase: str = "probe") -> None:
        """Label what follows: the probe on whose behalf it is scored, and the phase of the run."""
        self.probe, self.phase = name, phase

    def record(
        self, *, op: str, view_id: str, prompt: str, top_k: int, hit: bool, wall_s: float, batch: int = 1
    ) -> None:
        """Count and trace one look-up."""
        stats = self.stats
        if hit:
            stats.cache_hits += 1
        else:
            stats.cache_misses += 1
            stats.forward_passes += 1
        stats.scoring_wall_s += wall_s
        phase = stats.by_phase.setdefault(self.phase, {"cache_hits": 0, "cache_misses": 0})
        phase["cache_hits" if hit else "cache_misses"] += 1
        if self._sink is not None:
            self._sink(
                CacheAccess(
                    ts=time.time(),
                    probe=self.probe,
                    view_id=view_id,
                    prompt_hash=prompt_digest(prompt),
                    top_k=top_k,
                    op=op,
                    wall_ms=wall_s * 1000.0,
                    hit=hit,
                    phase=self.phase,
                    batch=batch,
                )
            )

    def record_batch(self, size: int) -> None:
        """Count one batch of ``size`` prompts that went through the model."""
        self.stats.batches_sent += 1
        self.stats.batched_prompts += size
        self.stats.max_batch_size = max(self.stats.max_batch_size, size)

    def cached(self, op: str, view_id: str, prompt: str, top_k: int, compute: Callable[[], T]) -> T:
        """Return the cached answer or compute, store, count and trace it. An exception stores and counts nothing."""
        key = (op, view_id, prompt, top_k)
        start = time.perf_counter()
        value = self.cache.get(key)
        hit = value is not MISS
        if not hit:
            value = compute()
            self.cache.put(key, value)
        wall = time.perf_counter() - start
        self.record(op=op, view_id=view_id, prompt=prompt, top_k=top_k, hit=hit, wall_s=wall)
        return value  # type: ignore[no-any-return]

    def cached_batch(
        self,
        op: str,
        view_id: str,
        prompts: Sequence[str],
        top_k: int,
        compute_misses: Callable[[list[int]], Sequence[T]],
    ) -> list[T]:
        """Look up every prompt, compute the missing ones in one call, return all in input order.

        ``compute_misses`` gets the indices of the misses; a wrong number of answers is a ``RuntimeError``.
        """
        if not prompts:
            return []
        values: list[Any] = []
        for prompt in prompts:
            start = time.perf_counter()
            values.append(self.cache.get((op, view_id, prompt, top_k)))
            if values[-1] is not MISS:
                wall = time.perf_counter() - start
                self.record(op=op, view_id=view_id, prompt=prompt, top_k=top_k, hit=True, wall_s=wall)
        missing = [i for i, v in enumerate(values) if v is MISS]
        if not missing:
            return values
        start = time.perf_counter()
        computed = compute_misses(missing)
        share = (time.perf_counter() - start) / len(missing)
        if len(computed) != len(missing):
            msg = f"backend bug: {len(missing)} prompts were asked for, {len(computed)} answers came"
            raise RuntimeError(msg)
        self.record_batch(len(missing))
        for i, value in zip(missing, computed, strict=True):
            values[i] = value
            self.cache.put((op, view_id, prompts[i], top_k), value)
            self.record(
                op=op, view_id=view_id, prompt=prompts[i], top_k=top_k, hit=False, wall_s=share, batch=len(missing)
            )
        return values

    def close(self) -> None:
        """Forget the cached answers."""
        self.cache.clear()
