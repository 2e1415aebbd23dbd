"""Documents of JSON drawn at random, as odd as the grammar allows; and messages of exchanges."""

import datetime
import json
import math
import struct

NAMES = [
    "a", "b", "", "data", "x y", 'odd"', "é", "longer_than_8", "longer_than_sixteen_bytes",
    "longer_then_sixteen_bytes", "\\", "\U0001f600",
]  # fmt: skip
STEPS = [
    ".a", ".b", "['']", ".data", "['x y']", "['odd\"']", ".é", ".longer_than_8",
    ".longer_than_sixteen_bytes", ".longer_then_sixteen_bytes", r"['\\']", "['\U0001f600']",
    "[0]", "[1]", "[-1]", "[-2]",
]  # fmt: skip
TRAPS = [
    "-0", "0", "1", "5.0", "1e3", "12.50", "-0.0", "1E-2", "5.5", "9007199254740993", "2e18",
    "9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809",
    "18446744073709551615", "18446744073709551616", "127", "128", "-128", "-129", "65535", "65536",
    "253402300799", "1e400", "-1e400", "1e-400", "5e-324", "2.5e-324", "0e99", "1e39", "3.4e38",
    "999.99", "1000.00", "0.005", "1618678133.365913", "1626992741012", "1.5e1", "100e-2", "2e38",
    "12345678901234567890123456789.0123456789", "-9223372036.854775807", "9223372036.8547758079",
]  # fmt: skip
ODD_TEXTS = [
    "NaN", "Infinity", "-Infinity", "inf", "", " 1", "1 ", "+1", "01", "1.", ".5", "1e", "--1",
    "0x1", "true", "false", "True", "null", "2021-02-29", "2020-02-29", "1900-02-29", "2000-02-29",
    "2021-04-17T24:00:00Z", "2021-04-17T23:59:60Z", "2021-04-17T16:43:37.0897231234Z", "2021-4-17",
    "2021-04-17T16:43:37.Z", "2021-04-17T16:43:37+0530", "2021-04-17T16:43:37-05", "20210417",
    "2021-04-17t16:43:37.1z", "2021-04-17 16:43", "2021-04-17T16", "2021-04-17T16:43:37+05:3",
    "1677-09-21T00:12:43.145224193Z", "1677-09-21T00:12:43.145224192Z", "1677-09-21", "1677-09-22",
    "2262-04-11T23:47:16.854775807Z", "2262-04-11T23:47:16.854775808Z", "2262-04-12", "0000-01-01",
    "2021-04-17T16:43:37,5Z", "2021-04-17T16:43:37.5 Z", "2021-00-10", "2021-13-10", "2021-01-00",
]  # fmt: skip


class Writer:
    """Draws documents.

    Args:
        rng: a random.Random.
        damage: how many of the messages are changed by a byte or two.
    """

    def __init__(self, rng, damage=0.1):
        self.rng, self.damage = rng, damage

    def blank(self):
        return self.rng.choice(["", "", "", "", " ", "\n", "\t \r"])

    def number(self):
        rng = self.rng
        way = rng.randrange(7)
        if way == 0:
            return str(rng.randrange(-(10 ** rng.randrange(1, 25)), 10 ** rng.randrange(1, 25)))
        if way == 1:
            value = struct.unpack("d", rng.randbytes(8))[0]
            return repr(value) if math.isfinite(value) else "0.1"
        if way == 2:
            return f"{rng.randrange(10**6)}.{rng.randrange(10**8):08}"
        if way == 3:
            return str(rng.randrange(1_500_000_000, 1_700_000_000) * 1000 ** rng.randrange(4))
        if way == 4:
            return str(rng.randrange(-200, 300))
        if way == 5:
            digits = "".join(rng.choices("0123456789", k=rng.randrange(1, 45)))
            whole = digits.lstrip("0") or "0"
            part = "." + "".join(rng.choices("0123456789", k=rng.randrange(1, 30)))
            power = rng.choice(["e", "E"]) + rng.choice(["", "+", "-"]) + str(rng.randrange(400))
            return (
                rng.choice(["", "-"]) + whole + rng.choice(["", part]) + rng.choice(["", "", power])
            )
        return rng.choice(TRAPS)

    def time(self):
        rng = self.rng
        at = datetime.datetime(1600, 1, 1) + datetime.timedelta(
            seconds=rng.randrange(22_000_000_000)
        )
        text = at.isoformat(sep=rng.choice("T T"))
        text = text[: rng.choice([10, 16, 19, 19, 19])]
        if len(text) == 19 and rng.random() < 0.7:
            text += "." + "".join(rng.choices("0123456789", k=rng.randrange(1, 11)))
        return text + rng.choice(["", "Z", "Z", "+05:30", "-0800", "+01", "-23:59"])

    def text(self):
        rng = self.rng
        way = rng.randrange(6)
        if way == 0:
            return self.number()
        if way == 1:
            return self.time()
        if way == 2:
            return rng.choice(ODD_TEXTS)
        if way == 3:
            return "".join(
                rng.choices("abcXYZ-/ ", k=rng.choice([0, 1, 3, 7, 8, 9, 15, 16, 17, 40]))
            )
        return "".join(self.char() for _ in range(rng.randrange(12)))

    def char(self):
        top = self.rng.choice([0x20, 0x80, 0x80, 0x800, 0x10000, 0x110000])
        code = self.rng.randrange(top)
        return chr(code) if not 0xD800 <= code < 0xE000 else "?"

    def string(self, text):
        """As some writer would write it: each character as it is or as an escape."""
        parts = []
        odd = self.rng.random()
        for char in text:
            short = json.dumps(char)[1:-1]
            units = char.encode("utf-16-be")
            long = "".join(f"\\u{units[k : k + 2].hex()}" for k in range(0, len(units), 2))
            if self.rng.random() >= odd:
                parts.append(char if char not in '"\\' and char >= " " else short)
            else:
                parts.append(self.rng.choice([short, long, long.upper().replace("U", "u")]))
        if self.rng.random() < 0.01:
            parts.insert(
                self.rng.randrange(len(parts) + 1), self.rng.choice(["\\ud83d", "\\ude00"])
            )
        return f'"{"".join(parts)}"'

    def value(self, depth=0):
        rng = self.rng
        way = rng.random()
        if way < 0.3 and depth < 5:
            return self.object(depth + 1) if way < 0.15 else self.array(depth + 1)
        if way < 0.6:
            return self.number()
        return self.string(self.text()) if way < 0.9 else rng.choice(["true", "false", "null"])

    def joined(self, items, brackets):
        text = ",".join(self.blank() + item + self.blank() for item in items) or self.blank()
        return brackets[0] + text + brackets[1]

    def array(self, depth=0):
        return self.joined([self.value(depth) for _ in range(self.rng.randrange(5))], "[]")

    def object(self, depth=0):
        names = self.rng.choices(NAMES, k=self.rng.randrange(6 if depth else 16))
        return self.joined(
            [
                self.string(name)
                + self.blank()
                + ":"
                + self.blank()
                + (self.array(depth) if name in ("a", "data") and depth < 3 else self.value(depth))
                for name in names
            ],
            "{}",
        )

    def message(self):
        """Bytes, or at times None."""
        rng = self.rng
        way = rng.random()
        if way < 0.03:
            return rng.choice([None, b"", b" "])
        text = self.object() if way < 0.8 else self.array() if way < 0.95 else self.value()
        message = (self.blank() + text + self.blank()).encode()
        return damaged(rng, message) if rng.random() < self.damage else message

    def path(self, steps=3, inner=""):
        """A path that the documents often have."""
        n = self.rng.choice([0, 1, 1, 1, 1, 2, 2, 3][: 5 + steps])
        return self.rng.choice("$" + inner) + "".join(self.rng.choices(STEPS, k=n))


def damaged(rng, message):
    """A message with a few bytes cut, put in, doubled or changed."""
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(message) + 1)
        end = min(len(message), at + rng.randrange(1, 9))
        way = rng.randrange(6)
        if way == 0:
            message = message[:at] + message[end:]
        elif way == 1:
            message = message[:at]
        elif way == 2:
            message = message[:at] + rng.choice(list(PIECES)) + message[at:]
        elif way == 3:
            message = message[:end] + message[at:]
        elif way == 4:
            message = message[:at] + rng.randbytes(1) + message[at + 1 :]
        else:
            message = message[:at] + rng.choice(list(PIECES)) + message[at + 1 :]
    return message


PIECES = [
    b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"-", b".", b"e", b"0", b"1", b"\\u", b"\\u00",
    b"\x00", b"\x1f", b"\x7f", b"\x80", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xff",
    b"\xe2\x82\xac", b"\xf0\x9f\x98\x80", b"null", b"true", b"tru", b"nul", b"NaN", b"Infinity",
    b" ", b"\n", b"\xef\xbb\xbf", b"/**/", b"'", b"1e5", b"00", b'""', b"{}", b"[]", b"\\ud800",
]  # fmt: skip

FEEDS = [
    b'{"e":"aggTrade","E":1626992741575,"a":16599292,"s":"CTKUSDT","p":"1.01100","q":"10",'
    b'"f":23961322,"l":23961322,"T":1626992741421,"m":false}',
    b'{"stream":"sushiusdt@bookTicker","data":{"e":"bookTicker","u":600859600576,"s":"SUSHIUSDT",'
    b'"b":"7.6110","B":"2","a":"7.6120","A":"297","T":1626992741012,"E":1626992741017}}',
    b'{"type":"match","trade_id":280232,"maker_order_id":"2a0da34e-61f7-4c36-88e5-c9dd15927b16",'
    b'"taker_order_id":"3c82abaa-c01e-4608-be59-6a1e69742891","side":"sell","size":"985",'
    b'"price":"0.00001305","product_id":"SKL-BTC","sequence":177100030,'
    b'"time":"2021-04-17T16:43:37.089723Z"}',
    b'{"table":"trade","action":"insert","data":[{"timestamp":"2021-07-22T22:36:10.014Z",'
    b'"symbol":"UNIUSDT","side":"Buy","size":52,"price":17.297,"tickDirection":"PlusTick",'
    b'"homeNotional":16.73101673101673,"foreignNotional":289.39639639639637}]}',
    b'[1920,{"a":[["0.042990","364630.28272081","1618678145.920470"]]},'
    b'{"b":[["0.042990","0.00000000","1618678145.920708"]],"c":"4105471083"},"book-1000","SC/EUR"]',
    b'{"channelID":1664,"channelName":"book-1000","event":"subscriptionStatus","pair":"WAVES/EUR",'
    b'"status":"subscribed","subscription":{"depth":1000,"name":"book"}}',
]
