"""Groups whose members show certificates: who gets in, who stays, and whose certificate has expired."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
from cryptography import x509

from mls import AcceptAnyone, Add, Client, Group, Identity, MemoryStore, NewLeaf, Settings, intents
from mls.errors import Code, InvalidMessage, Refused, UsageError
from mls.events import StagedCommit
from mls.identity import CredentialPolicy
from mls.identity.x509 import X509Chain
from mls.messages import BasicCredential, Certificate, Credential, Update, X509Credential
from tests.adversarial.insider import assert_refused
from tests.support.certificates import (
    CHANGED,
    DAY,
    MIDDLE,
    REFUSED,
    ROOT,
    TRUSTING,
    EndEntity,
    authority,
    end_entity,
)
from tests.support.crafting import UPDATE, Forger
from tests.support.world import NOW, World, join, records


def client_of(world: World, name: str, identity: Identity, policy: CredentialPolicy) -> Client:
    world.stores[name], world._own_settings[name] = MemoryStore(), Settings()
    return Client.create(
        world.stores[name], identity, policy=policy, clock=lambda: world.now, entropy=world.entropy(name)
    )


def people(suite: int) -> list[EndEntity]:
    names = ("alice", "bob", "carol")
    return [end_entity(name, suite, MIDDLE, names=[x509.DNSName(f"{name}.example")]).sending(MIDDLE) for name in names]


def group_of(world: World, suite: int, policy: CredentialPolicy = TRUSTING) -> list[Group]:
    clients = [
        client_of(world, who.certificate.subject.rfc4514_string(), who.identity, policy) for who in people(suite)
    ]
    founder = clients[0].create_group()
    return [founder, *world.add(founder, *clients[1:])]


@pytest.mark.rfc("R-5.3-05", "R-5.3.1-01", "R-5.3.1-03")
@pytest.mark.parametrize("suite", range(1, 8))
def test_a_group_of_certified_members(suite: int) -> None:
    world = World(suite)
    alice_group, bob_group, carol_group = groups = group_of(world, suite)
    world.agree(*groups)
    assert [member.identity for member in bob_group.members] == [TRUSTING.identity(p.credential) for p in people(suite)]
    world.commit(carol_group, (), alice_group, bob_group)
    world.agree(*groups)
    (event,) = world.deliver(alice_group.encrypt(b"hello"), bob_group)
    assert event.data == b"hello"  # type: ignore[union-attr]  # an application message


@pytest.mark.rfc("R-5.3.1-02", "R-5.3.1-04", "R-5.3-05")
def test_who_is_not_certified_is_not_added() -> None:
    world = World()
    group = group_of(world, 1)[0]
    elsewhere = authority("another root")
    eve = end_entity("eve", 1, elsewhere).sending(elsewhere)
    chain = X509Credential((Certificate(people(1)[1].der), Certificate(MIDDLE.der)))
    stolen = Identity(chain, 1, eve.keys.private)
    anyone = X509Chain((elsewhere.certificate,))
    for identity, error, rule in ((eve.identity, Refused, "R-5.3.1-01"), (stolen, InvalidMessage, "R-5.3-05")):
        package = client_of(world, "eve", identity, anyone).key_package()
        before = records(group._store)
        with pytest.raises(error) as caught:
            group.commit([Add(package)])
        assert (caught.value.rule, caught.value.code) == (rule, REFUSED)
        assert records(group._store) == before


@pytest.mark.rfc("R-5.3.1-05", "R-5.3.1-06", "R-5.3.1-08")
def test_a_member_renews_its_certificate_and_cannot_become_somebody_else() -> None:
    world = World()
    alice_group, bob_group, carol_group = group_of(world, 1)
    carol, names = Forger(world, carol_group), [x509.DNSName("carol.example")]
    keys = people(1)[2].keys
    usurper = end_entity("carol", 1, ROOT, names=[x509.DNSName("bob.example")], keys=keys)
    bob_keys = end_entity("carol", 1, ROOT, names=names, seed="new")

    for credential, error, rule, code in (
        (usurper.credential, Refused, "R-5.3.1-08", CHANGED),
        (bob_keys.credential, InvalidMessage, "R-5.3-05", REFUSED),
        (BasicCredential(b"carol"), Refused, "R-5.3.1-01", REFUSED),
        (X509Credential(()), InvalidMessage, "R-5.3-04", Code.MALFORMED),
    ):
        update = carol.send(Update(carol.leaf_node(UPDATE, credential=credential)))
        assert_refused(bob_group, update.message, error, rule, code)
        path = _committed(carol, credential)
        assert_refused([alice_group, bob_group], path, error, rule, code)

    renewed = end_entity("carol", 1, ROOT, names=names, keys=keys, ends=NOW + 300 * DAY)
    update = carol.send(Update(carol.leaf_node(UPDATE, credential=renewed.credential)))
    bob_group.receive(update.message)
    message = carol.honest(leaf=carol.content(credential=bob_keys.credential, signature_keys=bob_keys.keys))
    staged = bob_group.receive(message)
    assert isinstance(staged, StagedCommit)
    ((old, new),) = staged.effect.updated
    assert old.identity == new.identity
    assert new.signature_key == bob_keys.keys.public
    bob_group.merge(staged)


def _committed(member: Forger, credential: Credential) -> bytes:
    """Return a commit that changes a member's credential alone; the member itself accepts anything."""
    return member.honest(leaf=member.content(credential=credential))


@pytest.mark.rfc("R-6.1-16", "R-5.3-05")
@pytest.mark.parametrize("suite", range(1, 8))
def test_an_identity_signs_with_the_key_of_its_certificate(suite: int) -> None:
    alice, bob, _ = people(suite)
    chain = (alice.der, MIDDLE.der)
    assert Identity.x509(chain, alice.keys.private, suite).credential == alice.identity.credential
    with pytest.raises(UsageError) as caught:
        Identity.x509(chain, bob.keys.private, suite)
    assert caught.value.code == Code.BAD_KEY
    with pytest.raises(InvalidMessage) as unread:
        Identity.x509((b"no certificate",), alice.keys.private, suite)
    assert unread.value.rule == "R-5.3-04"


@pytest.mark.rfc("R-6.1-16", "R-5.3.1-05")
def test_a_leaf_is_not_changed_to_a_key_that_its_certificate_does_not_name() -> None:
    world = World()
    groups = group_of(world, 1, AcceptAnyone())
    _, bob_group, carol_group = groups
    carol = people(1)[2]
    renewed = end_entity("carol", 1, ROOT, names=[x509.DNSName("carol.example")], seed="new")
    before, stored = carol_group.fingerprint(), records(carol_group._store)
    for leaf in (
        NewLeaf(rotate_signature_key=True),
        NewLeaf(signature_key=renewed.keys.private),
        NewLeaf(credential=renewed.credential),
        NewLeaf(credential=renewed.credential, signature_key=carol.keys.private),
    ):
        for change in (partial(carol_group.commit, leaf=leaf), partial(carol_group.propose, intents.Update(leaf))):
            with pytest.raises(UsageError) as caught:
                change()
            assert caught.value.code == Code.BAD_KEY
    assert (carol_group.fingerprint(), records(carol_group._store)) == (before, stored)

    both = NewLeaf(credential=renewed.credential, signature_key=renewed.keys.private)
    world.commit(carol_group, (), groups[0], bob_group, leaf=both)
    world.agree(*groups)
    assert carol_group.me.signature_key == renewed.keys.public


@pytest.mark.rfc("R-5.3.2-02", "R-5.3.2-03")
def test_an_expired_member_is_heard_and_can_rotate() -> None:
    world = World()
    alice_group, bob_group, carol_group = group_of(world, 1)
    carol = Forger(world, carol_group)
    world.now += 40 * DAY
    late = authority("middle", authority("root", ends=NOW + 90 * DAY), ends=NOW + 90 * DAY)
    (event,) = world.deliver(carol_group.encrypt(b"still here"), alice_group)
    assert event.data == b"still here"  # type: ignore[union-attr]  # an application message

    names = [x509.DNSName("carol.example")]
    fresh = end_entity("carol", 1, late, names=names, keys=people(1)[2].keys, ends=NOW + 60 * DAY).sending(late)
    message = _committed(carol, fresh.credential)
    assert_refused(bob_group, message, Refused, "R-5.3.1-01", REFUSED)  # Bob's anchor has expired too.
    group_id, store = alice_group.group_id, alice_group._store
    trusting = X509Chain((authority("root", ends=NOW + 90 * DAY).certificate,))
    client = Client.open(store, policy=trusting, clock=lambda: world.now, entropy=world.entropy("alice"))
    assert isinstance(client.group(group_id).receive(message), StagedCommit)


@pytest.mark.rfc("R-5.3.1-03", "R-5.3.2-01")
def test_a_joiner_meets_expired_members_as_it_chose() -> None:
    root = authority("root", ends=NOW + 90 * DAY)
    middle = authority("middle", root, ends=NOW + 90 * DAY)
    world, strict = World(), X509Chain((root.certificate,))
    brief = end_entity("alice", 1, middle, ends=NOW + DAY).sending(middle)
    group = client_of(world, "alice", brief.identity, strict).create_group()
    world.now += 2 * DAY
    for name, policy in (("bob", strict), ("carol", replace(strict, expired_members=True))):
        who = end_entity(name, 1, middle).sending(middle)
        client = client_of(world, name, who.identity, policy)
        pending = group.commit([Add(client.key_package())])
        if policy.expired_members:
            assert len(join(client, pending).members) == 2
        else:
            with pytest.raises(Refused) as caught:
                join(client, pending)
            assert caught.value.rule == "R-5.3.1-01"
            assert " at leaf 0: join: " in caught.value.message
        group.discard(pending)
