"""Tables of a run: the library's numbers bit for bit in every format, and texts that nothing runs."""

from __future__ import annotations

import csv
import io
import json
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sway_dash.core.errors import SwayError
from sway_dash.core.scoring import BASE, FINETUNED
from sway_dash.report import frames
from sway_dash.report.json_io import load_result, to_json
from sway_dash.suite.score import compute
from sway_dash.suite.store import RESULT
from tests.dash.conftest import suite_text
from tests.fakes import comparison

HOSTILE = [
    '=HYPERLINK("http://example.org","x")',
    "+1+1",
    "-2+3",
    "@SUM(A1)",
    "a;=1+1",
    "line\n=1+1\r\nnext\ttab\t=2",
    "'=already quoted",
    "  =1",
    'quote " comma , <img src=x onerror=alert(1)>',
    "NA",
    "null",
    "\u2028 \u202e \x00 ünï 🙂",
    "</script>",
]


@pytest.fixture
def run(record):
    return record(suite_text(prompts=9, nulls=4, ablation=False))


@pytest.fixture
def hostile(record):
    raw = yaml.safe_load(suite_text(nulls=2, ablation=False))
    raw["suite"][-1]["prompts"] = [{"text": text, "tags": [text, "=tag"]} for text in HOSTILE]
    return record(yaml.safe_dump(raw))


def test_every_prompt_has_a_row_with_the_numbers_that_were_measured(run):
    found = frames.measurements(run)
    assert list(found.columns) == list(frames.MEASURED)
    assert found["item"].tolist() == list(range(9))
    for row in found.itertuples():
        wanted = comparison(row.prompt, BASE, FINETUNED)
        assert (row.js, row.kl, row.kl_reverse) == (wanted.js, wanted.kl, wanted.kl_reverse)
        assert (row.base_top, row.base_top_p) == (wanted.base_top[0].text, wanted.base_top[0].prob)
    assert set(found["run"]) == {run.id}
    assert found.loc[0, "tags"] == ["even"]


def test_null_columns_are_those_of_the_draws_on_the_same_prompt(run):
    found, drawn = frames.measurements(run), frames.draws(run)
    assert len(drawn) == 9 * 4
    assert drawn["counts"].all()
    for row in found.itertuples():
        own = drawn.loc[drawn["item"] == row.item, row.divergence]
        assert (row.null_lo, row.null_hi, row.null_n) == (own.min(), own.max(), 4)
        assert row.null_rank == int((own < getattr(row, row.divergence)).sum())


def test_a_suite_that_judges_by_kl_has_its_ranges_in_kl(record):
    folder = record(suite_text(prompts=5, nulls=3, ablation=False, divergence="kl"))
    found, drawn = frames.measurements(folder), frames.draws(folder)
    assert set(found["divergence"]) == {"kl"}
    assert found["null_hi"].tolist() == drawn.groupby("item")["kl"].max().tolist()


def test_a_run_is_taken_from_its_folder_its_path_its_result_file_and_its_result(run, tmp_path):
    result = run.result()
    run.write_result(to_json(result, compute(result)))
    whole = frames.measurements(run)
    pd.testing.assert_frame_equal(frames.measurements(str(run.path)), whole)
    # A result keeps the values of the divergence that is judged.
    copied = tmp_path / "report.json"
    copied.write_bytes((run.path / RESULT).read_bytes())
    for source in (copied, load_result(copied)[0]):
        kept = frames.measurements(source)
        assert kept["js"].tolist() == whole["js"].tolist()
        assert kept["prompt"].tolist() == whole["prompt"].tolist()
        assert kept["kl"].isna().all()
        assert kept["null_rank"].isna().all()
        means = frames.draws(source)
        wanted = frames.draws(run).groupby("view")["js"].mean()
        np.testing.assert_allclose(sorted(means["js"]), sorted(wanted), rtol=0, atol=1e-15)
        assert means["item"].isna().all()


def test_what_is_no_run_is_said_in_a_sentence(tmp_path):
    with pytest.raises(SwayError, match="is not there"):
        frames.measurements(tmp_path / "nothing")
    with pytest.raises(SwayError, match="is no run folder"):
        frames.draws(tmp_path)


def test_csv_reads_back_equal(hostile, tmp_path):
    for make in (frames.measurements, frames.draws):
        frame = make(hostile)
        path = frames.write(frame, tmp_path / "table.csv")
        pd.testing.assert_frame_equal(frames.read_csv(path), frame, check_exact=True)


def test_any_reader_of_csv_finds_the_same_numbers(run, tmp_path):
    frame = frames.measurements(run)
    with frames.write(frame, tmp_path / "table.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for name, kind in frames.MEASURED.items():
        if kind == "number":
            assert [float(row[name] or "nan") for row in rows] == pytest.approx(
                frame[name].tolist(), abs=0, nan_ok=True
            )


def test_no_cell_of_a_csv_begins_a_formula(hostile):
    text = frames.to_csv(frames.measurements(hostile))
    # As it is meant, and as a spreadsheet reads it that takes semicolons for the separator and minds no quotes.
    cells = [cell for row in csv.reader(io.StringIO(text, newline="")) for cell in row]
    for separator in (";", "\t"):
        lines = text.replace("\r", "\n").split("\n")
        cells += [cell.strip('"') for line in lines for cell in line.split(separator)]
    numbers = {cell for cell in cells if _is_number(cell)}
    assert [cell for cell in cells if cell.strip()[:1] in ("=", "+", "-", "@") and cell not in numbers] == []
    assert len(cells) > 100


def _is_number(cell):
    try:
        float(cell)
    except ValueError:
        return False
    return True


@given(st.text(alphabet=st.sampled_from("=+-@';\t\r\n ,aé\"")))
def test_making_a_text_inert_loses_nothing(text):
    guarded = frames.inert(text)
    assert frames.exact(guarded) == text
    assert guarded.lstrip()[:1] not in ("=", "+", "-", "@")


def test_jsonl_holds_every_row_and_writes_unknown_numbers_as_null(hostile, tmp_path):
    frame = frames.measurements(hostile)
    path = frames.write(frame, tmp_path / "table.jsonl")
    rows = [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]
    assert [row["prompt"] for row in rows] == frame["prompt"].tolist()
    assert [row["tags"] for row in rows] == frame["tags"].tolist()
    assert [row["js"] for row in rows] == frame["js"].tolist()
    assert rows[0]["ci_lo"] is None


def test_parquet_reads_back_with_types(hostile, tmp_path):
    pytest.importorskip("pyarrow")
    frame = frames.measurements(hostile)
    read = pd.read_parquet(frames.write(frame, tmp_path / "table.parquet"))
    assert read["prompt"].tolist() == frame["prompt"].tolist()
    assert [list(tags) for tags in read["tags"]] == frame["tags"].tolist()
    for name, kind in frames.MEASURED.items():
        if kind == "number":
            np.testing.assert_array_equal(read[name].to_numpy(float), frame[name].to_numpy(float))
    assert str(read["js"].dtype) == "float64"


def test_parquet_without_pyarrow_says_what_to_install(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    target = tmp_path / "table.parquet"
    with pytest.raises(SwayError, match="pip install pyarrow"):
        frames.write(frames.measurements(run), target)
    assert not target.exists()


def test_a_file_must_say_its_format(run, tmp_path):
    with pytest.raises(SwayError, match=r"end it in \.csv, \.jsonl or \.parquet"):
        frames.write(frames.measurements(run), tmp_path / "table.xls")


def test_half_a_character_of_a_result_file_becomes_one_that_files_can_hold(run):
    result = run.result()
    broken = [{**p.evidence, "prompts": ["\ud800 half", *p.evidence["prompts"][1:]]} for p in result.probes[-1:]]
    last = replace(result.probes[-1], evidence=broken[0])
    frame = frames.measurements(replace(result, probes=(*result.probes[:-1], last)))
    assert frame.loc[0, "prompt"] == "\ufffd half"
    frames.encode(frame, "csv")


def test_a_run_that_measured_nothing_gives_empty_tables_with_all_columns(record):
    folder = record(suite_text(prompts=4, ablation=False), keep=lambda events: events[:2])
    assert list(frames.measurements(folder).columns) == list(frames.MEASURED)
    assert frames.draws(folder).empty
    assert frames.to_csv(frames.measurements(folder)) == ",".join(frames.MEASURED) + "\r\n"
