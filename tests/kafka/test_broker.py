"""The brokers of the kit: they start, say why they do not, and leave nothing behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from kafka_kit import bare, send, start

from fin_sql.testing.broker import Broker
from fin_sql.testing.process import Process, ProcessError, free_port


def alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def gone(pid, seconds=10):
    deadline = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not alive(pid)


def test_it_takes_messages_and_is_gone_afterwards(topic):
    with start("embedded") as broker:
        pid = broker.process.pid
        broker.create_topic(topic, 2)
        send(broker, topic, ["a", "b"], partition=1)
        assert bare(broker, topic, 2) == {0: [], 1: [(0, b"a"), (1, b"b")]}
        assert broker.bootstrap_servers.startswith("127.0.0.1:")
    assert gone(pid)
    broker.stop()


def test_two_of_them_do_not_know_each_other(topic):
    with start("embedded") as one, start("embedded") as other:
        one.create_topic(topic)
        assert topic not in other.admin().list_topics(timeout=5).topics


@pytest.mark.skipif(sys.platform != "linux", reason="a process is bound to its parent on Linux")
def test_it_ends_with_a_parent_that_is_killed():
    start("embedded").stop()
    code = (
        "import sys, time\n"
        "from fin_sql.testing.broker import Broker\n"
        "broker = Broker()\n"
        "print(broker.process.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    with parent:
        pid = int(parent.stdout.readline())
        assert alive(pid)
        os.kill(parent.pid, signal.SIGKILL)
    assert gone(pid)


def test_one_that_does_not_start_says_what_its_log_says(monkeypatch, tmp_path):
    start("embedded").stop()
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho I would rather not >&2\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CALF_TANSU_BIN", str(broken))
    with pytest.raises(ProcessError, match="the embedded broker ended with 3:\nI would rather not"):
        Broker()


def test_one_whose_port_is_taken_tries_another(monkeypatch):
    with start("embedded") as first:
        ports = iter([first.port, free_port()])
        monkeypatch.setattr("fin_sql.testing.broker.free_port", lambda: next(ports))
        with Broker() as second:
            assert second.port != first.port
            assert second.process.pid != first.process.pid


def test_one_that_is_never_ready_is_stopped(tmp_path):
    command = [sys.executable, "-c", "import time; print('waiting', flush=True); time.sleep(60)"]
    process = Process("a sleeper", command, tmp_path / "log")
    pid = process.pid
    with pytest.raises(ProcessError, match="a sleeper was not ready within 1.5 s:\nwaiting"):
        process.wait_until(lambda: False, 1.5)
    assert gone(pid)
    process.stop()


def test_the_last_lines_of_a_log_are_kept(tmp_path):
    command = [sys.executable, "-c", "print(*range(100), sep='\\n'); raise SystemExit(3)"]
    process = Process("a counter", command, tmp_path / "log")
    with pytest.raises(ProcessError, match="a counter ended with 3:\n88\n89\n") as caught:
        process.wait_until(lambda: False, 20)
    assert str(caught.value).endswith("\n99")


def test_a_free_port_is_free():
    import socket

    with socket.create_server(("127.0.0.1", free_port())):
        pass
