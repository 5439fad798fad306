"""What the copy buttons give: the program that measures a prompt again, and everything known of it as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sway_dash.core.detail import PromptDetail
from sway_dash.core.events import Measurement

_EXACT = """\
for _, _, found in backend.compare(
    BASE, [FINETUNED], [prompt], positions={positions!r}, continuation_tokens={tokens}, seed={seed}
):
    if isinstance(found, Exception):
        raise found
"""

_COARSE = """\
with backend.as_base() as view:
    base = view.next_token_dist(prompt, top_k={top_k})
with backend.as_finetuned() as view:
    tuned = view.next_token_dist(prompt, top_k={top_k})
found = compare_dists(base, tuned)
"""


def as_python(folder: Path, m: Measurement, entry: Mapping[str, Any], *, seed: int) -> str:
    """A program that loads the run's model and compares base and tuned on this prompt."""
    if m.exact:
        imports = "from sway_dash.core.scoring import BASE, FINETUNED\n"
        positions, tokens = entry.get("positions", "next"), entry.get("continuation_tokens", 32)
        measure = _EXACT.format(positions=positions, tokens=tokens, seed=seed)
    else:
        imports = "from sway_dash.core.divergence import compare_dists\n"
        measure = _COARSE.format(top_k=int(entry.get("top_k") or 256))
    # ASCII, so that no invisible character of the prompt is lost on the way or turns the text around.
    return (
        f"{imports}"
        "from sway_dash.suite.execute import folder_spec, open_backend\n"
        "from sway_dash.suite.store import RunFolder\n"
        "\n"
        f"prompt = {m.prompt!a}\n"
        f"backend = open_backend(folder_spec(RunFolder.open({str(folder)!a})))\n"
        f"{measure}"
        'print(f"JS {found.js:.6g} nats, KL(tuned || base) {found.kl:.6g} nats")\n'
        f"# recorded: JS {m.js:.6g} nats, KL(tuned || base) {m.kl:.6g} nats\n"
    )


def as_json(run: str, m: Measurement, detail: PromptDetail | None) -> str:
    """The measurement and, if it is known, every token."""
    data: dict[str, Any] = {"run": run, "measurement": m.model_dump()}
    if detail is not None:
        data["tokens"] = detail.to_dict()
    return json.dumps(data, ensure_ascii=True, indent=1)
