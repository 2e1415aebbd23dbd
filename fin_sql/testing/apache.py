"""Apache Kafka itself, one node without ZooKeeper: for what the embedded broker cannot do."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from fin_sql.testing.broker import TopicBroker
from fin_sql.testing.process import Process, ProcessError, free_port, listens

__all__ = ["KAFKA_VERSION", "ApacheBroker", "fetch", "why_no_apache"]

KAFKA_VERSION = "4.1.2"
SLF4J_VERSION = "1.7.36"  # what Kafka logs through; its log goes nowhere but to standard output
JAVA_LEAST = 17
START_SECONDS = 120
USER, PASSWORD = "reader", "reader-secret"  # noqa: S105  of a broker that listens on loopback

_POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>fin_sql</groupId>
  <artifactId>kafka-for-tests</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>{KAFKA_VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.slf4j</groupId>
      <artifactId>slf4j-simple</artifactId>
      <version>{SLF4J_VERSION}</version>
    </dependency>
  </dependencies>
</project>
"""


def jars(build: Path) -> Path:
    """Where the jars of this version lie, once they are fetched."""
    return build / "kafka" / f"jars-{KAFKA_VERSION}"


def fetch(build: Path) -> Path:
    """Have Maven bring Kafka and what it needs; nothing is done where they are.

    Args:
        build: the folder of what is made; the jars come to `kafka` in it.

    Raises:
        ProcessError: there is no Java or no Maven, or Maven cannot bring them.
    """
    folder = jars(build)
    if folder.exists():
        return folder
    missing = _without_java() or _without("mvn", "Maven")
    if missing:
        raise ProcessError(missing)
    home = (build / "kafka").resolve()
    home.mkdir(parents=True, exist_ok=True)
    (home / "pom.xml").write_text(_POM)
    fresh = home / "jars-fresh"
    shutil.rmtree(fresh, ignore_errors=True)
    done = subprocess.run(  # noqa: S603
        [str(shutil.which("mvn")), "-B", "-q", "-f", str(home / "pom.xml"),
         "dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={fresh}"],
        capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).splitlines()[-12:])
        raise ProcessError(f"Maven must bring kafka_2.13 {KAFKA_VERSION}, and could not:\n{said}")
    fresh.rename(folder)
    return folder


def why_no_apache(build: Path) -> str | None:
    """Why Apache Kafka cannot run here; None: it can."""
    missing = _without_java()
    if missing is None and not jars(build).exists():
        missing = "its jars have not been fetched; make kafka"
    return missing and f"Apache Kafka: {missing}"


def _without(program: str, name: str) -> str | None:
    return None if shutil.which(program) else f"{name} is not installed: no '{program}' on the PATH"


def _without_java() -> str | None:
    missing = _without("java", "Java")
    if missing:
        return missing
    done = subprocess.run(  # noqa: S603
        [str(shutil.which("java")), "-version"], capture_output=True, text=True
    )
    found = re.search(r'version "(\d+)', done.stderr + done.stdout)
    if found is None or int(found[1]) < JAVA_LEAST:
        said = (done.stderr + done.stdout).splitlines()[:1]
        return f"Java {JAVA_LEAST} or later is required, was {said[0] if said else 'none'}"
    return None


class _Beside(TopicBroker):
    """A broker that wants a user, by SASL PLAIN."""

    def __init__(self, servers: str) -> None:
        self.bootstrap_servers = servers

    def config(self) -> dict[str, Any]:
        return super().config() | {
            "security.protocol": "sasl_plaintext",
            "sasl.mechanism": "PLAIN",
            "sasl.username": USER,
            "sasl.password": PASSWORD,
        }


class ApacheBroker(TopicBroker):
    """One node, broker and controller, on free ports of 127.0.0.1; data and logs under `build`.

    Attributes:
        sasl_servers: a listener that wants the user USER with PASSWORD, by SASL PLAIN.

    Args:
        build: where the jars are, and its data go.
        advertised: the port that clients are sent to, where a proxy stands before the broker.

    Raises:
        ProcessError: it does not start.
    """

    def __init__(self, build: Path, *, advertised: int | None = None) -> None:
        self._jars = jars(build)
        self.port, self._sasl_port, self._control_port = free_port(), free_port(), free_port()
        self._folder = build / "kafka" / f"node-{self.port}"
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        self._log = self._folder / "node.log"
        self.bootstrap_servers = f"127.0.0.1:{advertised or self.port}"
        self.sasl_servers = f"127.0.0.1:{self._sasl_port}"
        self._properties = self._folder / "server.properties"
        self._properties.write_text(self._configuration(advertised or self.port))
        self._java("kafka.tools.StorageTool", "format", "-t", "ZmluX3NxbC10ZXN0LWtpdA",
                   "-c", str(self._properties))  # fmt: skip
        self.process: Process | None = None
        self.start()

    def _configuration(self, advertised: int) -> str:
        plain, sasl, control = self.port, self._sasl_port, self._control_port
        login = (
            "org.apache.kafka.common.security.plain.PlainLoginModule required "
            f'user_{USER}="{PASSWORD}";'
        )
        settings = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{control}",
            "controller.listener.names": "CONTROLLER",
            "listeners": f"PLAIN://127.0.0.1:{plain},SASL://127.0.0.1:{sasl},"
            f"CONTROLLER://127.0.0.1:{control}",
            "advertised.listeners": f"PLAIN://127.0.0.1:{advertised},SASL://127.0.0.1:{sasl}",
            "listener.security.protocol.map": "PLAIN:PLAINTEXT,SASL:SASL_PLAINTEXT,"
            "CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "PLAIN",
            "sasl.enabled.mechanisms": "PLAIN",
            "listener.name.sasl.plain.sasl.jaas.config": login,
            "log.dirs": str(self._folder / "data"),
            "auto.create.topics.enable": "false",
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "1",
            "broker.session.timeout.ms": "1500",  # or one that was killed may not come back for 9 s
            "broker.heartbeat.interval.ms": "300",
            "group.initial.rebalance.delay.ms": "0",
            "log.retention.check.interval.ms": "500",
            "log.cleaner.backoff.ms": "200",
        }
        return "".join(f"{name}={value}\n" for name, value in settings.items())

    def _command(self, *arguments: str) -> list[str]:
        java = str(shutil.which("java"))
        options = [
            "-Xmx512m",
            "-XX:TieredStopAtLevel=1",
            "-Dorg.slf4j.simpleLogger.showDateTime=true",
            "-cp",
            f"{self._jars}/*",
        ]
        return [java, *options, *arguments]

    def _java(self, *arguments: str) -> None:
        done = subprocess.run(self._command(*arguments), capture_output=True, text=True)  # noqa: S603
        if done.returncode:
            raise ProcessError(f"{arguments[0]} failed:\n{done.stdout}{done.stderr}")

    def start(self) -> None:
        """Start it, again with the data it has.

        Raises:
            ProcessError: it does not start.
        """
        command = self._command("kafka.Kafka", str(self._properties))
        self.process = Process("Apache Kafka", command, self._log)
        self.process.wait_until(self._answers, START_SECONDS)

    def _answers(self) -> bool:
        from confluent_kafka import KafkaException

        # By the other listener: what stands before the first may be shut.
        if not listens(self._sasl_port):
            return False
        try:
            return bool(self.beside.admin().list_topics(timeout=10).brokers)
        except KafkaException:
            return False

    @property
    def beside(self) -> TopicBroker:
        """The same broker by its other listener, for the user USER with PASSWORD."""
        return _Beside(self.sasl_servers)

    def stop(self, *, kill: bool = False, keep: bool = False) -> None:
        """End it; it may be called twice.

        Args:
            kill: give it no time to end in order.
            keep: leave its data, so that it can be started again.
        """
        process, self.process = self.process, None
        if process is not None:
            process.stop(kill=kill, seconds=30)
        if not keep:
            shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> ApacheBroker:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()


if __name__ == "__main__":
    print(fetch(Path(sys.argv[1] if len(sys.argv) > 1 else "build")))
