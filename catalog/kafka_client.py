"""The one place that knows confluent_kafka: connections, what is fatal, questions to a broker."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, NoReturn

from fin_sql.catalog.kafka_options import Connection
from fin_sql.errors import SourceChangedError, SourceError
from fin_sql.stream.time import Clock

LOGGER = logging.getLogger("fin_sql.kafka")
LOGGER.addHandler(logging.NullHandler())  # silent until the user asks for it

NO_IDENTITY = "AAAAAAAAAAAAAAAAAAAAAA"  # what brokers without topic ids answer
EARLIEST, LATEST = -2, -1  # as the protocol says it; any other number is a time in ms
_TURN = 0.02  # seconds between two looks at an answer


def confluent(who: str) -> Any:
    """The package confluent_kafka.

    Raises:
        SourceError: it is not installed.
    """
    try:
        import confluent_kafka
        import confluent_kafka.admin
    except ModuleNotFoundError as error:
        msg = (
            f"{who} needs the package confluent-kafka, and {error.name} is not installed; "
            "pip install 'fin-sql[kafka]'"
        )
        raise SourceError(msg) from None
    return confluent_kafka


@dataclass(frozen=True)
class TopicState:
    """What a topic is just now.

    Args:
        identity: of this topic; one that is deleted and made anew has another. None: the broker
            does not say.
        partitions: their numbers.
    """

    identity: str | None
    partitions: frozenset[int]


class NoTopicError(SourceError):
    """The topic does not exist."""


class NoAnswerError(SourceError):
    """No broker has answered in time."""


class TopicLink:
    """Questions about one topic, and what goes wrong on the way to it.

    Args:
        options: where the topic is.
        who: the table or sink, for messages.
        clock: for deadlines.

    Attributes:
        away: whether the brokers cannot be reached just now.
    """

    def __init__(self, options: Connection, who: str, clock: Clock) -> None:
        self._options, self._who, self._clock = options, who, clock
        self.kafka = confluent(who)
        self._fatal: str | None = None
        self._said = ""  # the last thing that went wrong
        self.away = False
        self._asked: Any = None
        self._asked_since = True  # since the brokers went away: older answers are no sign of life
        self._admin = self._client(self.kafka.admin.AdminClient, {})

    def _client(self, kind: Any, config: Mapping[str, Any]) -> Any:
        """A client of librdkafka that tells us what goes wrong."""
        common = self._options.config() | {"error_cb": self._went_wrong}
        try:
            return kind(common | dict(config), logger=LOGGER)
        except self.kafka.KafkaException as error:
            self.refuse(error)

    def producer(self, config: Mapping[str, Any]) -> Any:
        """A producer that tells us what goes wrong; the topic must be there.

        Raises:
            SourceError: the configuration is refused, or no broker answers.
        """
        made = self._client(self.kafka.Producer, config)
        self._acquaint(made)
        return made

    def _acquaint(self, client: Any) -> None:
        """Let a client hear of the topic now; by itself it would take up to a second to ask."""
        try:
            client.list_topics(self._options.topic, timeout=self._options.connect_timeout_ms / 1000)
        except self.kafka.KafkaException as error:
            self._refuse_answer(error)

    def _went_wrong(self, error: Any) -> None:
        """Called by librdkafka, in a poll of ours."""
        self._said = self._options.masked(error.str())
        if error.fatal() or error.code() == self.kafka.KafkaError._AUTHENTICATION:
            self._fatal = self._said
        elif error.code() == self.kafka.KafkaError._ALL_BROKERS_DOWN:
            self.away, self._asked_since = True, False

    def check(self) -> None:
        """Raise what makes further waiting useless.

        Raises:
            SourceError: the broker does not let us in, or the consumer is broken.
        """
        if self._fatal is not None:
            raise SourceError(f"{self._who}: {self._fatal}; see the options sasl_ and ssl_")

    def refuse(self, error: Any) -> NoReturn:
        """Raise an error of librdkafka as ours.

        Raises:
            SourceError: always.
        """
        raise SourceError(self._options.masked(f"{self._who}: {_text(error)}")) from None

    # ------------------------------------------------------------ questions

    def _wait(self, futures: Collection[Any]) -> None:
        """Wait for answers; what goes wrong meanwhile is heard."""
        deadline = self._clock.steady_ns() + self._options.connect_timeout_ms * 1_000_000
        while not all(future.done() for future in futures):
            self._admin.poll(_TURN)
            self.check()
            if self._clock.steady_ns() > deadline:
                self.unreachable()

    def unreachable(self) -> NoReturn:
        """Raise that no broker answers.

        Raises:
            NoAnswerError: always.
        """
        said = f": {self._said}" if self._said else ""
        msg = (
            f"{self._who}: no broker at '{self._options.bootstrap_servers}' answered within "
            f"{self._options.connect_timeout_ms / 1000:g} s{said}; see bootstrap_servers, "
            "security_protocol and connect_timeout_ms"
        )
        raise NoAnswerError(msg)

    def _ask(self) -> Any:
        topics = self.kafka.TopicCollection([self._options.topic])
        seconds = self._options.connect_timeout_ms / 1000
        asked = self._admin.describe_topics(topics, request_timeout=seconds)
        return asked[self._options.topic]

    def _answer(self, future: Any) -> TopicState:
        try:
            told = future.result()
        except self.kafka.KafkaException as error:
            code = error.args[0].code()
            if code == self.kafka.KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise NoTopicError(f"{self._who}: the topic does not exist") from None
            self._refuse_answer(error)
        identity = str(told.topic_id)
        return TopicState(
            None if identity == NO_IDENTITY else identity,
            frozenset(partition.id for partition in told.partitions),
        )

    def _refuse_answer(self, error: Any) -> NoReturn:
        kinds = self.kafka.KafkaError
        if error.args[0].code() in (kinds._TRANSPORT, kinds._TIMED_OUT):
            self._said = self._said or _text(error)
            self.unreachable()
        self.refuse(error)

    def describe(self) -> TopicState:
        """What the topic is.

        Raises:
            NoTopicError: there is none of that name; the message has names that are like it.
            NoAnswerError: no broker answers.
            SourceError: the broker refuses.
        """
        future = self._ask()
        self._wait([future])
        try:
            return self._answer(future)
        except NoTopicError:
            raise NoTopicError(self._without_topic()) from None

    def _without_topic(self) -> str:
        try:
            # All of them: a broker may make the one that is asked for by name.
            topics = self._admin.list_topics(timeout=self._options.connect_timeout_ms / 1000).topics
        except self.kafka.KafkaException as error:
            self.refuse(error)
        known = [name for name in sorted(topics) if not name.startswith("__")]
        wanted = self._options.topic
        lower = {name.lower(): name for name in known}
        near = [lower[name] for name in get_close_matches(wanted.lower(), [*lower], 3, 0.6)]
        near += [n for n in known if wanted.lower() in n.lower() and n not in near][:3]
        hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "create it first"
        return (
            f"{self._who}: topic '{wanted}' does not exist at "
            f"'{self._options.bootstrap_servers}'; {hint}"
        )

    def look(self) -> TopicState | None:
        """What the topic is, without waiting: None until the answer has come.

        Raises:
            NoTopicError: the broker says that there is none.
        """
        if self._asked is None:
            self._asked, self._asked_since = self._ask(), True
        self._admin.poll(0)  # what it has to tell would pile up
        if not self._asked.done():
            return None
        future, self._asked = self._asked, None
        try:
            state = self._answer(future)
        except NoAnswerError:  # the next look may have one
            self.away = True
            return None
        if self._asked_since:  # a message is no such sign: it may have been fetched before
            self.away = False
        return state

    def place(self, partition: int, offset: int | None = None) -> Any:
        """A place in the topic, as librdkafka takes it."""
        if offset is None:
            return self.kafka.TopicPartition(self._options.topic, partition)
        return self.kafka.TopicPartition(self._options.topic, partition, offset)

    def offsets(self, wanted: Mapping[int, int], *, committed: bool) -> dict[int, int]:
        """Offsets of partitions: EARLIEST, LATEST, or the first of a time (-1: there is none).

        Args:
            wanted: for each partition which.
            committed: count messages of open transactions as not there.

        Raises:
            NoAnswerError: no broker answers.
            SourceError: the broker refuses.
        """
        admin = self.kafka.admin
        named = {EARLIEST: admin.OffsetSpec.earliest(), LATEST: admin.OffsetSpec.latest()}
        specs = {
            self.place(number): named.get(which) or admin.OffsetSpec.for_timestamp(which)
            for number, which in wanted.items()
        }
        if not specs:
            return {}
        level = self.kafka.IsolationLevel
        asked = self._admin.list_offsets(
            specs,
            isolation_level=level.READ_COMMITTED if committed else level.READ_UNCOMMITTED,
            request_timeout=self._options.connect_timeout_ms / 1000,
        )
        self._wait(asked.values())
        found = {}
        for place, future in asked.items():
            try:
                found[place.partition] = int(future.result().offset)
            except self.kafka.KafkaException as error:
                self._refuse_answer(error)
        return found


class KafkaClient(TopicLink):
    """A consumer of one topic.

    Args:
        options: where the topic is.
        config: what the consumer needs beyond that.
        who: the table, for messages.
        clock: for deadlines.
    """

    def __init__(
        self, options: Connection, config: Mapping[str, Any], who: str, clock: Clock
    ) -> None:
        super().__init__(options, who, clock)
        self.consumer = self._client(self.kafka.Consumer, config)

    def describe(self) -> TopicState:  # noqa: D102
        state = super().describe()
        self._acquaint(self.consumer)
        return state

    def assign(self, positions: Mapping[int, int]) -> None:
        """Read from these places, and nothing else."""
        self.consumer.assign([self.place(*one) for one in positions.items()])

    def assign_more(self, positions: Mapping[int, int]) -> None:
        """Read from these places too; a partition that is read goes on from here."""
        try:
            held = {place.partition for place in self.consumer.assignment()}
            again = [self.place(p) for p in positions if p in held]
            if again:
                self.consumer.incremental_unassign(again)
            self.consumer.incremental_assign([self.place(*one) for one in positions.items()])
        except self.kafka.KafkaException as error:
            self.refuse(error)

    def take(self, most: int, timeout_ns: int) -> list[Any]:
        """Messages and events that are there; one is waited for.

        consume() alone would wait until there are `most`, or the whole time.
        """
        most = min(most, 1_000_000)  # no more in one call of librdkafka
        try:
            found: list[Any] = self.consumer.consume(most, 0)
            if not found and timeout_ns > 0:
                first = self.consumer.poll(timeout_ns / 1e9)
                if first is not None:
                    found = [first]
                    if most > 1:
                        found += self.consumer.consume(most - 1, 0)
        except self.kafka.KafkaException as error:
            self.refuse(error)
        self.check()
        return found

    def cached_end(self, partition: int) -> int | None:
        """The end of a partition as the last answer of the broker said; None: not known."""
        try:
            _, high = self.consumer.get_watermark_offsets(self.place(partition), cached=True)
        except self.kafka.KafkaException:
            return None
        return int(high) if high >= 0 else None

    def commit(self, positions: Mapping[int, int]) -> None:
        """Commit to the consumer group; nobody waits for it."""
        try:
            places = [self.place(*one) for one in positions.items()]
            self.consumer.commit(offsets=places, asynchronous=True)
        except self.kafka.KafkaException as error:
            LOGGER.warning("%s: positions are not committed: %s", self._who, _text(error))

    def close(self) -> None:
        """Let go of the connections."""
        self.consumer.close()


def _text(error: Any) -> str:
    """What an error of librdkafka says."""
    inner = error.args[0] if getattr(error, "args", None) else error
    return str(inner.str() if hasattr(inner, "str") else inner)


def changed(who: str, what: str) -> SourceChangedError:
    """The error of a log that is not the one that was read, with what to do."""
    return SourceChangedError(
        f"{who}: {what}; to read what is there now, write where to begin (start = 'earliest', "
        "'latest' or 'timestamp:...') and drop the state that was kept"
    )
