"""Attachments and the lake in a bucket of an S3-compatible service, through the real binary."""

import json
import re
import time

import boto3
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.fs
import pytest
from alone import free_port
from api import Api, csrf_of, sign_in
from country import Country, wait_for
from moto.server import ThreadedMotoServer

SITE = "www.library.gov.test"
KEYS = {"AWS_ACCESS_KEY_ID": "testing-id", "AWS_SECRET_ACCESS_KEY": "testing-secret"}


class Bucket:
    """A service that can be stopped and started at the same address; moto keeps the contents meanwhile."""

    def __init__(self, name):
        self.name = name
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.start()
        self.client = boto3.client("s3", endpoint_url=self.endpoint, region_name="us-east-1",
                                   aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"], aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"])
        self.client.create_bucket(Bucket=name)

    def start(self):
        self.server = ThreadedMotoServer(ip_address="127.0.0.1", port=self.port, verbose=False)
        self.server.start()

    def stop(self):
        self.server.stop()

    def keys(self, prefix=""):
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
        return [one["Key"] for page in pages for one in page.get("Contents", [])]

    def read(self, key):
        return self.client.get_object(Bucket=self.name, Key=key)["Body"].read()


@pytest.fixture(scope="module")
def clouded(tmp_path_factory):
    bucket = Bucket("civicnet")
    env = {
        **KEYS,
        "CIVICNET__STORE__BLOBS__S3_BUCKET": bucket.name,
        "CIVICNET__STORE__BLOBS__S3_ENDPOINT": bucket.endpoint,
        "CIVICNET__STORE__BLOBS__S3_ACCESS_KEY": KEYS["AWS_ACCESS_KEY_ID"],
        "CIVICNET__STORE__BLOBS__S3_SECRET_KEY": KEYS["AWS_SECRET_ACCESS_KEY"],
        "CIVICNET__STORE__BLOBS__S3_PREFIX": "blobs",
        "CIVICNET__LAKE__S3__URL": f"s3://{bucket.name}/lake",
        "CIVICNET__LAKE__S3__ENDPOINT": bucket.endpoint,
        "CIVICNET__LAKE__S3__ALLOW_HTTP": "true",
        "CIVICNET__LAKE__FLUSH_INTERVAL_S": "5",
    }
    country = Country(tmp_path_factory.mktemp("s3") / "var", env=env).start()
    country.bucket = bucket
    yield country
    country.stop()
    bucket.stop()


def attach(country, name, body):
    """Puts a file on a fresh case of the museum; (session, address of the case)."""
    owner = Api(country, "museum-owner")
    org = owner.get("/orgs")["items"][0]["id"]
    case = owner.call("POST", "/cases", 201, json={"form": "cdn-site", "org": org, "values": {"name_zh": "地方博物館"}}).json()["id"]
    session = sign_in(country, "museum-owner")
    address = f"{country.at('console')}/cases/{case}"
    csrf = csrf_of(session.get(address, timeout=10).text)
    answer = session.post(address + "/files", data={"csrf": csrf, "field": "plan"}, files={"file": (name, body, "application/pdf")},
                          headers={"x-csrf-token": csrf}, timeout=60, allow_redirects=False)
    return session, address, answer


def files_of(session, address):
    """The ids of the files that the case's page links to."""
    path = address.split("/", 3)[3]
    return sorted(set(re.findall(rf'href="/{path}/files/([^"/]+)"', session.get(address, timeout=10).text)))


def test_attachments_are_kept_sealed_in_the_bucket(clouded):
    body = b"%PDF-1.7\n" + b"a secret plan " * 40_000
    session, address, answer = attach(clouded, "計畫.pdf", body)
    assert answer.status_code == 303, answer.text[:500]
    files = files_of(session, address)
    assert len(files) == 1, session.get(address, timeout=10).text[-3000:]
    assert session.get(f"{address}/files/{files[0]}", timeout=30).content == body
    kept = clouded.bucket.keys("blobs/")
    assert kept and not [f for f in (clouded.dir / "blobs").rglob("*") if f.is_file()], "in the bucket, not on the disk"
    octets = b"".join(clouded.bucket.read(key) for key in kept)
    assert len(octets) >= len(body) and b"secret plan" not in octets, "sealed before it leaves the house"


def test_without_the_bucket_an_attachment_is_refused_and_nothing_is_half_kept(clouded):
    before = clouded.bucket.keys("blobs/")
    clouded.bucket.stop()
    try:
        session, address, answer = attach(clouded, "later.pdf", b"%PDF-1.7\nlater")
        assert answer.status_code in (500, 503), f"{answer.status_code}: not kept, so not accepted"
        assert "later.pdf" not in session.get(address, timeout=10).text
    finally:
        clouded.bucket.start()
    assert clouded.bucket.keys("blobs/") == before


def count(country, mark):
    out = country.cli("query", "--config", str(country.dir / "control.toml"), "--format", "json",
                      f"SELECT count(*) AS n FROM access WHERE url_path = '{mark}'")
    return json.loads(out.stdout)[0]["n"] if out.returncode == 0 else out.stderr


def visit(country, times):
    mark = f"/no/such-{time.time_ns()}"
    for _ in range(times):
        country.get("hsinchu", SITE, mark)
    return mark


def test_the_lake_is_in_the_bucket_and_other_engines_read_it(clouded):
    wait_for(lambda: clouded.get("hsinchu", SITE).status_code == 200, 30, "the site")
    mark = visit(clouded, 9)
    wait_for(lambda: count(clouded, mark) == 9, 60, "nine events", every=1)
    bucket = clouded.bucket
    wait_for(lambda: any(key.endswith(".parquet") for key in bucket.keys("lake/access/")), 30, "Parquet in the bucket", every=0.5)
    assert not list((clouded.dir / "lake").rglob("*.parquet")), "in the bucket, not on the disk"
    store = pyarrow.fs.S3FileSystem(access_key=KEYS["AWS_ACCESS_KEY_ID"], secret_key=KEYS["AWS_SECRET_ACCESS_KEY"], region="us-east-1",
                                    endpoint_override=bucket.endpoint.removeprefix("http://"), scheme="http")

    def theirs():
        rows = ds.dataset(f"{bucket.name}/lake/access", filesystem=store, format="parquet", partitioning="hive").to_table(columns=["url_path"])
        return pc.sum(pc.equal(rows["url_path"], mark)).as_py()

    wait_for(lambda: theirs() == 9, 30, "the same nine in the files", every=1)


def test_no_event_is_lost_or_doubled_by_an_absent_bucket_and_a_dead_control_plane(clouded):
    wait_for(lambda: clouded.get("hsinchu", SITE).status_code == 200, 30, "the site")
    journal = lambda: sum(f.stat().st_size for f in (clouded.dir / "lake").rglob("*.journal"))
    before = journal()
    clouded.bucket.stop()
    try:
        mark = visit(clouded, 11)
        # They are the control plane's now, which cannot write them to the bucket, and then dies.
        wait_for(lambda: journal() > before, 30, "the events in the lake's own journal", every=0.2)
        clouded.kill_node("control")
    finally:
        clouded.bucket.start()
    wait_for(lambda: count(clouded, mark) == 11, 90, "eleven events", every=1)
    again = visit(clouded, 3)
    wait_for(lambda: count(clouded, again) == 3, 60, "three more", every=1)
    assert count(clouded, mark) == 11
