from collections.abc import Collection, Iterable, Mapping

import pyarrow as pa

from fin_sql.catalog.rows import Decoded, Field

class AvroDecoder:
    fields: tuple[Field, ...]
    schema: pa.Schema
    def __init__(
        self,
        fields: Iterable[Field],
        schema: str | None = None,
        schemas: Mapping[int, str] | None = None,
        encoded: Collection[str] = (),
    ) -> None: ...
    def decode(self, messages: Iterable[bytes | None]) -> Decoded: ...
