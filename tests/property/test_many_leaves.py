"""Leaves that are examined together are valid when each of them is, whatever was examined before."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from mls import AcceptAnyone, Settings
from mls.crypto import SignatureKeyPair, cipher_suite
from mls.epoch.environment import Environment
from mls.epoch.leaves import Demands, verify_leaf_node
from mls.epoch.many_leaves import LeafExaminer, Speaker
from mls.errors import MLSError
from mls.messages import (
    ApplicationID,
    BasicCredential,
    Capabilities,
    Certificate,
    CommitSource,
    Credential,
    Extension,
    KeyPackageSource,
    LeafNode,
    LeafPosition,
    Lifetime,
    RequiredCapabilities,
    UpdateSource,
    X509Credential,
    leaf_node_tbs,
)
from treekem.index import LeafIndex
from treekem.leaf_node import leaf_sections
from treekem.suite import Entropy
from treekem.wire import decode, encode

NOW = 1_700_000_000
SUITE = cipher_suite(1)
GROUP = b"g" * 70


def seeded(seed: int) -> Entropy:
    return lambda length: bytes([seed]) * length


KEYS = [SUITE.generate_signature_key_pair(seeded(seed)) for seed in range(1, 5)]
ENCRYPTION_KEYS = [SUITE.generate_key_pair(seeded(seed)).public for seed in range(5)]
DEMANDS = Demands(1, SUITE, RequiredCapabilities((), (7,), (1,)), frozenset({0xF001}))


def environment(settings: Settings | None = None) -> Environment:
    return Environment(settings or Settings(), AcceptAnyone(), NOW, lambda _: b"")


def signed(leaf: LeafNode, keys: SignatureKeyPair, index: int, group_id: bytes = GROUP) -> LeafNode:
    tbs = leaf_node_tbs(leaf, LeafPosition(group_id, LeafIndex(index)))
    return replace(leaf, signature=SUITE.sign_with_label(keys.private, b"LeafNodeTBS", tbs))


def drawn_leaf(random: Random, index: int) -> LeafNode:
    """Return a signed leaf of which most things are good, and some are not."""

    def rarely(bad: object, good: object) -> object:
        return bad if random.random() < 0.06 else good

    start = random.choice((NOW - 60, rarely(NOW + 10**5, NOW - 90)))
    assert isinstance(start, int)
    lifetime = Lifetime(start, start + random.choice((1000, 10**5)) * (1 if rarely(0, 1) else 10**6))
    sources = (KeyPackageSource(lifetime), UpdateSource(), CommitSource(random.randbytes(random.choice((0, 32, 70)))))
    credential: Credential = BasicCredential(random.randbytes(random.choice((0, 5, 80))))
    if random.random() < 0.2:
        credential = X509Credential((Certificate(b"certificate"),))
    listed = (0xF001, 1) if rarely(0, 1) else (1,)
    proposals, credentials = ((7,) if rarely(0, 1) else ()), ((1, 2) if rarely(0, 1) else (1,))
    extensions = [Extension(1, encode(ApplicationID(random.choice((b"", b"id", b"long" * 30)))))]
    if rarely(0, 1):
        extensions = extensions[: random.randrange(2)]
    else:
        extensions += [random.choice((Extension(1, b"\0"), Extension(0xF009, b""), Extension(2, b""))), *extensions]
    keys = random.choice(KEYS)
    encryption_key = random.choice(ENCRYPTION_KEYS)
    leaf = LeafNode(
        bytes(32) if rarely(1, 0) else encryption_key[: 31 if rarely(1, 0) else 32],
        keys.public[: 31 if rarely(1, 0) else 32],
        credential,
        Capabilities((1,), (1,) if rarely(0, 1) else (2,), listed, proposals, credentials),
        random.choice(sources),
        tuple(extensions),
        b"",
    )
    leaf = signed(leaf, keys, index + bool(rarely(1, 0)), b"another" if rarely(1, 0) else GROUP)
    if rarely(1, 0):
        leaf = replace(leaf, signature=leaf.signature[:-1] + bytes([leaf.signature[-1] ^ 1]))
    return replace(leaf, signature=leaf.signature[:10]) if rarely(1, 0) else leaf


def is_valid(leaf: LeafNode, index: int, env: Environment) -> bool:
    try:
        verify_leaf_node(leaf, LeafPosition(GROUP, LeafIndex(index)), DEMANDS, env)
    except MLSError:
        return False
    return True


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.rfc("R-7.3-03", "R-7.3-04", "R-7.2-13", "R-13.4-05")
def test_leaves_are_valid_together_when_each_of_them_is(seed: int) -> None:
    random = Random(seed)
    env = environment(Settings(require_listed_suite=seed % 2 == 1, check_peer_lifetimes=seed % 3 > 0))
    examiner = LeafExaminer(SUITE, GROUP, DEMANDS, env)
    verdicts = []
    for index in range(150):
        leaf = drawn_leaf(random, index)
        verdict = is_valid(leaf, index, env)
        found = examiner.examine((LeafIndex(index), encode(leaf)))
        assert found == (Speaker(leaf.credential, leaf.signature_key) if verdict else None)
        verdicts.append(verdict)
    assert 30 < sum(verdicts) < 120


@pytest.mark.rfc("R-7.3-03", "P02")
def test_a_leaf_that_moved_does_not_pass_because_others_did() -> None:
    random, env = Random(1), environment()
    examiner = LeafExaminer(SUITE, GROUP, DEMANDS, env)
    leaf = drawn_leaf(random, 3)
    while not is_valid(leaf, 3, env):
        leaf = drawn_leaf(random, 3)
    moving = signed(replace(leaf, source=UpdateSource(), signature_key=KEYS[0].public), KEYS[0], 3)
    for _ in range(2):
        assert examiner.examine((LeafIndex(3), encode(moving)))
        assert not examiner.examine((LeafIndex(4), encode(moving)))
    elsewhere = LeafExaminer(SUITE, b"another group", DEMANDS, env)
    assert not elsewhere.examine((LeafIndex(3), encode(moving)))


@pytest.mark.parametrize("seed", range(3))
def test_an_encoded_leaf_is_cut_into_what_is_judged(seed: int) -> None:
    random = Random(seed)
    for index in range(50):
        leaf = drawn_leaf(random, index)
        sections = leaf_sections(encode(leaf))
        assert sections.encryption_key == leaf.encryption_key
        assert sections.signature_key == leaf.signature_key
        assert sections.signature == leaf.signature
        assert decode(Credential, sections.credential) == leaf.credential
        has_lifetime = isinstance(leaf.source, KeyPackageSource)
        assert sections.lifetime == (encode(leaf.source.lifetime) if isinstance(leaf.source, KeyPackageSource) else b"")
        tail = b"" if has_lifetime else encode(LeafPosition(GROUP, LeafIndex(index)))
        assert sections.unsigned + tail == leaf_node_tbs(leaf, LeafPosition(GROUP, LeafIndex(index)))
        other = replace(leaf, credential=replace(leaf.credential), encryption_key=b"", signature_key=b"", signature=b"")
        assert leaf_sections(encode(other)).statement == sections.statement
