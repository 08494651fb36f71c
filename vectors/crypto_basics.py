"""Kind crypto-basics: each labelled operation of a cipher suite."""

from __future__ import annotations

from collections.abc import Iterator

from mls.crypto import CipherSuite
from treekem.secrets import Secret
from treekem.suite import Entropy
from vectors.case import (
    Case,
    Kind,
    Recipe,
    expect,
    expect_octets,
    hpke_private_key,
    number,
    octets,
    part,
    signature_private_key,
    suite_of,
    text,
)


def verify_crypto_basics(case: Case, entropy: Entropy) -> None:
    """Compare what is deterministic; sign and encrypt anew what is not."""
    suite = suite_of(case)
    ref = part(case, "ref_hash")
    expect_octets(suite.ref_hash(text(ref, "label"), octets(ref, "value")), ref, "out", "ref_hash.")
    _verify_derivations(suite, case)
    _verify_signature(suite, part(case, "sign_with_label"))
    _verify_encryption(suite, part(case, "encrypt_with_label"), entropy)


def _verify_derivations(suite: CipherSuite, case: Case) -> None:
    stated = part(case, "expand_with_label")
    secret, length = Secret(octets(stated, "secret")), number(stated, "length")
    expanded = suite.expand_with_label(secret, text(stated, "label"), octets(stated, "context"), length, Secret)
    expect_octets(expanded, stated, "out", "expand_with_label.")

    stated = part(case, "derive_secret")
    derived = suite.derive_secret(Secret(octets(stated, "secret")), text(stated, "label"), Secret)
    expect_octets(derived, stated, "out", "derive_secret.")

    stated = part(case, "derive_tree_secret")
    secret, generation, length = (
        Secret(octets(stated, "secret")),
        number(stated, "generation"),
        number(stated, "length"),
    )
    derived = suite.derive_tree_secret(secret, text(stated, "label"), generation, length, Secret)
    expect_octets(derived, stated, "out", "derive_tree_secret.")


def _verify_signature(suite: CipherSuite, stated: Case) -> None:
    private, public = signature_private_key(suite, stated, "priv"), octets(stated, "pub")
    label, content = text(stated, "label"), octets(stated, "content")
    expect_octets(suite.signature_public_key(private), stated, "pub", "sign_with_label.")
    suite.verify_with_label(public, label, content, octets(stated, "signature"))
    suite.verify_with_label(public, label, content, suite.sign_with_label(private, label, content))


def _verify_encryption(suite: CipherSuite, stated: Case, entropy: Entropy) -> None:
    private, public = hpke_private_key(suite, stated, "priv"), octets(stated, "pub")
    label, context, plaintext = text(stated, "label"), octets(stated, "context"), octets(stated, "plaintext")
    expect_octets(suite.hpke_public_key(private), stated, "pub", "encrypt_with_label.")
    theirs = (octets(stated, "kem_output"), octets(stated, "ciphertext"))
    opened = suite.decrypt_with_label(private, label, context, *theirs)
    expect_octets(opened, stated, "plaintext", "encrypt_with_label.")
    ours = suite.encrypt_with_label(public, label, context, plaintext, entropy)
    expect(suite.decrypt_with_label(private, label, context, *ours), plaintext, "the plaintext encrypted anew")


def generate_crypto_basics(recipe: Recipe) -> Iterator[Case]:
    """Yield one case."""
    suite, entropy = recipe.suite, recipe.entropy
    value = entropy(suite.hash_length)
    yield {
        "cipher_suite": suite.id,
        "ref_hash": {"label": "RefHash", "value": value.hex(), "out": suite.ref_hash(b"RefHash", value).hex()},
        **_derivations(suite, entropy),
        "sign_with_label": _signature(suite, entropy),
        "encrypt_with_label": _encryption(suite, entropy),
    }


def _derivations(suite: CipherSuite, entropy: Entropy) -> Case:
    first, second, third, context = (entropy(suite.hash_length) for _ in range(4))
    length, generation = suite.aead_key_length, int.from_bytes(entropy(4), "big")
    expanded = suite.expand_with_label(Secret(first), b"ExpandWithLabel", context, length, Secret)
    derived = suite.derive_secret(Secret(second), b"DeriveSecret", Secret)
    of_tree = suite.derive_tree_secret(Secret(third), b"DeriveTreeSecret", generation, length, Secret)
    return {
        "expand_with_label": {
            "secret": first.hex(),
            "label": "ExpandWithLabel",
            "context": context.hex(),
            "length": length,
            "out": expanded.expose().hex(),
        },
        "derive_secret": {"secret": second.hex(), "label": "DeriveSecret", "out": derived.expose().hex()},
        "derive_tree_secret": {
            "secret": third.hex(),
            "label": "DeriveTreeSecret",
            "generation": generation,
            "length": length,
            "out": of_tree.expose().hex(),
        },
    }


def _signature(suite: CipherSuite, entropy: Entropy) -> Case:
    keys, content = suite.generate_signature_key_pair(entropy), entropy(50)
    return {
        "priv": keys.private.expose().hex(),
        "pub": keys.public.hex(),
        "content": content.hex(),
        "label": "SignWithLabel",
        "signature": suite.sign_with_label(keys.private, b"SignWithLabel", content).hex(),
    }


def _encryption(suite: CipherSuite, entropy: Entropy) -> Case:
    keys, context, plaintext = suite.generate_key_pair(entropy), entropy(40), entropy(60)
    sealed = suite.encrypt_with_label(keys.public, b"EncryptWithLabel", context, plaintext, entropy)
    return {
        "priv": keys.private.expose().hex(),
        "pub": keys.public.hex(),
        "label": "EncryptWithLabel",
        "context": context.hex(),
        "plaintext": plaintext.hex(),
        "kem_output": sealed[0].hex(),
        "ciphertext": sealed[1].hex(),
    }


_FIELDS = (
    "cipher_suite",
    "ref_hash",
    "expand_with_label",
    "derive_secret",
    "derive_tree_secret",
    "sign_with_label",
    "encrypt_with_label",
)
KINDS = (Kind("crypto-basics", frozenset(_FIELDS), verify_crypto_basics, generate_crypto_basics),)
