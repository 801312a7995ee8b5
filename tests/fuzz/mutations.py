"""Records mutated from good ones by a seeded generator: some ten times as many a second as hypothesis makes.

What leads to an outcome that was not seen before (a new reason, or a message) is kept, and mutated further.
"""

import json
import random
import re
import zlib
from collections.abc import Iterator, Sequence

from tests.streams.inputs.arrivals import Arrived

#: kept for further mutation; beyond this, one is replaced at random
CORPUS = 400
LONGEST = 20_000
#: of a record that is kept, so that the corpus is a megabyte and not what a process is measured to grow by
LONGEST_KEPT = 2_500
#: outcomes are told apart by so many bits of their checksum: what was seen has a fixed size
SEEN_BITS = 18
#: one token of JSON: a string, a number or word, or a character
TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|-?[0-9][0-9.eE+-]*|[a-z]+|.', re.DOTALL)
BYTES = (
    b"\x00",
    b"\xff",
    b"\xed\xa0\x80",
    b"\\u0000",
    b"\\ud800",
    b'"',
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b" ",
    b"\n",
)
KEYS: tuple[bytes | None, ...] = (None, b"", b"\xff", b"de/a", b"m0/p1", b"de/a\x00", b"de", b"/", b"a/b/c")
STAMPS = (0, -1, -(7 * 10**13), 2**62, 2**63 - 1, 1_772_452_800_000)
NAMES = ("ce_id", "ce_type", "ce_time", "ce_specversion", "flipside_order", "", "\udcff", "x" * 40)


class Mutations:
    """Batches of one kind of record; the same seed and outcomes give the same batches."""

    def __init__(self, good: bytes, key: bytes | None, spelled: Sequence[str], seed: int) -> None:
        self._chance = random.Random(seed)
        self._good = good
        self._corpus = [good]
        self._key = key
        self._spelled = [text.encode(errors="surrogatepass") for text in spelled]
        self._names = {name.decode() for name in re.findall(rb"\w+", good)}
        self._longest_kept = LONGEST_KEPT + len(good)
        self._seen = bytearray(1 << SEEN_BITS)

    def batches(self, number: int, most: int) -> Iterator[list[Arrived]]:
        """So many batches of one to ``most`` records."""
        for _ in range(number):
            yield [self._record() for _ in range(self._chance.randint(1, most))]

    def outcome(self, record: Arrived, what: str) -> None:
        """Keep a record whose outcome is new; two outcomes are one where only values and unknown names differ."""
        place = zlib.crc32(self._shape(what).encode(errors="replace")) % len(self._seen)
        if record.value is None or self._seen[place] or len(record.value) > self._longest_kept:
            return
        self._seen[place] = 1
        if len(self._corpus) < CORPUS:
            self._corpus.append(record.value)
        else:
            self._corpus[self._chance.randrange(CORPUS)] = record.value

    def _shape(self, what: str) -> str:
        """An outcome without its values. "type: field: rule": in the field, names that a good record lacks are one."""
        *where, rule = re.sub(r"'[^']*'|\"[^\"]*\"|[0-9]+", "_", what).split(": ")
        known = (word if word in self._names else "_" for word in re.findall(r"\w+", " ".join(where[1:])))
        return f"{'.'.join(dict.fromkeys(known))}: {rule[:160]}"

    def _record(self) -> Arrived:
        chance = self._chance
        value = self._good if chance.random() < 0.5 else chance.choice(self._corpus)
        for _ in range(chance.choice((0, 1, 1, 1, 2, 3, 6))):
            value = self._mutated(value)[:LONGEST]
        headers = tuple(
            (chance.choice(NAMES), chance.choice((None, b"", b"\xff", b"1", b"1.0", chance.randbytes(6))))
            for _ in range(chance.choice((0, 0, 0, 1, 2)))
        )
        other = chance.choice((*KEYS, chance.randbytes(chance.randint(0, 12))))
        key = self._key if chance.random() < 0.7 else other
        told = None if chance.random() < 0.01 else value
        return Arrived(told, 7, 1, chance.choice(STAMPS), key=key, headers=headers)

    def _mutated(self, value: bytes) -> bytes:
        chance = self._chance
        if chance.random() < 0.35:
            return self._bytes_changed(value)
        tokens = TOKEN.findall(value)
        if not tokens:
            return chance.choice(self._corpus)
        at = chance.randrange(len(tokens))
        action = chance.randrange(7)
        if action == 0:
            tokens[at] = chance.choice(self._spelled)
        elif action == 1:
            del tokens[at : at + chance.randint(1, 4)]
        elif action == 2:
            tokens[at:at] = tokens[at : at + chance.randint(1, 8)]
        elif action == 3:
            other = TOKEN.findall(chance.choice(self._corpus)) or [b"null"]
            start = chance.randrange(len(other))
            tokens[at:at] = other[start : start + chance.randint(1, 8)]
        elif action == 4:
            tokens[at] = str(self._number()).encode()
        elif action == 5:
            tokens[at] = json.dumps(
                chance.choice(("", "\u202e", "é" * 70, "a/b", " ", "\x7f", "𝄞", "x" * 300))
            ).encode()
        else:
            tokens[at] = chance.choice((b"[", b'{"a":')) * chance.choice((1, 3, 200)) + tokens[at]
        return b"".join(tokens)

    def _bytes_changed(self, value: bytes) -> bytes:
        chance = self._chance
        at, end = chance.randint(0, len(value)), chance.randint(0, 4)
        put = chance.choice((b"", chance.choice(BYTES), chance.randbytes(chance.randint(1, 4))))
        return value[:at] + put + value[at + end :]

    def _number(self) -> int | float:
        chance = self._chance
        power = chance.choice((7, 8, 15, 16, 31, 32, 53, 63, 64, 200))
        return chance.choice(
            (0, -1, 1, 2**power, 2**power - 1, -(2**power), chance.random(), chance.randint(-(10**6), 10**6))
        )
