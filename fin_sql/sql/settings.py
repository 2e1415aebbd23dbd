"""SET and SHOW of what a session of fin_sql can be told; other settings are DataFusion's."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from fin_sql.sql.text import Text

VALUES = {"deterministic": ("off", "on"), "windows": ("fin_sql", "datafusion")}
_WORDS = {"true": "on", "false": "off"}
SHOWN = pa.schema([("name", pa.string()), ("value", pa.string())])


@dataclass(frozen=True)
class Setting:
    """A statement about a setting.

    Args:
        name: of the setting.
        value: what it becomes; None shows it.
    """

    name: str
    value: str | None = None

    @property
    def schema(self) -> pa.Schema:
        """Of what it answers."""
        return SHOWN if self.value is None else pa.schema([])


def read_setting(text: Text, end: int) -> Setting | None:
    """SET or SHOW of a setting of ours; None of any other statement.

    Raises:
        SqlError: a setting does not take the value; the place is underlined.
    """
    tokens = text.tokens
    if end < 2 or not tokens[0].says("set", "show") or tokens[1].text not in VALUES:
        return None
    name = tokens[1].text
    if tokens[0].says("show"):
        if end > 2:
            text.fail("the end of the statement was expected", 2, end)
        return Setting(name)
    given = tokens[3].text.lower() if end == 4 else ""
    given = _WORDS.get(given, given)
    if not tokens[2].says("=", "to") or given not in VALUES[name]:
        text.fail(f"SET {name} = {' | '.join(VALUES[name])} was expected", 0, end)
    return Setting(name, given)
