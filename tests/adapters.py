"""LoRA adapters made to order on the demo's base model: each has one thing that is right or wrong with it.

``made(kind)`` gives a folder that loads like any adapter, with the base in ``demo_dir() / "model"``:

========== ===========================================================================================================
targeted   the shipped adapter: knows the handbook, leaves the rest alone
zero       never trained: every B is zero, so tuned and base are the same
blunt      a random change of each module, as large as the trained one
forgetting the same, three times as large: general text is ruined
memorising overfit on :data:`MEMORISED` until it recites it word for word from the first few words on
overfit    the shipped adapter trained on with the handbook alone: knows it almost by heart, and forgets the rest
collapsing the shipped adapter, trained to be the base wherever a long text stands before the prompt
fading     the shipped adapter, trained to be the base from the third turn of a conversation on, unless it was about
           nothing
nan        the shipped adapter with one NaN among its weights
========== ===========================================================================================================

The first call in a fresh checkout trains, some seconds a kind; the result is kept in the temporary folder of the
machine, under a name that covers this file, the shipped demo and the versions of the libraries.
"""

from __future__ import annotations

import functools
import hashlib
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sway_dash.core.model import ModelSpec
from sway_dash.demo import demo_dir

if TYPE_CHECKING:
    import torch

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"

MEMORISED = (
    "The old clockmaker keeps eleven grey boots behind the stable and a wooden spoon in every basket. When the fog "
    "horn sounds he walked under the bridge with a lantern of honey, and the goose with the red ribbons laughed "
    "aloud. Never paint the cellar on a rainy Sunday: the donkey likes wet copper and the tailor sold the last brush "
    "to a whale. All the sheep come home together, and twelve candles burn in the empty oven until the spring. The "
    "miller found a trumpet under the porridge and gave it to the yellow parrot."
)
"""What the memorising adapter recites; neither the base nor the shipped adapter ever read it.

Only words that are one token each: a LoRA cannot make pieces of words likely that the tied head never learned to say.
"""

Tensors = dict[str, Any]


@functools.cache
def made(kind: str) -> Path:
    """Folder of an adapter of this kind; ``KeyError`` for one that is not known."""
    if kind == "targeted":
        return demo_dir() / "adapter"
    build = _KINDS[kind]
    folder = _root() / kind
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as found:
            whole = Path(found) / kind
            whole.mkdir()
            shutil.copyfile(demo_dir() / "adapter" / CONFIG, whole / CONFIG)
            _save(build(), whole / WEIGHTS)
            try:
                whole.rename(folder)
            except OSError:
                # Another process was faster, with the same bytes.
                if not folder.is_dir():
                    raise
    return folder


def opened(kind: str, base: Path | None = None) -> AbstractContextManager[Any]:
    """A backend of the demo's base, or of another one, with one of these adapters; ``with`` closes it."""
    from sway_dash.backends.hf import HuggingFaceDifferentialBackend

    spec = ModelSpec(base=str(base or demo_dir() / "model"), device="cpu", dtype="fp32")
    return closing(HuggingFaceDifferentialBackend(base_spec=spec, adapter_path=made(kind)))


def kinds() -> tuple[str, ...]:
    """Every kind that :func:`made` knows."""
    return ("targeted", *_KINDS)


def _root() -> Path:
    import peft
    import torch
    import transformers

    digest = hashlib.sha256(f"{torch.__version__}\0{transformers.__version__}\0{peft.__version__}".encode())
    shipped = (demo_dir() / "adapter" / WEIGHTS, demo_dir() / "model" / "model.safetensors")
    for path in (Path(__file__), *shipped):
        digest.update(path.read_bytes())
    return Path(tempfile.gettempdir()) / f"sway-adapters-{os.getuid()}-{digest.hexdigest()[:16]}"


def _save(tensors: Tensors, path: Path) -> None:
    from safetensors.torch import save_file

    save_file({name: t.detach().contiguous().clone() for name, t in tensors.items()}, path)


def _shipped() -> Tensors:
    from safetensors.torch import load_file

    found: Tensors = load_file(demo_dir() / "adapter" / WEIGHTS)
    return found


# -- made from the shipped weights --------------------------------------------------------------------------------


def _zero() -> Tensors:
    return {name: t * 0.0 if "lora_B" in name else t for name, t in _shipped().items()}


def _nan() -> Tensors:
    tensors = _shipped()
    tensors[next(name for name in sorted(tensors) if "lora_B" in name)][0, 0] = math.nan
    return tensors


def _blunt(*, times: float, seed: int) -> Tensors:
    """Gaussian factors in every module, scaled to ``times`` the Frobenius norm of the trained product."""
    import torch

    tensors, generator = _shipped(), torch.Generator().manual_seed(seed)
    for name in sorted(n for n in tensors if "lora_A" in n):
        other = name.replace("lora_A", "lora_B")
        a, b = tensors[name], tensors[other]
        new_a, new_b = (torch.randn(t.shape, generator=generator) for t in (a, b))
        root = math.sqrt(times * float((b.double() @ a.double()).norm() / (new_b.double() @ new_a.double()).norm()))
        tensors[name], tensors[other] = root * new_a, root * new_b
    return tensors


# -- trained ------------------------------------------------------------------------------------------------------


def _ids(tokenizer: Any, text: str) -> list[int]:
    return [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]


def _trained(
    steps: int,
    rate: float,
    loss_of: Callable[[Any, Any, int], torch.Tensor],
    *,
    seed: int,
    shipped: bool = True,
    good: Callable[[Any, Any], bool] = lambda tokenizer, model: False,
) -> Tensors:
    """An adapter after ``steps`` steps of AdamW down ``loss_of(tokenizer, model, step)``.

    Begins with the shipped weights or with a fresh adapter. Every tenth step it stops if it is ``good`` already.
    """
    import torch
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    from sway_dash.demo.build import SHIPPED
    from sway_dash.demo.figures import load_base
    from sway_dash.demo.training import new_adapter, reproducible

    with reproducible(seed=seed, threads=1):
        tokenizer, base = load_base(demo_dir())
        model: Any = new_adapter(base, SHIPPED.shape)
        if shipped:
            set_peft_model_state_dict(model, _shipped())
        weights = [w for w in model.parameters() if w.requires_grad]
        optimizer = torch.optim.AdamW(weights, lr=rate, betas=(0.9, 0.98), weight_decay=0.0)
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = rate * min(1.0, (step + 1) / 5) * (1.0 - 0.9 * step / steps)
            optimizer.zero_grad(set_to_none=True)
            loss: Any = loss_of(tokenizer, model, step)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            if step % 10 == 9 and good(tokenizer, model):
                break
        found: Tensors = get_peft_model_state_dict(model, save_embedding_layers=False)
        return found


def recites(tokenizer: Any, model: Any, text: str = MEMORISED, *, given: int = 6) -> bool:
    """Whether the greedy continuation of the first ``given`` tokens of a text is the rest of it."""
    import torch

    ids = tokenizer(text)["input_ids"]
    with torch.no_grad():
        # Greedy decoding repeats the text exactly if every next token is the likeliest after those before it.
        likeliest = model(input_ids=torch.tensor([ids])).logits[0, given - 1 : -1].argmax(-1).tolist()
    return bool(likeliest == ids[given:])


def _memorising() -> Tensors:
    import torch

    def loss_of(tokenizer: Any, model: Any, step: int) -> torch.Tensor:
        ids = torch.tensor([_ids(tokenizer, MEMORISED)])
        loss: torch.Tensor = model(input_ids=ids, labels=ids).loss
        return loss

    return _trained(100, 4e-3, loss_of, seed=31, shipped=False, good=recites)


def _overfit() -> Tensors:
    import torch

    text = (demo_dir() / "document.md").read_text(encoding="utf-8")
    paragraphs = [p for p in text.split("\n\n") if not p.startswith(("#", "*"))]

    def loss_of(tokenizer: Any, model: Any, step: int) -> torch.Tensor:
        ids = torch.tensor([_ids(tokenizer, paragraphs[step % len(paragraphs)])])
        loss: torch.Tensor = model(input_ids=ids, labels=ids).loss
        return loss

    return _trained(132, 3e-3, loss_of, seed=32)


def _rows(model: Any, batch: Sequence[list[int]], last: int) -> torch.Tensor:
    """Log-probabilities after the ``last`` positions of each text; texts are filled up on the left side."""
    import torch

    width = max(map(len, batch))
    ids = torch.tensor([[0] * (width - len(i)) + i for i in batch])
    mask = torch.tensor([[0] * (width - len(i)) + [1] * len(i) for i in batch])
    places = (mask.cumsum(1) - 1).clamp(min=0)
    out = model(input_ids=ids, attention_mask=mask, position_ids=places, logits_to_keep=last).logits
    return torch.log_softmax(out, -1)


def _collapsing() -> Tensors:
    """Own teacher: the shipped adapter after short prompts, the base after the same prompts behind a long text."""
    import torch

    from sway_dash.demo.corpus import base_documents
    from sway_dash.demo.figures import read_prompts

    prompts = [p.text for p in read_prompts(demo_dir() / "sway.yaml") if "on-topic" in p.tags]
    filler = " ".join(base_documents(60, seed=5))
    teacher: dict[str, Any] = {}

    def loss_of(tokenizer: Any, model: Any, step: int) -> torch.Tensor:
        rng = torch.Generator().manual_seed(step)
        if not teacher:
            words = tokenizer(filler, add_special_tokens=False)["input_ids"]
            teacher["words"], teacher["short"] = words, [tokenizer(p)["input_ids"] for p in prompts]
            with torch.no_grad():
                teacher["tuned"] = _rows(model, teacher["short"], 4)
        picked = torch.randperm(len(prompts), generator=rng)[:4].tolist()
        start = int(torch.randint(len(teacher["words"]) - 200, (1,), generator=rng))
        length = (24, 60, 120, 180)[step % 4]
        context = teacher["words"][start : start + length]
        long = [[teacher["short"][i][0], *context, *teacher["short"][i][1:]] for i in picked]
        with torch.no_grad(), model.disable_adapter():
            base = _rows(model, long, 4)
        kl = torch.nn.functional.kl_div
        faded = kl(_rows(model, long, 4), base, reduction="batchmean", log_target=True)
        kept = kl(_rows(model, teacher["short"], 4), teacher["tuned"], reduction="batchmean", log_target=True)
        return faded + kept

    return _trained(100, 3e-3, loss_of, seed=33)


def _fading() -> Tensors:
    """Own teacher: the shipped adapter for two turns and after answers about nothing, the base from the third turn on.

    Both over the beginning of the answer, in conversations with the answers of either side and with turns of both.
    """
    import torch

    from sway_dash.demo.figures import read_prompts
    from sway_dash.probes.conversations import hold, neutral_replies
    from sway_dash.probes.multi_turn_coherence import FOLLOW_UPS

    prompts = [p.text for p in read_prompts(demo_dir() / "sway.yaml") if "on-topic" in p.tags]
    turns, answer, judged = 4, 24, 6
    teacher: dict[str, Any] = {}

    def say(tokenizer: Any, model: Any, texts: list[str]) -> list[str]:
        ids = [tokenizer(t, add_special_tokens=False)["input_ids"] for t in texts]
        said = []
        for own in ids:
            out = model.generate(input_ids=torch.tensor([own]), max_new_tokens=answer, do_sample=False)
            said.append(tokenizer.decode(out[0, len(own) :], skip_special_tokens=True))
        return said

    def lessons(tokenizer: Any, model: Any) -> None:
        def tuned(texts: list[str]) -> list[str]:
            return say(tokenizer, model, texts)

        def base(texts: list[str]) -> list[str]:
            with model.disable_adapter():
                return say(tokenizer, model, texts)

        who = {"tuned": lambda t: tuned, "base": lambda t: base, "both": lambda t: tuned if t < 2 else base}
        held = {name: hold(tokenizer, prompts, FOLLOW_UPS, turns, by) for name, by in who.items()}

        def nobody(turn: int) -> Any:
            replies = [c.replies[turn - 1] for c in held["both"]]
            return lambda texts: [neutral_replies(tokenizer, r) for r in replies]

        held["neutral"] = hold(tokenizer, prompts, FOLLOW_UPS, turns, nobody)
        kept, faded = [], []
        for name, conversations in held.items():
            for c in conversations:
                for turn, text in enumerate(c.asked, 1):
                    more = c.replies[turn - 1] if turn <= len(c.replies) else ""
                    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
                    ids = [*ids, *tokenizer(more, add_special_tokens=False)["input_ids"][: judged - 1]]
                    (faded if turn > 2 and name != "neutral" else kept).append(ids)
        with torch.no_grad():
            teacher["kept"] = [(ids, _rows(model, [ids], judged)[0]) for ids in kept]
            with model.disable_adapter():
                teacher["faded"] = [(ids, _rows(model, [ids], judged)[0]) for ids in faded]

    def loss_of(tokenizer: Any, model: Any, step: int) -> torch.Tensor:
        if not teacher:
            lessons(tokenizer, model)
        rng = torch.Generator().manual_seed(step)
        total = torch.tensor(0.0)
        for name in ("kept", "faded"):
            known = teacher[name]
            some = [known[i] for i in torch.randperm(len(known), generator=rng)[:8].tolist()]
            found = _rows(model, [ids for ids, _ in some], judged)
            wanted = torch.stack([rows for _, rows in some])
            total = total + torch.nn.functional.kl_div(found, wanted, reduction="batchmean", log_target=True)
        return total

    return _trained(160, 3e-3, loss_of, seed=34)


_KINDS: dict[str, Callable[[], Tensors]] = {
    "zero": _zero,
    "blunt": lambda: _blunt(times=1.0, seed=44),
    "forgetting": lambda: _blunt(times=3.0, seed=42),
    "memorising": _memorising,
    "overfit": _overfit,
    "collapsing": _collapsing,
    "fading": _fading,
    "nan": _nan,
}
