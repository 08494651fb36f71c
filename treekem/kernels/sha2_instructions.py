"""SHA-2 of several messages side by side, written as LLVM instructions.

numba's Python has no vectors, so that the compression functions are put together here, instruction by instruction, in
two ways. `lanes` keeps one word of every message in one vector and suits any processor, since LLVM cuts the vectors to
what the processor has. `pair` uses the SHA-256 instructions of x86-64: they wait for one another within a message, so
that two messages take little longer than one.

An intrinsic takes addresses: of the digests, 64 bytes apart and big-endian; of the padded messages, `stride` bytes
apart; of their numbers of blocks; of the eight words to begin with. FIPS 180-4 §5, §6.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isqrt
from typing import Any, Final

from llvmlite import binding, ir
from numba import config, types
from numba.extending import intrinsic

_ADDRESS: Final = ir.IntType(64)
_DIGEST_ROW: Final = 64
_WORDS_OF_BLOCK: Final = 16
_Values = Sequence[ir.Value]
_Compress = Callable[["_Sha2", ir.IRBuilder, "_Values", "_Values"], "_Values"]


def _has_sha_instructions() -> bool:
    """Whether code may use them: NUMBA_CPU_FEATURES can ask for code that runs elsewhere too."""
    if not binding.get_default_triple().startswith("x86_64"):
        return False
    asked_for = vars(config)["CPU_FEATURES"]
    if asked_for is not None:
        return "+sha" in asked_for.split(",")
    return bool(binding.get_host_cpu_features().get("sha", False))


HAS_SHA_INSTRUCTIONS: Final = _has_sha_instructions()
"""Whether the SHA-256 instructions of x86-64 are used."""


def _primes(count: int) -> list[int]:
    found: list[int] = []
    candidate = 2
    while len(found) < count:
        if all(candidate % prime for prime in found):
            found.append(candidate)
        candidate += 1
    return found


def _cube_root(n: int) -> int:
    """Return the integer part of the cube root, by bisection."""
    low, high = 0, 1 << (n.bit_length() // 3 + 1)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if middle**3 <= n else (low, middle - 1)
    return low


@dataclass(frozen=True, slots=True)
class _Sha2:
    """One of the two compression functions: its width and its rotations. FIPS 180-4 §4.1."""

    bits: int
    n_rounds: int
    big_sigma0: tuple[int, int, int]
    big_sigma1: tuple[int, int, int]
    small_sigma0: tuple[int, int, int]
    small_sigma1: tuple[int, int, int]

    @property
    def word(self) -> ir.Type:
        return ir.IntType(self.bits)

    @property
    def constants(self) -> list[int]:
        """The first bits of the fractions of the cube roots of the first primes. FIPS 180-4 §4.2."""
        mask = (1 << self.bits) - 1
        return [_cube_root(prime << 3 * self.bits) & mask for prime in _primes(self.n_rounds)]

    @property
    def block_length(self) -> int:
        return 2 * self.bits


_SHA256: Final = _Sha2(32, 64, (2, 13, 22), (6, 11, 25), (7, 18, 3), (17, 19, 10))
_SHA512: Final = _Sha2(64, 80, (28, 34, 39), (14, 18, 41), (1, 8, 7), (19, 61, 6))


def initial_words(bits: int, *, first: int = 0) -> list[int]:
    """Return the initial state: the fractions of the square roots of eight primes, from the `first` on.

    SHA-384 begins with the ninth prime. FIPS 180-4 §5.3.
    """
    mask = (1 << bits) - 1
    return [isqrt(prime << 2 * bits) & mask for prime in _primes(first + 8)[first:]]


# The loop over blocks, which both ways share.


def _digest(sha2: _Sha2, n_lanes: int, compress: _Compress) -> Callable[..., tuple[object, Callable[..., object]]]:
    """Return an intrinsic's typing function, whose code hashes `n_lanes` messages from their first block to their last.

    A message that is done reads its first block again and keeps its state, until the longest is done too.
    """

    def typed(_typing: object, *_arguments: object) -> tuple[object, Callable[..., object]]:
        def generate(_context: object, builder: ir.IRBuilder, _signature: object, arguments: _Values) -> ir.Value:
            _generate_digest(sha2, n_lanes, compress, builder, arguments)
            return ir.Constant(ir.IntType(64), 0)

        return types.int64(*(types.uintp,) * 5), generate

    return typed


def _generate_digest(sha2: _Sha2, n_lanes: int, compress: _Compress, builder: ir.IRBuilder, arguments: _Values) -> None:
    digests, messages, stride, counts, initial = arguments
    lanes = range(n_lanes)
    rows = [builder.add(messages, builder.mul(stride, _ADDRESS(lane))) for lane in lanes]
    n_blocks = [_load(builder, _moved(builder, counts, 8 * lane), _ADDRESS) for lane in lanes]
    longest = n_blocks[0]
    for count in n_blocks[1:]:
        longest = builder.select(builder.icmp_unsigned(">", count, longest), count, longest)
    begin = [_load(builder, _moved(builder, initial, sha2.bits // 8 * i), sha2.word) for i in range(8)]

    def block(number: ir.Value, state: _Values) -> _Values:
        running = [builder.icmp_unsigned("<", number, count) for count in n_blocks]
        place = builder.mul(number, _ADDRESS(sha2.block_length))
        blocks = [
            builder.add(row, builder.select(runs, place, _ADDRESS(0))) for row, runs in zip(rows, running, strict=True)
        ]
        mask = _gathered(builder, running)
        compressed = compress(sha2, builder, state, blocks)
        return [builder.select(mask, builder.add(old, new), old) for old, new in zip(state, compressed, strict=True)]

    final = _repeated(builder, longest, 1, [_splat(builder, word, n_lanes) for word in begin], block)
    _store_digests(sha2, builder, digests, final, n_lanes)


def _repeated(
    builder: ir.IRBuilder, end: ir.Value, step: int, values: _Values, body: Callable[[ir.Value, _Values], _Values]
) -> _Values:
    """Return what becomes of `values` by `body`, for each number from 0 below `end` by `step`, and at least once."""
    before, start = builder.block, builder.append_basic_block("loop")
    builder.branch(start)
    builder.position_at_end(start)
    number = builder.phi(_ADDRESS)
    current = [builder.phi(value.type) for value in values]
    result = body(number, current)
    following = builder.add(number, _ADDRESS(step))
    number.add_incoming(_ADDRESS(0), before)
    number.add_incoming(following, builder.block)
    for phi, begun, done in zip(current, values, result, strict=True):
        phi.add_incoming(begun, before)
        phi.add_incoming(done, builder.block)
    after = builder.append_basic_block("done")
    builder.cbranch(builder.icmp_unsigned("<", following, end), start, after)
    builder.position_at_end(after)
    return result


def _store_digests(sha2: _Sha2, builder: ir.IRBuilder, digests: ir.Value, state: _Values, n_lanes: int) -> None:
    width = sha2.bits // 8
    for i, vector in enumerate(state):
        for lane in range(n_lanes):
            word = builder.bswap(builder.extract_element(vector, ir.IntType(32)(lane)))
            place = _moved(builder, digests, _DIGEST_ROW * lane + width * i)
            builder.store(word, builder.inttoptr(place, sha2.word.as_pointer()), align=1)


# Any processor: one word of every message in a vector.


def _compress_lanes(sha2: _Sha2, builder: ir.IRBuilder, state: _Values, blocks: _Values) -> _Values:
    """Return what the rounds make of the states, before the old states are added. FIPS 180-4 §6.2.2, §6.4.2.

    A loop over sixteen rounds, each of which makes the word that comes sixteen rounds later: the last words are made in
    vain, but the code is a quarter as long as all rounds in a row, and compiled in a quarter of the time.
    """
    constants = _table(builder, sha2)

    def sixteen_rounds(number: ir.Value, values: _Values) -> _Values:
        running, words = values[:8], list(values[8:])
        for t in range(_WORDS_OF_BLOCK):
            place = builder.gep(constants, [_ADDRESS(0), _moved(builder, number, t)])
            key = _splat(builder, builder.load(place), len(blocks))
            running = _round(sha2, builder, running, builder.add(words[0], key))
            older = _shifted_sum(builder, words[1], sha2.small_sigma0)
            newer = _shifted_sum(builder, words[14], sha2.small_sigma1)
            words = [*words[1:], builder.add(builder.add(words[0], older), builder.add(words[9], newer))]
        return [*running, *words]

    schedule = [_words_at(sha2, builder, blocks, t) for t in range(_WORDS_OF_BLOCK)]
    n_rounds = _ADDRESS(sha2.n_rounds)
    return _repeated(builder, n_rounds, _WORDS_OF_BLOCK, [*state, *schedule], sixteen_rounds)[:8]


def _words_at(sha2: _Sha2, builder: ir.IRBuilder, blocks: _Values, t: int) -> ir.Value:
    """Load word `t` of each block into one vector."""
    addresses = (_moved(builder, block, sha2.bits // 8 * t) for block in blocks)
    return _gathered(builder, [builder.bswap(_load(builder, address, sha2.word)) for address in addresses])


def _round(sha2: _Sha2, builder: ir.IRBuilder, state: _Values, word: ir.Value) -> _Values:
    """Return the state after one round; `word` is that of the schedule, with the round's constant added."""
    a, b, c, d, e, f, g, h = state
    choice = builder.xor(g, builder.and_(e, builder.xor(f, g)))
    first = builder.add(builder.add(h, _rotated_sum(builder, e, sha2.big_sigma1)), choice)
    first = builder.add(first, word)
    majority = builder.or_(builder.and_(a, b), builder.and_(c, builder.or_(a, b)))
    second = builder.add(_rotated_sum(builder, a, sha2.big_sigma0), majority)
    return builder.add(first, second), a, b, c, builder.add(d, first), e, f, g


def _table(builder: ir.IRBuilder, sha2: _Sha2) -> ir.Value:
    """Return the table of round constants, which stands in the module."""
    name = f"sha2.constants.{sha2.bits}"
    known = builder.module.globals.get(name)
    if known is not None:
        return known
    kind = ir.ArrayType(sha2.word, sha2.n_rounds)
    table = ir.GlobalVariable(builder.module, kind, name)
    table.linkage, table.global_constant = "internal", True
    table.initializer = ir.Constant(kind, sha2.constants)
    return table


def _rotated_sum(builder: ir.IRBuilder, value: ir.Value, rotations: tuple[int, int, int]) -> ir.Value:
    one, two, three = (_rotated(builder, value, by) for by in rotations)
    return builder.xor(one, builder.xor(two, three))


def _shifted_sum(builder: ir.IRBuilder, value: ir.Value, rotations: tuple[int, int, int]) -> ir.Value:
    one, two = (_rotated(builder, value, by) for by in rotations[:2])
    return builder.xor(builder.xor(one, two), builder.lshr(value, _constant(value.type, rotations[2])))


def _rotated(builder: ir.IRBuilder, value: ir.Value, by: int) -> ir.Value:
    bits = value.type.element.width
    right = builder.lshr(value, _constant(value.type, by))
    return builder.or_(right, builder.shl(value, _constant(value.type, bits - by)))


# x86-64 with SHA instructions: each message in vectors of its own.


def _compress_pair(sha2: _Sha2, builder: ir.IRBuilder, state: _Values, blocks: _Values) -> _Values:
    """Return the same as `_compress_lanes`, by instructions that do two rounds at once.

    They take the state as (F, E, B, A) and (H, G, D, C), from the lowest place on.
    """
    lanes = range(len(blocks))
    words = [[builder.extract_element(vector, ir.IntType(32)(lane)) for vector in state] for lane in lanes]
    upper = [_gathered(builder, [lane[5], lane[4], lane[1], lane[0]]) for lane in words]
    lower = [_gathered(builder, [lane[7], lane[6], lane[3], lane[2]]) for lane in words]
    four = upper[0].type
    messages = [[_four_words(builder, _moved(builder, block, 16 * i), four) for i in range(4)] for block in blocks]
    instruction = {name: _instruction(builder, f"llvm.x86.{name}", four) for name in ("sha256msg1", "sha256msg2")}
    rounds = _instruction(builder, "llvm.x86.sha256rnds2", four, n_arguments=3)
    constants = sha2.constants
    for t in range(0, sha2.n_rounds, 4):
        keys = ir.Constant(four, constants[t : t + 4])
        for lane in lanes:
            if t >= _WORDS_OF_BLOCK:
                m = messages[lane]
                partial = builder.call(instruction["sha256msg1"], [m[0], m[1]])
                partial = builder.add(partial, _shuffled(builder, m[2], m[3], (1, 2, 3, 4)))
                messages[lane] = [*m[1:], builder.call(instruction["sha256msg2"], [partial, m[3]])]
            word = builder.add(messages[lane][t // 4 if t < _WORDS_OF_BLOCK else 3], keys)
            lower[lane] = builder.call(rounds, [lower[lane], upper[lane], word])
            word = _shuffled(builder, word, word, (2, 3, 2, 3))
            upper[lane] = builder.call(rounds, [upper[lane], lower[lane], word])
    places = ((upper, 3), (upper, 2), (lower, 3), (lower, 2), (upper, 1), (upper, 0), (lower, 1), (lower, 0))
    return [
        _gathered(builder, [builder.extract_element(half[lane], ir.IntType(32)(place)) for lane in lanes])
        for half, place in places
    ]


def _four_words(builder: ir.IRBuilder, address: ir.Value, four: ir.Type) -> ir.Value:
    """Load 16 octets as four big-endian words."""
    octets = ir.VectorType(ir.IntType(8), 16)
    loaded = _load(builder, address, octets)
    order = [4 * word + octet for word in range(4) for octet in (3, 2, 1, 0)]
    return builder.bitcast(_shuffled(builder, loaded, loaded, order), four)


def _instruction(builder: ir.IRBuilder, name: str, four: ir.Type, n_arguments: int = 2) -> ir.Value:
    known = builder.module.globals.get(name)
    if known is not None:
        return known
    return ir.Function(builder.module, ir.FunctionType(four, [four] * n_arguments), name)


# Shorthands.


def _constant(kind: ir.Type, value: int) -> ir.Constant:
    return ir.Constant(kind, [value] * kind.count)


def _moved(builder: ir.IRBuilder, address: ir.Value, by: int) -> ir.Value:
    return builder.add(address, _ADDRESS(by))


def _load(builder: ir.IRBuilder, address: ir.Value, kind: ir.Type) -> ir.Value:
    return builder.load(builder.inttoptr(address, kind.as_pointer()), align=1)


def _gathered(builder: ir.IRBuilder, values: _Values) -> ir.Value:
    vector = ir.Constant(ir.VectorType(values[0].type, len(values)), ir.Undefined)
    for place, value in enumerate(values):
        vector = builder.insert_element(vector, value, ir.IntType(32)(place))
    return vector


def _splat(builder: ir.IRBuilder, value: ir.Value, n_lanes: int) -> ir.Value:
    return _gathered(builder, [value] * n_lanes)


def _shuffled(builder: ir.IRBuilder, one: ir.Value, other: ir.Value, order: Sequence[int]) -> ir.Value:
    return builder.shuffle_vector(one, other, ir.Constant(ir.VectorType(ir.IntType(32), len(order)), list(order)))


PAIR: Final = 2
"""How many messages the SHA-256 instructions take at once."""

LANES_256: Final = 8
"""How many messages SHA-256 takes at once where there are no instructions for it."""

LANES_512: Final = 8
"""How many messages SHA-384 and SHA-512 take at once."""


def _intrinsic(sha2: _Sha2, n_lanes: int, compress: _Compress) -> Any:  # noqa: ANN401  (numba is untyped)
    typed = _digest(sha2, n_lanes, compress)

    def digest(
        typing_context: object, digests: object, messages: object, stride: object, counts: object, initial: object
    ) -> tuple[object, Callable[..., object]]:
        return typed(typing_context, digests, messages, stride, counts, initial)

    return intrinsic(digest)


sha256_pair = _intrinsic(_SHA256, PAIR, _compress_pair if HAS_SHA_INSTRUCTIONS else _compress_lanes)
sha256_lanes = _intrinsic(_SHA256, LANES_256, _compress_lanes)
sha512_lanes = _intrinsic(_SHA512, LANES_512, _compress_lanes)


def _copy(_typing: object, _to: object, _source: object, _count: object) -> tuple[object, Callable[..., object]]:
    """Copy so many octets from one address to another; numba's own loop takes them one by one."""

    def generate(_context: object, builder: ir.IRBuilder, _signature: object, arguments: _Values) -> ir.Value:
        octets = ir.IntType(8).as_pointer()
        to, source, count = arguments
        copy = builder.module.declare_intrinsic("llvm.memcpy", [octets, octets, _ADDRESS])
        flat = ir.Constant(ir.IntType(1), 0)
        builder.call(copy, [builder.inttoptr(to, octets), builder.inttoptr(source, octets), count, flat])
        return ir.Constant(ir.IntType(64), 0)

    return types.int64(types.uintp, types.uintp, types.uintp), generate


def _pad(_typing: object, _to: object, _count: object, _n_bits: object) -> tuple[object, Callable[..., object]]:
    """Fill so many octets, 9 or more, with the padding of a message of so many bits. FIPS 180-4 §5.1."""

    def generate(_context: object, builder: ir.IRBuilder, _signature: object, arguments: _Values) -> ir.Value:
        octet = ir.IntType(8)
        to, count, n_bits = arguments
        fill = builder.module.declare_intrinsic("llvm.memset", [octet.as_pointer(), _ADDRESS])
        flat = ir.Constant(ir.IntType(1), 0)
        builder.call(fill, [builder.inttoptr(to, octet.as_pointer()), octet(0), count, flat])
        builder.store(octet(0x80), builder.inttoptr(to, octet.as_pointer()))
        last = builder.inttoptr(builder.sub(builder.add(to, count), _ADDRESS(8)), _ADDRESS.as_pointer())
        builder.store(builder.bswap(n_bits), last, align=1)
        return ir.Constant(ir.IntType(64), 0)

    return types.int64(types.uintp, types.uintp, types.uintp), generate


pad_octets: Any = intrinsic(_pad)
"""Pads: at an address, so many octets, of a message of so many bits."""

copy_octets: Any = intrinsic(_copy)
"""Copies: to an address, from an address, so many octets."""
