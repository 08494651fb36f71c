"""Kind welcome: a Welcome, decrypted and checked without its tree. RFC 9420 §12.4.3.1."""

from __future__ import annotations

from collections.abc import Iterator

from mls import Add
from mls.epoch.leaves import verify_signature
from mls.epoch.welcome import key_package_ref, open_group_info, open_group_secrets
from mls.messages import KeyPackage, Welcome, encode_unsigned
from mls.schedule.key_schedule import derive_epoch_secrets
from mls.schedule.psk import psk_secret
from mls.schedule.transcript import verify_confirmation_tag
from treekem.suite import Entropy
from treekem.wire import encode
from vectors.actors import create_actor
from vectors.case import Case, Kind, Recipe, expect, hpke_private_key, message_body, octets, suite_of


def verify_welcome(case: Case, entropy: Entropy) -> None:
    """Open the secrets and the GroupInfo; check its signature, and its confirmation tag by the key schedule."""
    del entropy
    suite = suite_of(case)
    package = message_body(octets(case, "key_package"), KeyPackage, "key_package")
    welcome = message_body(octets(case, "welcome"), Welcome, "welcome")
    expect((package.cipher_suite, welcome.cipher_suite), (suite.id, suite.id), "the cipher suites of the messages")
    init_key = hpke_private_key(suite, case, "init_priv")
    expect(suite.hpke_public_key(init_key), package.init_key, "init_priv, as a public key")
    secrets = open_group_secrets(suite, welcome, key_package_ref(suite, package), init_key)
    expect(len(secrets.psks), 0, "the number of PSKs")
    injected = psk_secret(suite, ())
    info = open_group_info(suite, welcome, secrets.joiner_secret, injected)
    tbs, signer = encode_unsigned(info), octets(case, "signer_pub")
    verify_signature(suite, signer, b"GroupInfoTBS", tbs, info.signature, "R-12.4.3.1-11", "the GroupInfo's")
    epoch = derive_epoch_secrets(suite, secrets.joiner_secret, injected, encode(info.group_context))
    confirmed = info.group_context.confirmed_transcript_hash
    verify_confirmation_tag(suite, epoch.confirmation_key, confirmed, info.confirmation_tag)


def generate_welcome(recipe: Recipe) -> Iterator[Case]:
    """Yield a Welcome without a path secret, and, but for a small set, one with one."""
    for path in (False,) if recipe.small else (False, True):
        founder, joiner = (create_actor(recipe.suite.id, name, recipe.entropy) for name in (b"founder", b"joiner"))
        key_package = joiner.key_package()
        commit = founder.create_group().commit([Add(key_package)], path=path)
        yield {
            "cipher_suite": recipe.suite.id,
            "init_priv": joiner.bundle().init_key.expose().hex(),
            "signer_pub": founder.client.signature_key.hex(),
            "key_package": key_package.hex(),
            "welcome": (commit.welcome or b"").hex(),
        }


_FIELDS = ("cipher_suite", "init_priv", "signer_pub", "key_package", "welcome")
KINDS = (Kind("welcome", frozenset(_FIELDS), verify_welcome, generate_welcome),)
