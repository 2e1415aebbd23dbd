from collections.abc import Collection, Iterable

import pyarrow as pa

from fin_sql.catalog.rows import Condition, Decoded, Field

class JsonDecoder:
    fields: tuple[Field, ...]
    unnest: tuple[str, ...]
    where: tuple[Condition, ...]
    schema: pa.Schema
    def __init__(
        self,
        fields: Iterable[Field],
        unnest: Iterable[str] = (),
        where: Iterable[Condition] = (),
        encoded: Collection[str] = (),
    ) -> None: ...
    def decode(self, messages: Iterable[bytes | None]) -> Decoded: ...
