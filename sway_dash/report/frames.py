"""A run as tables, one row a prompt and probe and one row a null draw: pandas frames, CSV, JSONL, Parquet.

Numbers are doubles and survive every format bit for bit; ``pandas.read_csv`` before pandas 3 rounds the last digit
unless told ``float_precision="round_trip"``, :func:`read_csv` never does. NaN is a number that is not known: an empty
cell, ``null``. Text is text everywhere; what a spreadsheet would run as a formula is made inert by :func:`inert`.
"""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from sway_dash.core.errors import SwayError

if TYPE_CHECKING:
    import pandas as pd

    from sway_dash.core.events import Measurement
    from sway_dash.figures.derive import ProbeSeries
    from sway_dash.figures.derive_null import Metric, NullSet
    from sway_dash.figures.opened import OpenedRun, Run

Kind = Literal["text", "texts", "number", "whole", "flag"]
Format = Literal["csv", "jsonl", "parquet"]
FORMATS: Final[tuple[Format, ...]] = ("csv", "jsonl", "parquet")

MEASURED: Final[Mapping[str, Kind]] = {
    "run": "text",
    "probe": "text",
    "item": "whole",
    "prompt": "text",
    "tags": "texts",
    "divergence": "text",
    "js": "number",
    "kl": "number",
    "kl_reverse": "number",
    "same_top": "number",
    "exact": "flag",
    "error_bound": "number",
    "n_positions": "whole",
    "ci_lo": "number",
    "ci_hi": "number",
    "null_lo": "number",
    "null_hi": "number",
    "null_rank": "whole",
    "null_n": "whole",
    "base_top": "text",
    "base_top_p": "number",
    "tuned_top": "text",
    "tuned_top_p": "number",
    "continuation": "text",
}
"""Columns of :func:`measurements`.

``item`` is the prompt's index in its suite entry, ``divergence`` the one the suite judges the probe by. Divergences in
nats: ``kl`` is KL(tuned ‖ base), ``kl_reverse`` the other way round; ``ci_*`` the 95 % interval of the prompt's JS over
its positions. ``null_lo`` and ``null_hi`` are the smallest and largest of the ``null_n`` draws on the same prompt,
``null_rank`` how many of them lie below the prompt, all three in ``divergence``. ``*_top`` is the likeliest next token.
"""

DRAWN: Final[Mapping[str, Kind]] = {
    "run": "text",
    "probe": "text",
    "null": "text",
    "rank": "text",
    "view": "text",
    "counts": "flag",
    "item": "whole",
    "prompt": "text",
    "js": "number",
    "kl": "number",
    "kl_reverse": "number",
    "same_top": "number",
}
"""Columns of :func:`draws`.

``null`` is the ``null_adapter`` entry, ``view`` the random adapter, ``rank`` its rank as a multiple of the trained one.
``counts`` marks the draws that the run is judged against. Of a run of which only the result is here there are means
over the prompts alone: ``item`` and ``prompt`` are empty then.
"""

PAIRED: Final[Mapping[str, Kind]] = {
    "run": "text",
    "run_name": "text",
    "baseline": "text",
    "baseline_name": "text",
    "probe": "text",
    "divergence": "text",
    "prompt": "text",
    "occurrence": "whole",
    "tags": "texts",
    "value": "number",
    "baseline_value": "number",
    "delta": "number",
    "noise": "number",
    "change": "text",
    "not_paired": "text",
}
"""Columns of :func:`sway_dash.report.compared.differences`.

``delta`` is the run's value minus the baseline's, in nats; ``noise`` how far apart noise alone would bring them, and
``change`` what follows: ``more``, ``same`` or ``less`` changed than in the baseline. A prompt that one of the two has
no value of has none of the three; ``not_paired`` says why. ``occurrence`` counts prompts of one text in a suite.
"""

COLUMNS: Final = {**DRAWN, **MEASURED, **PAIRED}


# -- frames -------------------------------------------------------------------------------------


def measurements(run: Run | OpenedRun) -> pd.DataFrame:
    """One row a prompt and probe, in suite order: see :data:`MEASURED`. ``SwayError`` for what is no run."""
    opened = _opened(run)
    entries = opened.data.entries()
    rows: list[dict[str, Any]] = []
    for series in opened.data.series.values():
        metric: Metric = "kl" if entries.get(series.name, {}).get("divergence") == "kl" else "js"
        rows += [_measured(opened.id, series, m, metric) for m in sorted(series.rows, key=lambda m: m.item)]
    return made(rows, MEASURED)


def draws(run: Run | OpenedRun) -> pd.DataFrame:
    """One row a random adapter and prompt: see :data:`DRAWN`. ``SwayError`` for what is no run."""
    opened = _opened(run)
    rows: list[dict[str, Any]] = []
    for series in opened.data.series.values():
        for null in series.null_sets.values():
            rows += _drawn(opened.id, series, null)
    if not rows:
        rows = _means(opened)
    return made(rows, DRAWN)


def _opened(run: Run | OpenedRun) -> OpenedRun:
    from sway_dash.figures.opened import OpenedRun, open_run

    return run if isinstance(run, OpenedRun) else open_run(run)


def _measured(run: str, series: ProbeSeries, m: Measurement, metric: Metric) -> dict[str, Any]:
    from sway_dash.figures.derive_null import value_of

    own = [value_of(d, metric) for d in series.nulls.get(m.item, {}).values()]
    value = value_of(m, metric)
    base, tuned = (top[0] if top else ("", 0, math.nan) for top in (m.base_top, m.tuned_top))
    return {
        "run": run,
        "probe": series.name,
        "item": m.item,
        "prompt": m.prompt,
        "tags": list(m.tags),
        "divergence": metric,
        "js": m.js,
        "kl": m.kl,
        "kl_reverse": m.kl_reverse,
        "same_top": m.same_top,
        "exact": m.exact,
        "error_bound": m.error_bound,
        "n_positions": m.n_positions,
        "ci_lo": m.ci[0] if m.ci else math.nan,
        "ci_hi": m.ci[1] if m.ci else math.nan,
        "null_lo": min(own, default=math.nan),
        "null_hi": max(own, default=math.nan),
        "null_rank": sum(d < value for d in own) if own else None,
        "null_n": len(own),
        "base_top": base[0],
        "base_top_p": base[2],
        "tuned_top": tuned[0],
        "tuned_top_p": tuned[2],
        "continuation": m.continuation,
    }


def _drawn(run: str, series: ProbeSeries, null: NullSet) -> list[dict[str, Any]]:
    return [
        {
            "run": run,
            "probe": series.name,
            "null": null.entry,
            "rank": rank,
            "view": view,
            "counts": null is series.null and rank == null.primary,
            "item": item,
            "prompt": m.prompt,
            "js": m.js,
            "kl": m.kl,
            "kl_reverse": m.kl_reverse,
            "same_top": m.same_top,
        }
        for rank, views in null.by_rank.items()
        for view, found in views.items()
        for item, m in sorted(found.items())
    ]


def _means(opened: OpenedRun) -> list[dict[str, Any]]:
    """What a result file keeps of its draws: their means over the prompts, in the divergence of the entry."""
    from sway_dash.probes.null_adapter import primary_rank

    entries = opened.data.entries()
    rows = []
    for made in opened.data.finished.values():
        kept = made.evidence.get("null_draws")
        for probe, by_rank in (kept if isinstance(kept, Mapping) else {}).items():
            metric = "kl" if entries.get(str(probe), {}).get("divergence") == "kl" else "js"
            known = {str(k): v for k, v in by_rank.items() if isinstance(v, list)} if isinstance(by_rank, dict) else {}
            rows += [
                {
                    **dict.fromkeys(("js", "kl", "kl_reverse", "same_top"), math.nan),
                    "run": opened.id,
                    "probe": str(probe),
                    "null": made.name,
                    "rank": rank,
                    "view": f"draw {n}",
                    "counts": rank == primary_rank(known),
                    "item": None,
                    "prompt": "",
                    metric: float(value),
                }
                for rank, values in known.items()
                for n, value in enumerate(values, 1)
                if isinstance(value, int | float)
            ]
    return rows


def made(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, Kind]) -> pd.DataFrame:
    """A frame of rows with columns of these kinds."""
    import pandas as pd

    return pd.DataFrame({name: _series([row[name] for row in rows], kind) for name, kind in columns.items()})


_LONE = re.compile(r"[\ud800-\udfff]")


def _text(value: object) -> str:
    """Text that every file can hold: half a surrogate pair is no character."""
    return _LONE.sub("\ufffd", str(value))


def _series(values: list[Any], kind: Kind) -> pd.Series[Any]:
    import pandas as pd

    if kind == "number":
        return pd.Series(values, dtype="float64")
    if kind == "whole":
        return pd.Series(values, dtype="Int64")
    if kind == "flag":
        return pd.Series(values, dtype="bool")
    if kind == "texts":
        return pd.Series([[_text(v) for v in value] for value in values], dtype=object)
    return pd.Series([_text(v) for v in values], dtype=object)


# -- CSV ----------------------------------------------------------------------------------------

_FORMULA = re.compile(r"(?:\A|(?<=[;\t\r\n]))(?=\s*['=+\-@＝＋－＠])")
_GUARDED = re.compile(r"(?:\A|(?<=[;\t\r\n]))'(?=\s*['=+\-@＝＋－＠])")


def inert(text: str) -> str:
    """Text that no spreadsheet takes for a formula: an apostrophe before every sign a formula could begin with.

    The signs are ``= + - @``, their full-width forms and the apostrophe itself; they count at the beginning and, since
    a spreadsheet may split cells there, after a semicolon, a tab or a line break, white space between or not.
    :func:`exact` takes the apostrophes away again.
    """
    return _FORMULA.sub("'", text)


def exact(text: str) -> str:
    """Inverse of :func:`inert`."""
    return _GUARDED.sub("", text)


def to_csv(frame: pd.DataFrame) -> str:
    """RFC 4180: comma, CR LF, text in quotes and :func:`inert`, tags as a JSON list, numbers bare, unknown empty."""
    kinds = [COLUMNS[name] for name in frame.columns]
    rows = frame.itertuples(index=False, name=None)
    lines = (",".join(_cell(value, kind) for value, kind in zip(row, kinds, strict=True)) for row in rows)
    return "\r\n".join([",".join(frame.columns), *lines, ""])


def read_csv(source: Path | str) -> pd.DataFrame:
    """What :func:`to_csv` wrote to a file, equal to the frame it was written from."""
    import pandas as pd

    frame = pd.read_csv(source, dtype=object, keep_default_na=False, encoding="utf-8")
    read: dict[str, Any] = {}
    for name, column in frame.items():
        kind = COLUMNS[str(name)]
        read[str(name)] = _series([_parsed(cell, kind) for cell in column], kind)
    return pd.DataFrame(read)


def _cell(value: Any, kind: Kind) -> str:
    plain = _plain(value, kind)
    if plain is None:
        return ""
    if kind in ("text", "texts"):
        text = json.dumps(plain) if kind == "texts" else str(plain)
        return '"{}"'.format(inert(text).replace('"', '""'))
    return repr(plain)


def _parsed(cell: str, kind: Kind) -> Any:
    if kind in ("text", "texts"):
        return json.loads(exact(cell)) if kind == "texts" else exact(cell)
    if kind == "number":
        return float(cell or "nan")
    return (int(cell) if cell else None) if kind == "whole" else cell == "True"


# -- JSONL and Parquet --------------------------------------------------------------------------


def to_jsonl(frame: pd.DataFrame) -> str:
    """One JSON object a line, ASCII only; ``null`` for what is not known."""
    kinds = [COLUMNS[name] for name in frame.columns]
    rows = (
        {name: _plain(value, kind) for name, value, kind in zip(frame.columns, row, kinds, strict=True)}
        for row in frame.itertuples(index=False, name=None)
    )
    return "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows)


def has_parquet() -> bool:
    """Whether Parquet files can be written here."""
    return find_spec("pyarrow") is not None


def to_parquet(frame: pd.DataFrame) -> bytes:
    """Parquet with typed columns; ``SwayError`` where pyarrow is not installed."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise SwayError("Parquet needs pyarrow: pip install pyarrow") from None
    types = {
        "text": pa.string(),
        "texts": pa.list_(pa.string()),
        "number": pa.float64(),
        "whole": pa.int64(),
        "flag": pa.bool_(),
    }
    arrays = {
        name: pa.array([_plain(v, COLUMNS[name]) for v in frame[name]], types[COLUMNS[name]]) for name in frame.columns
    }
    out = io.BytesIO()
    pq.write_table(pa.table(arrays), out)
    return out.getvalue()


def encode(frame: pd.DataFrame, form: Format) -> bytes:
    """A frame as the bytes of a file."""
    if form == "parquet":
        return to_parquet(frame)
    return (to_csv(frame) if form == "csv" else to_jsonl(frame)).encode("utf-8")


def write(frame: pd.DataFrame, path: Path | str, form: Format | None = None) -> Path:
    """Write a frame; the format is that of the file's ending unless it is given.

    ``SwayError`` for an ending that names none, or without pyarrow; ``OSError`` is the caller's to report.
    """
    path = Path(path).expanduser()
    named = form or path.suffix.lstrip(".").lower()
    known = next((f for f in FORMATS if f == named), None)
    if known is None:
        raise SwayError(f"{path} does not say its format: end it in .csv, .jsonl or .parquet")
    data = encode(frame, known)
    path.write_bytes(data)
    return path


def _plain(value: Any, kind: Kind) -> Any:
    """A value of a frame as plain Python, ``None`` for what is not known."""
    if kind == "texts":
        return list(value)
    if kind == "text":
        return str(value)
    import pandas as pd

    if pd.isna(value):
        return None
    return {"number": float, "whole": int, "flag": bool}[kind](value)
