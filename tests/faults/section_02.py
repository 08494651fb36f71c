"""Faults in the presentation language, and the codec without each of its checks. RFC 9420 §2."""

from __future__ import annotations

from mls import Client, Group
from tests.support.planting import Edit, Fault
from treekem.secrets import Secret
from treekem.wire import codec, decoder, encoder, varint

WITHOUT_A_CHECK = [
    Fault(
        "R-2.1-01",
        "integers are cut to their width",
        Edit(encoder._Writer.parts, "{value}.to_bytes({width}", "({value} & {(1 << 8 * width) - 1}).to_bytes({width}"),
    ),
    Fault(
        "R-2.1-02",
        "a struct stands for another one",
        Edit(encoder._Writer.struct_parts, "type(value) is not {self.source.bind(shape.kind)}", "False"),
    ),
    Fault(
        "R-2.1-04",
        "an arm is written though it is not selected",
        Edit(
            encoder._Writer._when_part, "(value.{shape.field})) == ({value} is None)", "(value.{shape.field})) is None"
        ),
    ),
    Fault(
        "R-2.1-05",
        "a fixed array has any length",
        Edit(encoder._Writer.parts, 'f"len({value}) != {length}"', '"False"'),
    ),
    Fault(
        "R-2.1-07",
        "what runs out is returned short",
        Edit(codec.decode, "end == len(data)", "end >= len(data)"),
    ),
    Fault(
        "R-2.1-08",
        "what stands behind the object is ignored",
        Edit(codec.decode, "end == len(data)", "0 <= end <= len(data)"),
    ),
    Fault(
        "R-2.1-09",
        "an element may straddle the end of its vector",
        Edit(decoder._elements_of, "pos != end", "False"),
        Edit(decoder._Writer._read_vector, "(pos - {start}) % {width}", "False"),
    ),
    Fault(
        "R-2.1-10",
        "a closed enum keeps any number",
        Edit(decoder._Writer.read, "for member in kind})}[{target}]", "for member in kind})}.get({target}, {target})"),
    ),
    Fault(
        "R-2.1-13",
        "an unknown tag selects the first arm",
        Edit(
            decoder._Writer.read,
            "{decoders}[{target}](buf",
            "{decoders}.get({target}, {decoders}[min({decoders})])(buf",
        ),
    ),
    Fault(
        "R-2.1.1-02",
        "any octet but 1 says that a value is absent",
        Edit(decoder._Writer._read_optional, "elif {target} == 0", "elif {target} != 1"),
    ),
    Fault(
        "R-2.1.2-05",
        "a vector may be longer than what encloses it",
        Edit(decoder._Writer._read_vector, "pos > size", "False"),
    ),
]

FAULTS = [
    Fault(
        "R-2-01",
        "a secret shows itself",
        Edit(Secret.__repr__, "{len(self)} bytes", "{self._buffer!r}"),
    ),
    Fault(
        "R-2-02",
        "a commit is merged in another epoch than its own",
        Edit(Group._decided, "staged.base is standing.state", "True"),
    ),
    Fault(
        "R-2-03",
        "a second client moves into a store",
        Edit(Client.create, "store.read(CLIENT_KEY) is not None", "False"),
    ),
    *WITHOUT_A_CHECK,
    Fault(
        "R-2.1-03",
        "every enum takes two bytes",
        Edit(encoder._Writer.parts, "member.to_bytes(width, 'big')", "member.to_bytes(2, 'big')"),
    ),
    Fault(
        "R-2.1-06",
        "a vector counts its elements",
        Edit(encoder._Writer._vector_parts, 'f"len({content})"', 'f"len({value})"'),
    ),
    Fault(
        "R-2.1-11",
        "unknown numbers are dropped from a list",
        Edit(
            decoder._Writer._read_vector,
            '{code}", buf, {start})',
            '{code}", buf, {start}); {target} = tuple(n for n in {target} if n < 0x0A00)',
        ),
    ),
    Fault(
        "R-2.1-12",
        "a version takes a byte less than it should",
        Edit(
            decoder._Writer._read_uint,
            "{target} = buf[pos] << 8 | buf[pos + 1]; pos += 2",
            "{target} = min(buf[pos] << 8 | buf[pos + 1], 1); pos += 2",
        ),
    ),
    Fault(
        "R-2.1-14",
        "a length header may be longer than needed",
        Edit(varint.decode_long_varint, "n >= least", "True"),
    ),
    Fault(
        "R-2.1-15",
        "input that ends too early raises what it raises",
        Edit(codec.decode, "except decoder.REFUSALS:", "except KeyError:"),
    ),
    Fault(
        "R-2.1.1-01",
        "an absent value leaves nothing behind",
        Edit(encoder._Writer._optional_part, 'b"\\\\0"', 'b""'),
    ),
    Fault(
        "R-2.1.2-01",
        "the top bits of a header are those of another size",
        Edit(varint.encode_varint, "n | 0x4000)", "n | 0x8000)"),
    ),
    Fault(
        "R-2.1.2-02",
        "63 bytes get a header of two bytes",
        Edit(varint.encode_varint, "0 <= n < _TWO_BYTES:", "0 <= n < _TWO_BYTES - 1:"),
    ),
    Fault(
        "R-2.1.2-08",
        "an empty vector leaves nothing behind",
        Edit(encoder._Writer._header, "bytes((n,)) for n in range(64)", "bytes((n,))[: n or 0] for n in range(64)"),
    ),
]
