"""Pre-shared keys and their combination into one secret. RFC 9420 §8.4."""

from __future__ import annotations

from collections.abc import Sequence

from mls.crypto import CipherSuite
from mls.errors import Code, InvalidMessage
from mls.messages import PreSharedKeyID, PSKLabel
from mls.rules import require
from mls.schedule.key_schedule import PSKSecret, revealed
from treekem.secrets import Secret
from treekem.wire import encode

_MAX_COUNT = 0xFFFF


class PSK(Secret):
    """A pre-shared key, external or an epoch's resumption_psk; any length."""

    __slots__ = ()


def psk_secret(suite: CipherSuite, psks: Sequence[tuple[PreSharedKeyID, PSK]]) -> PSKSecret:
    """Combine pre-shared keys, in the order of the commit or of the GroupSecrets; none give Nh zero bytes.

    Each link takes its salt from a PSK and its input from the link before, as the formula of §8.4 says and its figure
    does not. Raises InvalidMessage for more than 65535 keys.

    RFC 9420 §8.4.
    """
    count = len(psks)
    require(count <= _MAX_COUNT, InvalidMessage, "R-8.4-09", f"{count} PSKs do not fit a uint16", code=Code.PSK_INVALID)

    chained: Secret = PSKSecret(bytes(suite.hash_length))
    for index, (psk_id, psk) in enumerate(psks):
        psk_input = _psk_input(suite, PSKLabel(psk_id, index, count), psk)
        longer = suite.extract(psk_input, chained)
        psk_input.wipe()
        chained.wipe()
        chained = longer

    return PSKSecret(revealed(chained))


def _psk_input(suite: CipherSuite, label: PSKLabel, psk: PSK) -> Secret:
    extracted = suite.extract(bytes(suite.hash_length), psk)
    psk_input = suite.expand_with_label(extracted, b"derived psk", encode(label), suite.hash_length, Secret)
    extracted.wipe()
    return psk_input
