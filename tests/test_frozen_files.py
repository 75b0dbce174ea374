"""Files of every schema that was ever written stay readable."""

from __future__ import annotations

from pathlib import Path

import pytest

from samtok_eval.prediction_log import read_predictions
from samtok_eval.reports import result_file
from samtok_eval.reports.result_file import read_result
from samtok_eval.run import manifest
from samtok_eval.run.folder import RunFolder, load_run
from samtok_eval.run.record_file import read_records

SCHEMAS = Path(__file__).parent / "golden" / "schemas"


def test_every_schema_has_a_frozen_file():
    runs = {f"run_{number}" for number in range(1, manifest.SCHEMA_VERSION + 1)}
    results = {f"result_{number}.json" for number in range(1, result_file.SCHEMA_VERSION + 1)}
    assert {path.name for path in SCHEMAS.iterdir()} == runs | results


def test_a_run_of_schema_1_is_read():
    run = load_run(SCHEMAS / "run_1")
    assert (run.manifest.task, run.manifest.split, run.manifest.counters["scored"]) == ("gres", "val", 4)
    assert run.manifest.signature["strict"].startswith("task:gres:val|version:2|protocol:strict|model:oracle|")
    assert run.metrics.protocols["strict"]["giou"].value == pytest.approx(0.9598753954095088)
    folder = RunFolder(run.path)
    records = read_records(folder.records)
    assert {protocol: len(found) for protocol, found in records.items()} == dict.fromkeys(run.manifest.signature, 4)
    predictions = list(read_predictions(folder.parts()))
    assert [prediction.id for prediction in predictions] == list(run.samples().query("protocol == 'strict'")["id"])
    assert all(prediction.decoded for prediction in predictions)


@pytest.mark.parametrize(
    ("schema", "giou", "records"), [(1, 0.8818218086302136, None), (2, 0.8669609958222981, "0121379d")]
)
def test_a_result_of_every_schema_is_read(schema, giou, records):
    result = read_result(SCHEMAS / f"result_{schema}.json")
    assert (result.schema_version, result.task, result.split, result.dataset.samples) == (schema, "gres", "val", 593)
    assert result.protocols["strict"]["giou"].value == giou
    assert (result.records and result.records.sha256[:8]) == records
