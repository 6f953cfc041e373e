"""A route server that dies, hangs or is left half way while a configuration comes: nothing wrong is in force, the last
good one is kept, and the command says what happened."""

import os
import re
import signal
import subprocess
import time

import pytest

from lab import GOLDEN, Lab, civicnet, wait
from test_meaning import announce


@pytest.fixture(scope="module")
def lab():
    lab = Lab()
    try:
        lab.rs = lab.route_server("hsinchu")
        lab.member("twaren", 7539, ["hsinchu"], announce("140.110.0.0/16", [7539]))
        lab.member("gsn", 4782, ["hsinchu"], announce("117.56.0.0/16", [4782]))
        yield lab
    finally:
        lab.close()


@pytest.fixture
def changed(lab):
    """A document that differs in one harmless number; the route server is whole before and after."""
    wait("sessions", lambda: len(lab.rs.established()) == 2, 60)
    text, conf = lab.document_file.read_text(), lab.rs.conf.read_text()
    lab.document_file.write_text(text.replace("max_prefix = { v4 = 100,", "max_prefix = { v4 = 77,"))
    yield conf
    lab.document_file.write_text(text)
    wait("sessions", lambda: len(lab.rs.established()) == 2, 60)


def arguments(lab, *more):
    return ["apply", "--members", lab.document_file, "--site", "hsinchu", "--irr-file", GOLDEN / "lab.rpsl", "--socket", lab.rs.socket, "--config", lab.rs.conf, *more]


def background(lab, *more):
    return subprocess.Popen([os.environ["CIVICNET_BIN"], "exchange", *map(str, arguments(lab, *more))], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def limit(lab):
    """The limit of TWAREN's session that is in force."""
    return re.search(r"Receive limit: +(\d+)", lab.rs.ask("show protocols all as7539_b1_v4", check=False))


def in_force(lab, number):
    return (found := limit(lab)) and int(found.group(1)) == number


def restart(lab):
    lab.rs.stop()
    lab.rs.socket.unlink(missing_ok=True)
    lab.rs.start()


def test_bird_dies_while_it_is_watched(lab, changed):
    process = background(lab, "--watch", "20")
    wait("the change", lambda: in_force(lab, 77))
    lab.rs.process.kill()
    said, complained = process.communicate(timeout=60)
    assert process.returncode == 1 and "does not answer" in complained, (said, complained)
    assert lab.rs.conf.read_text() == changed
    restart(lab)
    assert in_force(lab, 100)


def test_bird_hangs_before_anything_is_told(lab, changed):
    lab.rs.process.send_signal(signal.SIGSTOP)
    try:
        begun = time.monotonic()
        done = civicnet(*arguments(lab), check=False)
        took = time.monotonic() - begun
    finally:
        lab.rs.process.send_signal(signal.SIGCONT)
    assert done.returncode == 1 and "does not answer" in done.stderr and took < 20, (done, took)
    assert lab.rs.conf.read_text() == changed and in_force(lab, 100)


def test_bird_that_hangs_while_watched_goes_back_by_itself(lab, changed):
    process = background(lab, "--watch", "2")
    wait("the change", lambda: in_force(lab, 77))
    lab.rs.process.send_signal(signal.SIGSTOP)
    try:
        said, complained = process.communicate(timeout=90)
    finally:
        lab.rs.process.send_signal(signal.SIGCONT)
    assert process.returncode == 1 and "does not answer" in complained, (said, complained)
    assert lab.rs.conf.read_text() == changed
    wait("the way back", lambda: in_force(lab, 100), 40)


def test_a_command_that_is_killed_leaves_the_last_good_in_force(lab, changed):
    process = background(lab, "--watch", "3")
    wait("the change", lambda: in_force(lab, 77))
    process.kill()
    process.communicate(timeout=10)
    assert lab.rs.conf.read_text() == changed
    # What it left beside the running file, half written, is in nobody's way.
    next_file = lab.rs.conf.with_name("bird.conf.next")
    next_file.write_text(next_file.read_text()[:500] if next_file.exists() else "protocol bgp {")
    wait("the way back", lambda: in_force(lab, 100), 40)
    assert "applied" in civicnet(*arguments(lab)).stdout
    assert in_force(lab, 77) and not next_file.exists()
    assert lab.rs.conf.with_name("bird.conf.last-good").read_text() == changed
    lab.document_file.write_text(lab.document_file.read_text().replace("v4 = 77,", "v4 = 100,"))
    assert "applied" in civicnet(*arguments(lab)).stdout


@pytest.mark.parametrize("where", [0.2, 0.5, 0.9])
def test_a_document_cut_short_changes_nothing(lab, changed, where):
    text = lab.document_file.read_text()
    lab.document_file.write_text(text[: int(len(text) * where)] + "[[")
    done = civicnet(*arguments(lab), check=False)
    assert done.returncode == 1 and re.search(r"lab.toml:\d+", done.stderr), done.stderr
    assert lab.rs.conf.read_text() == changed and in_force(lab, 100)


def test_a_running_file_cut_short_is_written_whole_again(lab, changed):
    lab.document_file.write_text(lab.document_file.read_text().replace("v4 = 77,", "v4 = 100,"))
    lab.rs.conf.write_text(changed[:700])
    assert "applied" in civicnet(*arguments(lab)).stdout
    assert lab.rs.conf.read_text() == changed and in_force(lab, 100)
