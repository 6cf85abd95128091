"""The bits of a claim: one for each of its events, set when that is settled; little-endian."""

from collections.abc import Iterable


def is_set(bits: bytes | bytearray, bit: int) -> bool:
    """Whether an event of a claim is settled."""
    return bool(bits[bit >> 3] >> (bit & 7) & 1)


def set_bit(bits: bytearray, bit: int) -> None:
    """Settle an event of a claim."""
    bits[bit >> 3] |= 1 << (bit & 7)


def all_set_but(wanted: Iterable[int], count: int) -> bytearray:
    """The bits of a claim of so many events of which only the wanted ones are to be handled."""
    bits = bytearray((count + 7) // 8)
    for bit in set(range(count)) - set(wanted):
        set_bit(bits, bit)
    return bits


def open_bits(bits: bytes, count: int) -> list[int]:
    """Those that are not settled."""
    return [bit for bit in range(count) if not is_set(bits, bit)]


def settled(bits: bytes | bytearray) -> int:
    """How many are settled."""
    return int.from_bytes(bits, "little").bit_count()
