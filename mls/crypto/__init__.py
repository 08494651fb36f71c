"""Cipher suites: everything cryptographic that RFC 9420 asks for, under one value per suite.

>>> cipher_suite(1).name
'MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519'

RFC 9420 §5.1, §5.2, §17.1; RFC 9180.
"""

from mls.crypto.hpke import HPKE, HPKEExport, KeyScheduleContext
from mls.crypto.signatures import SignatureKeyPair, SignaturePrivateKey, VerificationKey
from mls.crypto.suites import SUITES, CipherSuite, cipher_suite
from treekem.suite import Entropy, HPKEKeyPair, HPKEPrivateKey

__all__ = [
    "HPKE",
    "SUITES",
    "CipherSuite",
    "Entropy",
    "HPKEExport",
    "HPKEKeyPair",
    "HPKEPrivateKey",
    "KeyScheduleContext",
    "SignatureKeyPair",
    "SignaturePrivateKey",
    "VerificationKey",
    "cipher_suite",
]
