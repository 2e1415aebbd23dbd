"""Topics of Kafka as a source of streaming tables: every message once, by exact positions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fin_sql.catalog.decoding import Decoder
from fin_sql.catalog.kafka_client import (
    EARLIEST,
    LATEST,
    LOGGER,
    KafkaClient,
    NoAnswerError,
    NoTopicError,
    TopicState,
    changed,
)
from fin_sql.catalog.kafka_columns import MetadataColumn
from fin_sql.catalog.kafka_options import KafkaOptions
from fin_sql.catalog.kafka_rows import Rows
from fin_sql.errors import SourceError, SqlError
from fin_sql.stream.source import Polled
from fin_sql.stream.time import Clock, SystemClock

Offsets = npt.NDArray[np.int64]

AWAY_MS = 250  # how often a broker that is away is looked for
GONE_LOOKS = 2  # a broker that starts may not know its topics yet: one look is not enough


class KafkaSource:
    """A topic, read partition by partition.

    Partitions are assigned, not given out by a group. The positions that are returned with messages
    are the only ones that count; what is committed to a group is for tools that show a lag. After
    an error the source is to be closed, and opened again from positions.

    Args:
        name: of the table.
        options: what and where.
        decoder: turns the values of messages into rows.
        metadata: columns behind the decoder's, of what stands beside the values.
        clock: for the time of arrival, and for the looks at the topic.
    """

    def __init__(
        self,
        name: str,
        options: KafkaOptions,
        decoder: Decoder,
        *,
        metadata: Sequence[MetadataColumn] = (),
        clock: Clock | None = None,
    ) -> None:
        self.name, self.options = name, options
        self._who = f"Kafka table '{name}'"
        self._rows = Rows(options.topic, decoder, metadata, options.tombstones, self._who)
        self.schema = self._rows.schema
        self._clock = clock or SystemClock()
        self._client: KafkaClient | None = None
        self._bounded = False
        self._broken = False
        self._identity: str | None = None
        self._positions: dict[int, int] = {}
        self._ends: dict[int, int] = {}  # of a bounded read
        self._looked_ns = 0
        self._gone = 0  # looks in a row that have not found the topic
        self._astray: set[int] = set()  # partitions whose next offset the broker does not have

    def __repr__(self) -> str:
        return f"KafkaSource({self.name!r}, {self.options!r})"

    # ------------------------------------------------------------ opening

    def open(  # noqa: D102
        self,
        positions: Mapping[int, int] | None = None,
        *,
        bounded: bool = False,
        identity: str | None = None,
    ) -> None:
        self.close()
        self._client = KafkaClient(self.options, self._config(), self._who, self._clock)
        try:
            self._open(dict(positions or {}), bounded, identity)
        except BaseException:
            self.close()
            raise

    def _config(self) -> dict[str, Any]:
        options = self.options
        return {
            # librdkafka asks for a group even where nothing is committed to it.
            "group.id": options.group_id or "fin_sql",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",  # nothing is ever read from elsewhere in silence
            "enable.partition.eof": True,  # tells positions behind control records
            "allow.auto.create.topics": False,
            "isolation.level": options.isolation,
            "fetch.min.bytes": 1,
            "fetch.wait.max.ms": options.fetch_wait_ms,
            "fetch.max.bytes": options.fetch_total_bytes,
            "max.partition.fetch.bytes": options.fetch_bytes,
            "queued.max.messages.kbytes": max(1, options.queue_bytes // 1024),
            "fetch.queue.backoff.ms": 5,  # 1000 by default: a full queue would stop the fetcher
            "topic.metadata.refresh.interval.ms": max(10, options.refresh_ms),
        }

    def _open(self, kept: dict[int, int], bounded: bool, identity: str | None) -> None:
        client = self._opened()
        state = client.describe()
        if identity is not None and state.identity is not None and state.identity != identity:
            raise changed(self._who, self._another(state.identity, identity))
        self._identity = state.identity or identity
        read = self._chosen(state)
        missing = sorted(kept.keys() - state.partitions)
        if missing:
            what = f"partition {missing[0]} of topic '{self.options.topic}' is not there any more"
            raise changed(self._who, what)
        committed = self.options.isolation == "read_committed"
        low = client.offsets(dict.fromkeys(read, EARLIEST), committed=committed)
        high = client.offsets(dict.fromkeys(read, LATEST), committed=committed)
        starts = self._starts([p for p in read if p not in kept], low, committed)
        wanted = {p: kept.get(p, starts.get(p, -1)) for p in read}
        if bounded or any(at < 0 or at > high[p] for p, at in wanted.items()):
            high = self._true_ends(high)
        wanted = {p: high[p] if at < 0 else at for p, at in wanted.items()}
        self._positions = {p: self._checked(p, wanted[p], low[p], high[p]) for p in read}
        self._bounded, self._ends = bounded, high if bounded else {}
        self._broken, self._gone, self._astray = False, 0, set()
        self._looked_ns = self._clock.steady_ns()
        client.assign({p: at for p, at in self._positions.items() if not self.ended(p)})

    def _chosen(self, state: TopicState) -> list[int]:
        wanted = self.options.partitions
        missing = sorted(set(wanted) - state.partitions)
        if missing:
            msg = (
                f"{self._who}: option 'partitions' must name partitions of topic "
                f"'{self.options.topic}', which has 0 to {max(state.partitions)}, had {missing[0]}"
            )
            raise SqlError(msg)
        return sorted(wanted or state.partitions)

    def _starts(self, fresh: list[int], low: dict[int, int], committed: bool) -> dict[int, int]:
        """Where partitions without a position begin; -1: at the end."""
        start = self.options.start
        if start.kind == "latest":
            return dict.fromkeys(fresh, -1)
        if start.kind == "timestamp":
            asked = dict.fromkeys(fresh, start.at_ms)
            return self._opened().offsets(asked, committed=committed)
        return {p: start.offsets.get(p, low[p]) for p in fresh}

    def _true_ends(self, told: dict[int, int]) -> dict[int, int]:
        """Where partitions end now, by what a fetch from the end that was told brings.

        There are brokers that tell the first offset of the last batch in place of its last one.
        """
        client = self._opened()
        client.assign(told)
        ends = dict(told)
        aims: dict[int, int] = {}  # of partitions that have brought messages
        open_ = set(told)
        deadline = self._clock.steady_ns() + self.options.connect_timeout_ms * 1_000_000
        while open_:
            for message in client.take(10_000, 50_000_000):
                p, error = message.partition(), message.error()
                if p not in open_:
                    continue
                if error is None:
                    ends[p] = max(ends[p], message.offset() + 1)
                    aim = aims.setdefault(p, client.cached_end(p) or 0)
                    if ends[p] >= aim:  # a producer that is fast never lets us see the end
                        open_.discard(p)
                elif error.code() == client.kafka.KafkaError._PARTITION_EOF:
                    ends[p] = max(ends[p], message.offset())
                    open_.discard(p)
                elif error.code() == client.kafka.KafkaError._AUTO_OFFSET_RESET:
                    open_.discard(p)
            if open_ and self._clock.steady_ns() > deadline:
                client.unreachable()
        return ends

    def _checked(self, p: int, at: int, low: int, high: int) -> int:
        """A position that messages can be read from."""
        topic = f"partition {p} of topic '{self.options.topic}'"
        if at > high:
            what = (
                f"the position {at} lies behind the end of {topic}, which is {high}: it was "
                "deleted and made anew, or has lost messages"
            )
            raise changed(self._who, what)
        if at >= low:
            return at
        if self.options.on_expired == "earliest":
            LOGGER.warning("%s: offsets %d to %d of %s expired", self._who, at, low - 1, topic)
            return low
        what = (
            f"the position {at} of {topic} has expired: the broker keeps offsets from {low} on, so "
            f"{low - at} offsets are lost; on_expired = 'earliest' goes on without them"
        )
        raise changed(self._who, what)

    def _another(self, now: str, before: str) -> str:
        return (
            f"topic '{self.options.topic}' was deleted and made anew (its id was {before}, is "
            f"{now}), so that positions in it mean nothing any more"
        )

    # ------------------------------------------------------------ reading

    def poll(self, max_messages: int, timeout_ns: int) -> list[Polled]:  # noqa: D102
        client = self._opened()
        if self._broken:
            msg = f"{self._who}: after an error it must be closed, and opened from positions"
            raise SourceError(msg)
        if self._bounded and all(self.ended(p) for p in self._positions):
            return []
        self._broken = True  # unless we come to the end
        try:
            self._find_again(client)
            self._look_round(client)
        except NoAnswerError:
            client.away = True  # the next poll asks again
        found = client.take(max_messages, timeout_ns)
        polled = list(self._given(client, found)) if found else []
        for one in polled:
            self._positions[one.partition] = one.next_offset
        self._broken = False
        return polled

    def _given(self, client: KafkaClient, found: list[Any]) -> Iterator[Polled]:
        message = client.kafka.Message
        errors = list(map(message.error, found))
        events = []
        if any(error is not None for error in errors):
            events = [one for one, error in zip(found, errors, strict=True) if error is not None]
            found = [one for one, error in zip(found, errors, strict=True) if error is None]
        reached = {}
        for event in events:
            self._refuse(client, event.error())
            if event.error().code() == client.kafka.KafkaError._PARTITION_EOF:
                reached[event.partition()] = event.offset()
            elif event.error().code() == client.kafka.KafkaError._AUTO_OFFSET_RESET:
                self._astray.add(event.partition())
        for p, messages in self._apart(message, found):
            if not self.ended(p):
                yield self._one(client, p, messages, reached.pop(p, 0))
        for p, at in sorted(reached.items()):
            if self._positions[p] < at and not self.ended(p):
                yield self._one(client, p, [], at)

    def _apart(self, kind: Any, found: list[Any]) -> Iterator[tuple[int, list[Any]]]:
        """The messages of each partition."""
        numbers = np.fromiter(map(kind.partition, found), np.int32, len(found))
        if not found or (numbers == numbers[0]).all():
            if found:
                yield int(numbers[0]), found
            return
        for p in np.unique(numbers).tolist():
            yield p, [found[i] for i in np.flatnonzero(numbers == p).tolist()]

    def _one(self, client: KafkaClient, p: int, messages: list[Any], at_end: int) -> Polled:
        """What some messages of a partition give; its end is known where there was one."""
        kind = client.kafka.Message
        before = self._positions[p]
        offsets = np.fromiter(map(kind.offset, messages), np.int64, len(messages))
        if len(offsets) and (offsets[0] < before or (np.diff(offsets) <= 0).any()):
            went = f"offset {offsets[0]} came after {before - 1}"
            raise changed(self._who, f"the offsets of partition {p} went back: {went}")
        next_offset = max(before, int(offsets[-1]) + 1 if len(offsets) else 0, at_end)
        if self._bounded and next_offset >= self._ends[p]:
            next_offset = self._ends[p]
            n = int(np.searchsorted(offsets, next_offset))
            messages, offsets = messages[:n], offsets[:n]
            client.consumer.pause([client.place(p)])
        values = list(map(kind.value, messages))
        rows = self._rows.of(p, offsets, values, messages)
        return Polled(
            partition=p,
            rows=rows.rows,
            offsets=rows.offsets,
            next_offset=next_offset,
            bad=rows.bad,
            messages=len(messages),
            passed=rows.passed,
            arrived_ns=0 if self._bounded else self._clock.now_ns(),
        )

    def _refuse(self, client: KafkaClient, error: Any) -> None:
        """Raise what waiting does not help against; everything else passes by itself."""
        kinds = client.kafka.KafkaError
        if error.code() in (
            kinds.UNKNOWN_TOPIC_OR_PART, kinds._UNKNOWN_TOPIC, kinds._UNKNOWN_PARTITION,
        ):  # fmt: skip
            # A broker that has just started says so too: look whether the topic is gone.
            self._looked_ns -= self.options.refresh_ms * 1_000_000
        denied = (
            kinds._AUTHENTICATION, kinds.TOPIC_AUTHORIZATION_FAILED,
            kinds.GROUP_AUTHORIZATION_FAILED, kinds.SASL_AUTHENTICATION_FAILED,
        )  # fmt: skip
        if error.fatal() or error.code() in denied:
            client.refuse(error)

    def _find_again(self, client: KafkaClient) -> None:
        """Partitions of which the broker does not have what comes next.

        It has expired, or the log is another one.
        """
        if not self._astray:
            return
        committed = self.options.isolation == "read_committed"
        low = client.offsets(dict.fromkeys(self._astray, EARLIEST), committed=committed)
        high = client.offsets(dict.fromkeys(self._astray, LATEST), committed=committed)
        fresh = {p: self._checked(p, self._positions[p], low[p], high[p]) for p in self._astray}
        client.assign_more(fresh)
        self._positions |= fresh
        self._astray = set()

    def _look_round(self, client: KafkaClient) -> None:
        """Every few seconds: are there new partitions, and is it still the same topic."""
        now = self._clock.steady_ns()
        every = self.options.refresh_ms
        if now - self._looked_ns < (min(every, AWAY_MS) if client.away else every) * 1_000_000:
            return
        try:
            state = client.look()
        except NoTopicError:
            self._gone += 1
            self._looked_ns = now
            if self._gone < GONE_LOOKS:
                return
            raise changed(self._who, f"topic '{self.options.topic}' was deleted") from None
        if state is None:
            return  # the answer is on its way
        self._gone = 0
        if self._identity is not None and state.identity not in (None, self._identity):
            raise changed(self._who, self._another(str(state.identity), self._identity))
        self._identity = self._identity or state.identity
        lost = sorted(self._positions.keys() - state.partitions)
        if lost:
            what = f"partition {lost[0]} of topic '{self.options.topic}' is not there any more"
            raise changed(self._who, what)
        fresh = sorted(state.partitions - self._positions.keys())
        if fresh and not self._bounded and not self.options.partitions:
            low = client.offsets(dict.fromkeys(fresh, EARLIEST), committed=False)
            client.assign_more(low)
            self._positions |= low
        self._looked_ns = now

    # ------------------------------------------------------------ state

    def _opened(self) -> KafkaClient:
        if self._client is None:
            raise SourceError(f"{self._who}: it must be open; call open() first")
        return self._client

    @property
    def identity(self) -> str | None:  # noqa: D102
        return self._identity

    def partitions(self) -> list[int]:  # noqa: D102
        return sorted(self._positions)

    def ended(self, partition: int) -> bool:  # noqa: D102
        return self._bounded and self._positions[partition] >= self._ends[partition]

    def positions(self) -> dict[int, int]:  # noqa: D102
        return dict(self._positions)

    def lag(self) -> dict[int, int]:  # noqa: D102
        client = self._opened()
        if self._bounded:
            return {p: self._ends[p] - at for p, at in self._positions.items()}
        if client.away:
            return {}
        ends = {p: client.cached_end(p) for p in self._positions}
        return {p: max(0, end - self._positions[p]) for p, end in ends.items() if end is not None}

    def commit(self, positions: Mapping[int, int]) -> None:
        """Tell the consumer group where the reader is, for tools that show a lag."""
        if self.options.group_id:
            self._opened().commit(positions)

    def close(self) -> None:  # noqa: D102
        client, self._client = self._client, None
        if client is not None:
            client.close()
