"""The primitives under each operation: HPKE, signatures, and the labelled key derivations. RFC 9420 §5.1, §8."""

from __future__ import annotations

import os
from typing import Final

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from mls.crypto import CipherSuite, cipher_suite
from mls.schedule.key_schedule import EpochSecret, epoch_secrets_of
from treekem.secrets import Secret

SUITES: Final = (1, 2, 7)
_CONTEXT: Final = bytes(200)
_CONTENT: Final = bytes(500)


@pytest.fixture(params=SUITES, ids=lambda number: f"suite {number}")
def suite(request: pytest.FixtureRequest) -> CipherSuite:
    return cipher_suite(request.param)


def bench_hpke_seal(benchmark: BenchmarkFixture, suite: CipherSuite) -> None:
    pair = suite.generate_key_pair(os.urandom)
    benchmark(suite.encrypt_with_label, pair.public, b"UpdatePathNode", _CONTEXT, bytes(32), os.urandom)


def bench_hpke_seal_in_a_prepared_context(benchmark: BenchmarkFixture, suite: CipherSuite) -> None:
    pair, context = suite.generate_key_pair(os.urandom), suite.seal_context(b"UpdatePathNode", _CONTEXT)
    benchmark(suite.seal, pair.public, context, bytes(32), os.urandom)


def bench_hpke_open(benchmark: BenchmarkFixture, suite: CipherSuite) -> None:
    pair = suite.generate_key_pair(os.urandom)
    sealed = suite.encrypt_with_label(pair.public, b"UpdatePathNode", _CONTEXT, bytes(32), os.urandom)
    opened = benchmark(suite.decrypt_with_label, pair.private, b"UpdatePathNode", _CONTEXT, *sealed)
    assert opened == bytes(32)


def bench_derive_key_pair(benchmark: BenchmarkFixture, suite: CipherSuite) -> None:
    benchmark(suite.derive_key_pair, Secret(bytes(suite.hash_length)))


def bench_sign(benchmark: BenchmarkFixture, suite: CipherSuite) -> None:
    pair = suite.generate_signature_key_pair(os.urandom)
    benchmark(suite.sign_with_label, pair.private, b"FramedContentTBS", _CONTENT)


def bench_verify(benchmark: BenchmarkFixture, suite: CipherSuite) -> None:
    pair = suite.generate_signature_key_pair(os.urandom)
    signature = suite.sign_with_label(pair.private, b"FramedContentTBS", _CONTENT)
    benchmark(suite.verify_with_label, pair.public, b"FramedContentTBS", _CONTENT, signature)


def bench_derive_secret(benchmark: BenchmarkFixture, suite: CipherSuite) -> None:
    benchmark(suite.derive_secret, Secret(bytes(suite.hash_length)), b"path", Secret)


def bench_derive_tree_secret(benchmark: BenchmarkFixture, suite: CipherSuite) -> None:
    secret = Secret(bytes(suite.hash_length))
    benchmark(suite.derive_tree_secret, secret, b"key", 7, suite.aead_key_length, Secret)


def bench_reference_hash(benchmark: BenchmarkFixture, suite: CipherSuite) -> None:
    benchmark(suite.ref_hash, b"MLS 1.0 Proposal Reference", _CONTENT)


def bench_secrets_of_an_epoch(benchmark: BenchmarkFixture, suite: CipherSuite) -> None:
    # An epoch secret is used up.
    benchmark.pedantic(epoch_secrets_of, setup=lambda: ((suite, EpochSecret(bytes(suite.hash_length))), {}), rounds=200)


def bench_aead_seal(benchmark: BenchmarkFixture, suite: CipherSuite) -> None:
    key, nonce = Secret(bytes(suite.aead_key_length)), bytes(suite.aead_nonce_length)
    benchmark(suite.aead_seal, key, nonce, _CONTEXT, _CONTENT)
