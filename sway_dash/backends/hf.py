"""The backend for transformers models with a PEFT LoRA: one base in memory, every view a switch on it."""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sway_dash.backends.adapter_files import AdapterFiles, inspect_adapter
from sway_dash.backends.instrumentation import BackendInstrumentation
from sway_dash.backends.loading import (
    LoadedBase,
    load_base,
    require_packages,
    resolve_device,
    resolve_dtype,
    tokenizer_identity,
)
from sway_dash.backends.lora import LoraViews
from sway_dash.backends.torch_detail import TorchInspectable
from sway_dash.backends.torch_lm import TorchLM
from sway_dash.backends.torch_noise import TorchNoise
from sway_dash.backends.torch_view import TorchView
from sway_dash.core.errors import ProbeError
from sway_dash.core.model import ModelSpec
from sway_dash.core.scoring import BASE, FINETUNED, NULL_STYLES, NullStyle, View
from sway_dash.core.steps import step

if TYPE_CHECKING:
    import torch

_PREFLIGHT = ("hello", "The quick brown fox", "1 + 1 =", "Question: what is this about?\nAnswer:")


class HuggingFaceDifferentialBackend(TorchInspectable, TorchNoise):
    """A causal language model and its LoRA adapter.

    Without an adapter both views are the model itself, which is one side of a comparison of two full models.

    Raises
    ------
    BackendNotAvailableError
        When torch, transformers or peft is missing.
    ModelLoadError
        When the base or the adapter cannot be used as it is; adapters are checked before the base is loaded.
    """

    safe_for_concurrent_views = False
    null_styles = NULL_STYLES

    def __init__(self, *, base_spec: ModelSpec, adapter_path: Path | None = None) -> None:
        require_packages()
        self.spec = base_spec
        adapter_path = None if adapter_path is None else Path(adapter_path)
        self.files: AdapterFiles | None = None if adapter_path is None else inspect_adapter(adapter_path)
        self.device = resolve_device(base_spec.device)
        self.dtype = resolve_dtype(base_spec.dtype, self.device)
        self.instrumentation = BackendInstrumentation()
        base = self._load()
        self.tokenizer = base.tokenizer
        self.base_identity, self.base_revision = base.identity, base.revision
        if self.files is not None:
            step("adapter")
        self._lora = None if self.files is None else LoraViews(base.model, self.files, base=base_spec.base)
        self._lm: TorchLM | None = TorchLM(base.model, base.tokenizer)
        self._active: View | None = None
        self._checked: dict[View, torch.Tensor] = {}

    def _load(self) -> LoadedBase:
        folder = None if self.files is None else self.files.folder
        return load_base(self.spec, self.device, self.dtype, tokenizer_from=folder)

    @property
    def lm(self) -> TorchLM:
        """The model with its tokenizer; which weights answer depends on the active view."""
        if self._lm is None:
            msg = "the backend was closed"
            raise RuntimeError(msg)
        return self._lm

    @property
    def peft_model(self) -> Any:
        """The PEFT model, or the plain model when there is no adapter."""
        return self.lm.model if self._lora is None else self._lora.peft_model

    # --- views --------------------------------------------------------------------------------------------------------

    @contextmanager
    def activate(self, view: View) -> Iterator[TorchLM]:
        """Enter a view; ``RuntimeError`` while another is active."""
        if self._active is not None:
            msg = f"view already active: {self._active.id}; leave it before entering {view.id}"
            raise RuntimeError(msg)
        lm = self.lm
        self._require(view)
        self._active = view
        try:
            if self._lora is None:
                yield lm
            else:
                with self._lora.active(view):
                    yield lm
        finally:
            self._active = None

    def _require(self, view: View) -> None:
        if self._lora is not None:
            self._lora.require(view)
        elif view not in (BASE, FINETUNED):
            raise ProbeError(f"{view.kind} view", "this model was loaded without an adapter")

    @contextmanager
    def prepared(self, views: Sequence[View]) -> Iterator[None]:
        """Refuse impossible views at once, and keep null adapters while inside."""
        for view in views:
            self._require(view)
        if self._lora is None:
            yield
        else:
            with self._lora.kept():
                yield

    @contextmanager
    def _view(self, view: View) -> Iterator[TorchView]:
        with self.activate(view) as lm:
            scorer = TorchView(view.id, lm, self.instrumentation)
            try:
                yield scorer
            finally:
                scorer.close()

    @contextmanager
    def as_base(self) -> Iterator[TorchView]:
        """The model without its adapter."""
        with self._view(BASE) as view:
            yield view

    @contextmanager
    def as_finetuned(self) -> Iterator[TorchView]:
        """The model with its adapter."""
        with self._view(FINETUNED) as view:
            yield view

    @contextmanager
    def as_scaled_adapter(self, lam: float) -> Iterator[TorchView]:
        """The adapter times ``lam``; ``ProbeError`` for an adapter to which that cannot be done."""
        with self._view(View.scaled(lam)) as view:
            yield view

    @contextmanager
    def as_null_adapter(
        self, seed: int, *, init_scale: float = 0.02, rank_scale: float = 1.0, style: NullStyle = "gaussian"
    ) -> Iterator[TorchView]:
        """Noise of the adapter's shape in its place; see :mod:`sway_dash.backends.null_factors` for the draw."""
        with self._view(View.null(seed, init_scale=init_scale, rank_scale=rank_scale, style=style)) as view:
            yield view

    def null_leaves_out(self, style: NullStyle) -> tuple[str, ...]:
        """What was trained beside A and B and has no counterpart in such a null."""
        return () if self._lora is None else self._lora.null_leaves_out(style)

    def update_norm(self, view: View) -> float | None:
        """Frobenius norm of the change of all weights in ``view``; ``None`` where it is not defined."""
        if self._lora is None:
            return None
        if self._active is not None:
            msg = f"view already active: {self._active.id}; leave it before asking for a norm"
            raise RuntimeError(msg)
        return self._lora.update_norm(view)

    def adapter_layers(self) -> tuple[int, ...]:
        """Layers the adapter changes; ``ProbeError`` without an adapter and for one that has no switch by layer."""
        if self._lora is None:
            raise ProbeError("layer view", "this model was loaded without an adapter")
        return self._lora.adapter_layers()

    def layer_update_norms(self) -> dict[int, float | None]:
        """Frobenius norm of the change of each layer's weights."""
        return {} if self._lora is None else self._lora.layer_update_norms()

    # --- fit to be measured? ------------------------------------------------------------------------------------------

    def _preflight_rows(self, view: View) -> torch.Tensor:
        """Logits after a few short prompts, asked for once."""
        if view not in self._checked:
            with self.activate(view) as lm:
                ids = [lm.tokens.encode_prompt(p)[0] for p in _PREFLIGHT]
                self._checked[view] = lm.rows(ids, [[len(i) - 1] for i in ids])
            for prompt in _PREFLIGHT:
                self.instrumentation.record(
                    op="next_token_dist", view_id=view.id, prompt=prompt, top_k=0, hit=False, wall_s=0.0
                )
        return self._checked[view]

    def preflight_finite_check(self) -> tuple[bool, str]:
        """Ask both views for a few distributions and look for NaN and infinity, in the adapter's weights too."""
        for name, view in (("base view", BASE), ("ft view", FINETUNED)):
            try:
                rows = self._preflight_rows(view)
            except ProbeError as error:
                return False, f"{name}: {error}"
            # Minus infinity is how a model masks tokens; a row of nothing else is broken.
            bad = int((rows.isnan() | rows.isposinf()).sum()) + int(rows.isneginf().all(1).sum())
            if bad:
                return False, f"{name} gives {bad} non-finite logits of {rows.numel()}{self._broken_tensors()}"
        if self.files is not None and self.files.non_finite:
            return False, f"ft view: non-finite weights{self._broken_tensors()}"
        return True, ""

    def _broken_tensors(self) -> str:
        broken = self.files.non_finite if self.files is not None else ()
        if not broken:
            return ""
        named = ", ".join(f"{name} ({count})" for name, count in broken[:5])
        more = f" and {len(broken) - 5} more" if len(broken) > 5 else ""
        return f"; the adapter's file has NaN or infinity in {named}{more}"

    def identical_views(self) -> tuple[str, ...]:
        """Nothing if the adapter changes some logit of some preflight prompt; else the likely causes, ranked."""
        import torch

        if not torch.equal(self._preflight_rows(BASE), self._preflight_rows(FINETUNED)):
            return ()
        if self._lora is None or self.files is None:
            return ("the model was loaded without an adapter, so both views are the same weights",)
        causes = []
        if self.files.zero_b:
            causes.append("every lora_B matrix is zero: the adapter was never trained, or saved before training")
        if self._lora.no_scaling:
            causes.append("the adapter is multiplied by 0: lora_alpha in its adapter_config.json is 0")
        norm = self._lora.update_norm(FINETUNED)
        if not causes and norm is not None:
            causes.append(
                f"the adapter's change of the weights is tiny (its norm is {norm:.3g}) and is lost in the rounding of "
                f"{_short(self.dtype)}: try dtype fp32"
            )
        causes.append(f"the modules it changes ({', '.join(self.files.targets) or 'none'}) take no part in the output")
        return tuple(causes)

    # --- what was measured --------------------------------------------------------------------------------------------

    def describe(self) -> dict[str, Any]:
        """Facts about the loaded model, JSON-ready; equal ``fingerprint`` means equal weights in equal precision."""
        import peft
        import torch
        import transformers

        files, config = self.files, {} if self.files is None else self.files.config
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type
        return {
            "backend": "hf",
            "base": self.spec.base,
            "base_revision": self.base_revision or None,
            "base_identity": self.base_identity,
            "adapter": None if files is None else str(files.folder),
            "adapter_sha256": None if files is None else files.sha256,
            "adapter_r": config.get("r"),
            "adapter_alpha": config.get("lora_alpha"),
            "adapter_targets": [] if files is None else list(files.targets),
            "adapter_base": config.get("base_model_name_or_path"),
            "update_norm": None if self._lora is None or files is None or files.non_finite else self._norm(),
            "dtype": _short(self.dtype),
            "device": str(self.device),
            "device_name": name,
            **_gpu_bytes(self.device),
            "parameters": sum(p.numel() for n, p in self.lm.model.named_parameters() if ".lora_" not in n),
            "vocab_size": len(self.tokenizer),
            "max_context": self.lm.tokens.max_context,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "peft": peft.__version__,
            "fingerprint": self.fingerprint,
        }

    def _norm(self) -> float | None:
        return None if self._active is not None else self.update_norm(FINETUNED)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over base, tokenizer, adapter, dtype and kind of device; empty when the base is not known exactly."""
        if self.base_identity.endswith("@"):
            # A hub id without a revision: whatever was measured before may have been another model.
            return ""
        adapter = "" if self.files is None else self.files.sha256
        parts = (self.base_identity, tokenizer_identity(self.tokenizer), adapter, _short(self.dtype), self.device.type)
        text = "\0".join(parts)
        return hashlib.sha256(text.encode()).hexdigest()

    def cache_identity(self) -> str:
        """Key for what is kept between runs; changes whenever the numbers can."""
        return f"hf:{self.fingerprint}"

    def close(self) -> None:
        """Give the memory back; may be called twice. Views and generators that are still open hold on to it."""
        self._lm = self._lora = None
        self._checked.clear()
        self.instrumentation.close()
        if self._rows is not None:
            self._rows.clear()
        gc.collect()
        if self.device.type == "cuda":
            import torch

            torch.cuda.empty_cache()


def _gpu_bytes(device: torch.device) -> dict[str, int]:
    """What the model takes of a CUDA device, and how much there is."""
    import torch

    if device.type != "cuda":
        return {}
    total = torch.cuda.get_device_properties(device).total_memory
    return {"gpu_bytes_model": torch.cuda.memory_allocated(device), "gpu_bytes_total": int(total)}


def _short(dtype: torch.dtype) -> str:
    return {"torch.float16": "fp16", "torch.bfloat16": "bf16", "torch.float32": "fp32"}.get(str(dtype), str(dtype))
