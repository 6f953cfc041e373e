"""The lake's files as another engine reads them: pyarrow, over the directory as it is."""

import json
import os
import subprocess
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

TARGET = Path(os.environ.get("CARGO_TARGET_DIR", Path.home() / ".cache/civicnet/target"))
PROGRAM = TARGET / "release/examples/write_lake"


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    assert PROGRAM.exists(), f"{PROGRAM} is missing: cargo build --release -p lake --example write_lake"
    directory = tmp_path_factory.mktemp("lake")
    done = subprocess.run([PROGRAM, directory], check=True, capture_output=True, text=True, timeout=120)
    return directory / "tables", json.loads(done.stdout)


def table(lake, name):
    return ds.dataset(lake[0] / name, format="parquet", partitioning="hive").to_table()


def test_sums_by_site_agree_with_the_lakes_own(lake):
    rows = table(lake, "access")
    assert rows.num_rows == lake[1]["rows"]
    found = (
        rows.group_by("site_id")
        .aggregate([("hit", "sum"), ("http_response_size", "sum"), ("timestamp", "min"), ("timestamp", "max"), ("hit", "count")])
        .sort_by("site_id")
        .to_pylist()
    )
    expected = lake[1]["by_site"]
    assert len(found) == len(expected) == 10
    for ours, theirs in zip(expected, found):
        assert theirs["site_id"] == ours["site_id"]
        assert theirs["hit_count"] == ours["n"]
        assert theirs["hit_sum"] == ours["hits"]
        assert theirs["http_response_size_sum"] == ours["bytes"]
        assert theirs["timestamp_min"] == datetime.fromisoformat(ours["first"].replace("Z", "+00:00"))
        assert theirs["timestamp_max"] == datetime.fromisoformat(ours["last"].replace("Z", "+00:00"))


def test_types_are_plain(lake):
    schema = table(lake, "access").schema
    assert schema.field("timestamp").type == pa.timestamp("us", tz="UTC")
    assert schema.field("site_id").type == pa.string()
    assert schema.field("http_response_status_code").type == pa.int32()
    assert schema.field("hit").type == pa.int8()
    assert schema.field("tls").type == pa.bool_()


def test_partitions_say_the_hour_of_their_rows(lake):
    rows = table(lake, "access")
    assert set(rows["date"].cast(pa.string()).to_pylist()) == {"2026-11-21"}
    hours = pc.hour(rows["timestamp"])
    assert pc.all(pc.equal(hours.cast(pa.int32()), rows["hour"].cast(pa.int32()))).as_py()


def test_files_are_sorted_compressed_and_carry_statistics(lake):
    paths = sorted((lake[0] / "access").rglob("*.parquet"))
    assert paths
    for path in paths:
        file = pq.ParquetFile(path)
        rows = file.read(columns=["site_id", "timestamp"])
        assert rows.equals(rows.sort_by([("site_id", "ascending"), ("timestamp", "ascending")])), path
        column = file.metadata.row_group(0).column(0)
        assert column.path_in_schema == "timestamp"
        assert column.compression == "ZSTD"
        assert column.statistics.has_min_max


def test_roll_ups_add_up_to_the_requests(lake):
    for name in ("traffic", "urls", "networks"):
        assert pc.sum(table(lake, name)["requests"]).as_py() == lake[1]["rows"], name


def test_questions_and_notices_are_there(lake):
    question = table(lake, "query").to_pylist()[0]
    assert question["dns_question_name"] == "www.example.tw."
    assert question["client_subnet"] is None
    assert table(lake, "notice").to_pylist()[0]["subject"] == "邊緣"
