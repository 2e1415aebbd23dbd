"""Statements as others may see them: without the secrets in their options."""

from __future__ import annotations

import re
from collections.abc import Iterator

from fin_sql.sql.text import Text

_SECRET = re.compile(r"password|passwd|secret|token|credential|key_pem|api_key|jaas|sasl_oauth")
_ELSEWHERE = ("env:", "file:")  # where a secret stands, which is none itself


def masked(statement: str) -> str:
    """A statement whose secret options are '***'."""
    text = Text(statement)
    parts, cursor = [], 0
    for at in _secrets(text):
        value = text.tokens[at]
        parts += [statement[cursor : value.begin], "'***'"]
        cursor = value.end
    return "".join([*parts, statement[cursor:]])


def _secrets(text: Text) -> Iterator[int]:
    """The tokens of WITH (option = value, ...) that are secrets."""
    tokens = text.tokens
    for begin in range(1, len(tokens)):
        if not tokens[begin].says("(") or not tokens[begin - 1].says("with"):
            continue
        for at in range(begin + 1, text.closing[begin] - 2):
            named = tokens[at].names and _SECRET.search(tokens[at].text.lower())
            value = tokens[at + 2]
            elsewhere = value.kind == "string" and value.text.startswith(_ELSEWHERE)
            if named and tokens[at + 1].says("=") and not elsewhere:
                yield at + 2
