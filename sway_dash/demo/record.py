"""The recorded run that ships with the demo: a real run, with the paths of the machine it ran on taken out."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

from sway_dash.core.result import SuiteResult

RUN_ID = "demo"
DETAILS = 100
"""Prompts kept token by token: more than there are, so all of them."""


def record(demo: Path) -> SuiteResult:
    """Run ``demo/sway.yaml`` for real and leave the run folder in ``demo/run``.

    Everything is kept as measured; only the demo's own absolute path becomes relative (``base_dir`` in ``run.json`` is
    relative to the run folder), and what names the machine or the process is dropped.
    """
    from sway_dash.suite.execute import execute
    from sway_dash.suite.store import COLUMNS, META, RunFolder

    demo = demo.resolve()
    target = demo / "run"
    spec = demo / "sway.yaml"
    with tempfile.TemporaryDirectory() as scratch:
        text = spec.read_text(encoding="utf-8")
        folder = RunFolder.create(text, root=Path(scratch), name="Recorded example", base_dir=demo)
        run_id = folder.id
        result, _ = execute(folder, details=DETAILS)
        for file in folder.path.iterdir():
            if file.suffix in (".json", ".jsonl"):
                recorded = file.read_text(encoding="utf-8").replace(f"{demo}/", "").replace(run_id, RUN_ID)
                file.write_text(recorded, encoding="utf-8")
        meta = {"id": RUN_ID, "name": "Recorded example", "base_dir": "..", "spec_path": "sway.yaml"}
        meta["created_at"] = folder.meta()["created_at"]
        (folder.path / META).write_text(json.dumps(meta, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        shutil.rmtree(target, ignore_errors=True)
        # The columns are made of the events as they were before their paths were taken out.
        shutil.copytree(folder.path, target, ignore=shutil.ignore_patterns(".*", COLUMNS))
    return result
