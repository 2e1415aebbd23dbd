"""Brokers that all tests of this folder share, and the topic that each has to itself."""

from itertools import count

import pytest
from kafka_kit import Gate, start

KINDS = ["embedded", pytest.param("apache", marks=pytest.mark.kafka)]
NUMBERS = count()


@pytest.fixture(scope="session", params=KINDS)
def broker(request):
    with start(request.param) as broker:
        yield broker


@pytest.fixture(scope="session")
def apache():
    """For what only Apache Kafka does; the test needs the marker."""
    with start("apache") as broker:
        yield broker


@pytest.fixture
def own_apache():
    """One that the test may stop."""
    with start("apache") as broker:
        yield broker


@pytest.fixture(params=KINDS)
def gated(request):
    """A broker of its own, and the gate that all clients of it pass."""
    gate = Gate()
    with gate, start(request.param, advertised=gate.port) as broker:
        gate.open(broker.port)
        yield broker, gate


@pytest.fixture
def topic():
    return f"topic-{next(NUMBERS)}"
