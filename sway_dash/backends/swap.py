"""One base model in memory, under one adapter after the other: what depends on the base alone is computed once.

A backend made here is the one :mod:`sway_dash.backends.hf` makes, with two differences: its base is there already, and
what its base view has answered (distributions, log-probabilities, continuations, rows of logits) is kept for the next
adapter. So are random adapters of the same shape, which do not depend on what was trained. All that is kept belongs to
one base in one precision on one device and to one tokenizer and context; when any of these changes it is thrown away.

The adapter is attached to the base's own modules and taken off again by putting the tables of modules back as they
were. Whether the base's weights are still the same is not believed: every tensor counts the writes to it, and after an
unexpected one the base is loaded again.
"""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sway_dash.backends.hf import HuggingFaceDifferentialBackend
from sway_dash.backends.instrumentation import DEFAULT_CACHE_BYTES, ForwardCache
from sway_dash.backends.loading import LoadedBase, find_source, load_base, load_tokenizer, own_tokenizer
from sway_dash.backends.loading import tokenizer_identity as identity_of
from sway_dash.backends.torch_compare import ROW_CACHE
from sway_dash.core.errors import SwayError
from sway_dash.core.model import ModelSpec
from sway_dash.core.scoring import BASE, View, style_of

if TYPE_CHECKING:
    import torch

BLOCK_BYTES = {"cuda": 2 * 2**30}
"""Memory for the base's rows after every token of a text, by kind of device."""

_SCORED = ("next_token_dist", "logprob_of", "rolling_logprob", "generate")
_TOKENIZER_FILES = (
    "tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab*", "merges.txt", "chat_template*", "*.model",
    "config.json",
)  # fmt: skip


class SharedBase:
    """A base that stays in memory while adapters are exchanged. One backend is open at a time.

    ``cache_bytes``, ``row_bytes`` and ``block_bytes`` bound what is kept of answers, of last rows of logits and of rows
    along texts; what does not fit is computed again.
    """

    def __init__(
        self,
        *,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
        row_bytes: int | None = None,
        block_bytes: int | None = None,
    ) -> None:
        self._bytes = cache_bytes, row_bytes, block_bytes
        self._key: tuple[object, ...] = ()
        self._base: LoadedBase | None = None
        self._found: _Found | None = None
        self._tokenizer: tuple[str, Any] = ("", None)
        self._open: SwappedBackend | None = None
        self.kept: Kept | None = None
        """What the base view has answered so far; ``None`` before the first adapter."""
        self.failure: SwayError | None = None
        """Why the base could not be loaded, the last time it was tried; no other adapter can help that."""
        self.loads = 0
        """How often the base was read from disk."""

    def open(self, spec: ModelSpec, adapter: Path) -> SwappedBackend:
        """The backend of one adapter; :meth:`SwappedBackend.close` makes room for the next.

        Raises what :class:`HuggingFaceDifferentialBackend` raises; the base stays as it is then.
        """
        if self._open is not None:
            msg = f"the adapter {self._open.spec.adapter} is still open: close its backend first"
            raise RuntimeError(msg)
        try:
            self._open = SwappedBackend(self, base_spec=spec, adapter_path=adapter)
        except BaseException:
            self._put_back(())
            raise
        return self._open

    def close(self) -> None:
        """Give the base back, and all that was kept of it; it is loaded again when it is needed."""
        if self._open is not None:
            self._open.close()
        kind = self._base.model.device.type if self._base is not None else ""
        self._base = self._found = self.kept = None
        self._key, self._tokenizer = (), ("", None)
        gc.collect()
        if kind == "cuda":
            import torch

            torch.cuda.empty_cache()

    def base_for(self, spec: ModelSpec, device: torch.device, dtype: torch.dtype, folder: Path) -> LoadedBase:
        """The base a spec asks for, with the tokenizer that goes with an adapter's folder."""
        key = (spec.base, spec.trust_remote_code, str(device), str(dtype))
        if key != self._key:
            self.close()
        signature = tokenizer_signature(folder, spec)
        if self._base is None:
            self.failure = None
            try:
                self._base = load_base(spec, device, dtype, tokenizer_from=folder)
            except SwayError as error:
                self.failure = error
                raise
            self.loads += 1
            self._key, self._found = key, _Found(self._base.model)
            self._tokenizer = signature, self._base.tokenizer
        elif not signature or signature != self._tokenizer[0]:
            self._tokenizer = signature, load_tokenizer(spec, find_source(spec.base), folder)
        return replace(self._base, tokenizer=self._tokenizer[1])

    def keep_for(self, backend: SwappedBackend, settings: tuple[object, ...], noise: tuple[object, ...]) -> Kept:
        """What is kept and holds for this backend, too."""
        if self.kept is None or self.kept.settings != settings:
            cache, rows, blocks = self._bytes
            kind = backend.device.type
            self.kept = Kept(
                settings,
                ForwardCache(cache),
                ForwardCache(rows or ROW_CACHE.get(kind, 2**29)),
                ForwardCache(blocks or BLOCK_BYTES.get(kind, 2**29)),
            )
        if self.kept.noise != noise:
            self.kept.forget(nulls=True)
            self.kept.noise = noise
        return self.kept

    def take_back(self, backend: SwappedBackend, written: Iterable[Any]) -> None:
        """The backend is done: its adapter leaves the base, and what it answered is forgotten."""
        if self._open is backend:
            self._open = None
        if self.kept is not None:
            self.kept.forget()
        self._put_back(written)

    def _put_back(self, written: Iterable[Any]) -> None:
        if self._found is not None and not self._found.put_back(written):
            self.close()


class Kept:
    """Answers of the base view, and of random adapters of one shape."""

    def __init__(
        self, settings: tuple[object, ...], cache: ForwardCache, rows: ForwardCache, blocks: ForwardCache
    ) -> None:
        self.settings, self.cache, self.rows, self.blocks = settings, cache, rows, blocks
        self.noise: tuple[object, ...] = ()
        self.checked: dict[View, torch.Tensor] = {}
        self.rounding: dict[tuple[tuple[int, ...], ...], tuple[float, float] | None] = {}

    @property
    def nbytes(self) -> int:
        """Bytes of all that is kept."""
        return self.cache.nbytes + self.rows.nbytes + self.blocks.nbytes

    def forget(self, *, nulls: bool = False) -> None:
        """Keep what the base alone answered, and unless ``nulls`` what Gaussian nulls did."""
        for cache in (self.cache, self.rows, self.blocks):
            cache.retain(lambda key: lasts(key, nulls=not nulls))
        for view in [v for v in self.checked if v != BASE]:
            del self.checked[view]


class SwappedBackend(HuggingFaceDifferentialBackend):
    """One adapter over a base that others share; made by :meth:`SharedBase.open`."""

    def __init__(self, shared: SharedBase, *, base_spec: ModelSpec, adapter_path: Path) -> None:
        self._shared = shared
        super().__init__(base_spec=base_spec, adapter_path=adapter_path)
        assert self._lora is not None
        settings = (self.base_identity, str(self.dtype), str(self.device), *_reading(self))
        self._kept = shared.keep_for(self, settings, self._lora.noise_shape)
        self.instrumentation.cache = self._kept.cache
        self._rows, self._blocks, self._checked = self._kept.rows, self._kept.blocks, self._kept.checked

    def _load(self) -> LoadedBase:
        assert self.files is not None
        return self._shared.base_for(self.spec, self.device, self.dtype, self.files.folder)

    def _rounding(self, view: View, texts: Sequence[list[int]]) -> tuple[float, float] | None:
        if view != BASE:
            return super()._rounding(view, texts)
        key = tuple(map(tuple, texts))
        if key not in self._kept.rounding:
            self._kept.rounding[key] = super()._rounding(view, texts)
        return self._kept.rounding[key]

    def close(self) -> None:
        """Take the adapter off; the base stays in memory. May be called twice."""
        if self._lm is None or self._lora is None:
            return
        written = self._lora.detach()
        self._lm = self._lora = None
        self._rows = self._blocks = None
        self._checked = {}
        self.instrumentation.cache = ForwardCache(1)
        self._shared.take_back(self, written)
        gc.collect()
        if self.device.type == "cuda":
            import torch

            torch.cuda.empty_cache()


class _Found:
    """A model as it was before anything was attached to it."""

    def __init__(self, model: Any) -> None:
        self._modules = [
            (m, type(m), {k: (v, dict(v) if isinstance(v, dict) else None) for k, v in vars(m).items()})
            for m in model.modules()
        ]
        self._tensors = [*model.parameters(), *model.buffers()]
        self._wanted = [(p, p.requires_grad) for p in model.parameters()]
        self._writes = self._counted()

    def put_back(self, written: Iterable[Any]) -> bool:
        """Put every module back in its place; False if a tensor not among ``written`` was written to meanwhile."""
        for module, kind, attributes in self._modules:
            own = vars(module)
            for name in [n for n in own if n not in attributes]:
                del own[name]
            for name, (value, entries) in attributes.items():
                own[name] = value
                if entries is not None:
                    # In place: handles of hooks hold on to the table itself.
                    value.clear()
                    value.update(entries)
            if type(module) is not kind:
                module.__class__ = kind
        for p, wanted in self._wanted:
            p.requires_grad_(wanted)
        before, now = self._writes, self._counted()
        known = {id(t) for t in written}
        intact = all(a == b or id(t) in known for t, a, b in zip(self._tensors, before, now, strict=True))
        self._writes = now
        return intact

    def _counted(self) -> list[tuple[int, int]]:
        return [(t._version, t.data_ptr()) for t in self._tensors]


def _reading(backend: HuggingFaceDifferentialBackend) -> tuple[object, ...]:
    """What turns texts into ids here."""
    return identity_of(backend.tokenizer), backend.lm.tokens.max_context


def lasts(key: Hashable, *, nulls: bool) -> bool:
    """Whether an answer does not depend on what was trained, by its key in one of the caches.

    A key of a form that is not known here does: better computed twice than taken from another adapter.
    """
    if not isinstance(key, tuple) or not key:
        return False
    if isinstance(key[0], View):
        return key[0] == BASE
    if key[0] == "compare":
        return key[1] == BASE.id and _free(str(key[2]), nulls=nulls)
    return key[0] in ("say", *_SCORED) and _free(str(key[1]), nulls=nulls)


def _free(view_id: str, *, nulls: bool) -> bool:
    if view_id == BASE.id:
        return True
    return nulls and view_id.startswith("null_") and style_of(view_id) == "gaussian"


def tokenizer_signature(folder: Path, spec: ModelSpec) -> str:
    """Equal texts mean equal tokenizers; empty when that cannot be told from the files."""
    if not own_tokenizer(folder):
        return "base"
    if spec.trust_remote_code:
        return ""
    digest = hashlib.sha256()
    for path in sorted({p for pattern in _TOKENIZER_FILES for p in folder.glob(pattern) if p.is_file()}):
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
