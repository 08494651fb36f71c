"""X.509 credentials: which chains are accepted, whom they name, and for how long. RFC 9420 §5.3."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from mls import AcceptAnyone, TrustOnFirstUse
from mls.crypto import SignatureKeyPair, SignaturePrivateKey
from mls.errors import Code, InvalidMessage, Refused, UsageError
from mls.identity import Place, Subject
from mls.identity.x509 import IM_URI, MAX_CERTIFICATE_BYTES, ByCredentialType, X509Chain
from mls.messages import BasicCredential, X509Credential
from tests.support.certificates import (
    CHANGED,
    DAY,
    DNS,
    LOWER,
    MAIL,
    MIDDLE,
    REFUSED,
    ROOT,
    TRUSTING,
    UNKNOWN,
    EndEntity,
    Terms,
    accept,
    alice,
    authority,
    certified,
    credential_of,
    end_entity,
    objection,
    subject_of,
)
from tests.support.world import NOW

SUITES = range(1, 8)
TLS_SERVER = ExtendedKeyUsageOID.SERVER_AUTH

# The chain as it is presented.


@pytest.mark.rfc("R-5.3-04")
def test_a_chain_is_not_empty() -> None:
    empty = Subject(X509Credential(()), alice().keys.public)
    for ask in (
        lambda: TRUSTING.identity(empty.credential),
        lambda: TRUSTING.identifiers(empty.credential),
        lambda: TRUSTING.expires(empty.credential),
        lambda: accept(empty),
    ):
        with pytest.raises(InvalidMessage) as caught:
            ask()
        assert caught.value.rule == "R-5.3-04"
    accept(alice())


@pytest.mark.rfc("R-5.3-04")
def test_the_end_entity_comes_first() -> None:
    who = alice(LOWER).sending(LOWER, MIDDLE)
    accept(who)
    accept(alice(LOWER).sending(MIDDLE, LOWER))
    swapped = credential_of(LOWER.der, who.der, MIDDLE.der)
    assert "CA" in objection(subject_of(who, credential=swapped), error=InvalidMessage, rule="R-5.3-04")
    other = end_entity("bob", 1, LOWER)
    swapped = credential_of(other.der, who.der, LOWER.der, MIDDLE.der)
    objection(subject_of(who, credential=swapped), error=InvalidMessage, rule="R-5.3-05")


@pytest.mark.rfc("R-5.3-04")
@pytest.mark.parametrize("position", [0, 1])
@pytest.mark.parametrize("damage", [lambda _: b"", lambda der: der + b"\0", lambda der: der[:-1], lambda _: b"garbage"])
def test_each_entry_is_one_certificate(position: int, damage: Callable[[bytes], bytes]) -> None:
    ders = [alice(MIDDLE).der, MIDDLE.der]
    accept(subject_of(alice(MIDDLE), credential=credential_of(*ders)))
    ders[position] = damage(ders[position])
    with pytest.raises(InvalidMessage) as caught:
        accept(subject_of(alice(MIDDLE), credential=credential_of(*ders)))
    assert (caught.value.rule, caught.value.index) == ("R-5.3-04", position)
    assert f"certificate {position}" in caught.value.message


@pytest.mark.rfc("N-X509-03", "S-max_chain_depth")
def test_what_is_read_is_bounded() -> None:
    accept(alice().sending(*[MIDDLE] * 9))
    assert "11" in objection(alice().sending(*[MIDDLE] * 10), rule="S-max_chain_depth")
    padding = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.55555.2"), bytes(MAX_CERTIFICATE_BYTES))
    with pytest.raises(InvalidMessage) as caught:
        accept(end_entity("alice", 1, ROOT, others=(padding,)))
    assert (caught.value.rule, caught.value.code) == ("N-X509-03", Code.LIMIT_EXCEEDED)


@pytest.mark.rfc("R-5.3-05")
@pytest.mark.parametrize("suite", SUITES)
def test_the_certificate_is_for_the_signature_key_of_the_leaf(suite: int) -> None:
    who, stranger = alice(MIDDLE, suite).sending(MIDDLE), end_entity("eve", suite, ROOT)
    accept(who)
    for key in (stranger.keys.public, b"", who.keys.public[:-1], who.keys.public + b"\0"):
        objection(subject_of(who, signature_key=key), error=InvalidMessage, rule="R-5.3-05")


@pytest.mark.rfc("R-5.3-05")
def test_a_key_of_another_curve_is_the_key_of_no_suite() -> None:
    key = ec.derive_private_key(7, ec.SECP256K1())
    certificate = certified("alice", key.public_key(), ROOT, Terms())
    encoded = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    who = EndEntity(certificate, 2, SignatureKeyPair(SignaturePrivateKey(bytes(32)), encoded))
    objection(who, error=InvalidMessage, rule="R-5.3-05")


# The path to an anchor.


@pytest.mark.rfc("R-5.3-06")
@pytest.mark.parametrize("suite", SUITES)
def test_issuers_may_be_left_out_that_the_verifier_holds(suite: int) -> None:
    holding = replace(TRUSTING, intermediates=(LOWER.certificate, MIDDLE.certificate))
    trusting_lower = X509Chain((LOWER.certificate,))
    who = alice(LOWER, suite)
    for sent in ((), (LOWER,), (LOWER, MIDDLE), (LOWER, MIDDLE, ROOT)):
        accept(who.sending(*sent), holding)
        accept(who.sending(*sent), trusting_lower)
    accept(who.sending(LOWER, MIDDLE))
    for sent in ((), (LOWER,), (MIDDLE,)):
        assert "does not verify" in objection(who.sending(*sent))


@pytest.mark.rfc("R-5.3.1-01")
def test_a_chain_leads_to_an_anchor() -> None:
    elsewhere = authority("another root")
    impostor = authority("root", begins=NOW - 2 * DAY)
    forged = replace(impostor, key=elsewhere.key)
    accept(alice())
    accept(end_entity("alice", 1, elsewhere), X509Chain((ROOT.certificate, elsewhere.certificate)))
    objection(end_entity("alice", 1, elsewhere).sending(elsewhere))
    objection(end_entity("alice", 1, forged).sending(forged))
    objection(alice(), X509Chain((ROOT.certificate,), intermediates=(elsewhere.certificate,)), now=NOW + 60 * DAY)
    objection(end_entity("alice", 1, elsewhere), replace(TRUSTING, intermediates=(elsewhere.certificate,)))


@pytest.mark.rfc("R-5.3.1-01")
def test_an_end_entity_can_be_an_anchor_for_itself_alone() -> None:
    pinning = X509Chain((alice().certificate,))
    accept(alice(), pinning)
    objection(end_entity("bob", 1, ROOT).sending(ROOT), pinning)
    objection(alice(), pinning, now=NOW + 60 * DAY)


def test_a_trust_store_holds_something() -> None:
    with pytest.raises(UsageError):
        X509Chain(())


@pytest.mark.rfc("R-5.3.1-01")
@pytest.mark.parametrize("place", list(Place))
def test_a_chain_is_valid_at_the_time_given(place: Place) -> None:
    who = end_entity("alice", 1, ROOT, begins=NOW, ends=NOW + 100)
    for now in (NOW, NOW + 1, NOW + 100):
        accept(who, place=place, now=now)
    for now in (NOW - 1, NOW + 101):
        assert "not valid at validation time" in objection(who, place=place, now=now)


@pytest.mark.rfc("R-5.3.1-01")
@pytest.mark.parametrize("whose", ["root", "intermediate"])
def test_an_issuer_is_valid_too(whose: str) -> None:
    brief: dict[str, Any] = {"begins": NOW, "ends": NOW + 100}
    root = authority("root", **(brief if whose == "root" else {}))
    middle = authority("middle", root, **(brief if whose == "intermediate" else {}))
    who, policy = end_entity("alice", 1, middle).sending(middle), X509Chain((root.certificate,))
    accept(who, policy)
    objection(who, policy, now=NOW - 1)
    objection(who, policy, now=NOW + 101)


@pytest.mark.rfc("R-5.3.1-01", "B29")
@pytest.mark.parametrize(("path_length", "longest"), [(0, 0), (1, 1), (2, 2), (None, 2)])
@pytest.mark.parametrize("length", [0, 1, 2])
def test_path_lengths_hold(path_length: int | None, longest: int, length: int) -> None:
    root = issuer = authority("root", path_length=path_length)
    sent = []
    for depth in range(length):
        issuer = authority(f"issuer {depth}", issuer)
        sent.append(issuer)
    who, policy = end_entity("alice", 1, issuer).sending(*sent), X509Chain((root.certificate,))
    if length <= longest:
        accept(who, policy)
    else:
        assert "path length" in objection(who, policy)


@pytest.mark.rfc("S-max_chain_depth")
def test_chains_are_no_deeper_than_set() -> None:
    who = alice(LOWER).sending(LOWER, MIDDLE)
    accept(who, replace(TRUSTING, max_chain_depth=2))
    assert "depth" in objection(who, replace(TRUSTING, max_chain_depth=1))


@pytest.mark.rfc("R-5.3.1-01", "B29")
@pytest.mark.parametrize(
    ("terms", "reason"),
    [
        ({"ca": False}, "basicConstraints"),
        ({"ca": None}, "basicConstraints"),
        ({"usage": ("digital_signature", "crl_sign")}, "keyCertSign"),
        ({"purposes": (TLS_SERVER,)}, "extended key usages"),
        ({"critical": (UNKNOWN,)}, "critical"),
    ],
)
@pytest.mark.parametrize("is_held", [False, True])
def test_an_issuer_is_one(terms: dict[str, object], reason: str, is_held: bool) -> None:
    good, bad = authority("middle", ROOT, usage=None), authority("middle", ROOT, **terms)
    for issuer, is_accepted in ((good, True), (bad, False)):
        policy = replace(TRUSTING, intermediates=(issuer.certificate,)) if is_held else TRUSTING
        who = end_entity("alice", 1, issuer)
        sent = who if is_held else who.sending(issuer)
        if is_accepted:
            accept(sent, policy)
        else:
            assert reason in objection(sent, policy)


@pytest.mark.rfc("R-5.3.1-01")
def test_a_bad_path_does_not_hide_a_good_one() -> None:
    bad = authority("middle", ROOT, usage=("crl_sign",))
    accept(end_entity("alice", 1, MIDDLE).sending(bad, MIDDLE))
    objection(end_entity("alice", 1, MIDDLE).sending(bad))


@pytest.mark.rfc("R-5.3.1-01")
def test_names_stay_within_an_issuers_constraints() -> None:
    within = x509.NameConstraints([x509.DNSName("example")], None)
    middle = authority("middle", ROOT, critical=(within,))
    accept(end_entity("alice", 1, middle, names=[DNS]).sending(middle))
    objection(end_entity("alice", 1, middle, names=[x509.DNSName("alice.elsewhere")]).sending(middle))


@pytest.mark.rfc("R-5.3.1-01")
def test_many_paths_that_lead_nowhere_end_soon() -> None:
    loops = [authority("loop", ends=NOW + DAY * days) for days in range(1, 10)]
    objection(end_entity("alice", 1, loops[0]).sending(*loops))


# The end entity.


@pytest.mark.rfc("N-X509-01", "B29")
def test_a_key_usage_allows_signatures() -> None:
    for usage in (None, ("digital_signature",), ("digital_signature", "key_agreement")):
        accept(end_entity("alice", 1, ROOT, usage=usage))
    for usage in (("key_agreement",), ("content_commitment",), ("key_cert_sign",)):
        objection(end_entity("alice", 1, ROOT, usage=usage), rule="N-X509-01")


@pytest.mark.rfc("S-purposes")
def test_extended_key_usages_allow_messaging() -> None:
    client, anything = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE
    mail = ExtendedKeyUsageOID.EMAIL_PROTECTION
    for purposes in (None, (client,), (IM_URI,), (TLS_SERVER, anything)):
        accept(end_entity("alice", 1, ROOT, purposes=purposes))
    for purposes in ((TLS_SERVER,), (mail,), (TLS_SERVER, mail)):
        objection(end_entity("alice", 1, ROOT, purposes=purposes), rule="S-purposes")
    accept(end_entity("alice", 1, ROOT, purposes=(mail,)), replace(TRUSTING, purposes=frozenset({mail})))
    objection(
        end_entity("alice", 1, ROOT, purposes=(client,)),
        replace(TRUSTING, purposes=frozenset({mail})),
        rule="S-purposes",
    )


@pytest.mark.rfc("R-5.3.1-01")
def test_a_critical_extension_is_known() -> None:
    accept(end_entity("alice", 1, ROOT, others=(UNKNOWN,)))
    assert "critical" in objection(end_entity("alice", 1, ROOT, critical=(UNKNOWN,)))


@pytest.mark.rfc("R-5.3.1-01")
def test_other_credentials_are_refused() -> None:
    basic = Subject(BasicCredential(b"alice"), alice().keys.public)
    assert "no X.509 credential" in objection(basic)
    assert TRUSTING.identity(basic.credential) == b"alice"
    assert TRUSTING.identifiers(basic.credential) == ()
    assert TRUSTING.expires(basic.credential) is None


# Names.


@pytest.mark.rfc("R-5.3-07")
def test_all_names_can_be_read() -> None:
    im = x509.UniformResourceIdentifier("im:alice@example.org")
    who = end_entity("alice", 1, ROOT, names=[MAIL, DNS, im])
    subject = x509.DirectoryName(who.certificate.subject)
    assert TRUSTING.identifiers(who.credential) == (MAIL, DNS, im, subject)
    assert TRUSTING.identifiers(alice().credential) == (x509.DirectoryName(alice().certificate.subject),)
    assert TRUSTING.identifiers(end_entity("", 1, ROOT, names=[DNS]).credential) == (DNS,)


@pytest.mark.rfc("R-5.3-07")
def test_the_identity_is_the_set_of_alternative_names_or_the_subject() -> None:
    def identity(name: str, *names: x509.GeneralName) -> bytes:
        return TRUSTING.identity(end_entity(name, 1, ROOT, names=names).credential)

    assert identity("alice", DNS, MAIL) == identity("Alice", MAIL, DNS) == identity("", MAIL, DNS, MAIL)
    assert identity("alice") == alice().certificate.subject.public_bytes()
    subject = x509.DirectoryName(alice().certificate.subject)
    same_text = x509.RFC822Name(DNS.value), x509.UniformResourceIdentifier(DNS.value)
    different = [
        identity("alice"),
        identity("bob"),
        identity("a", DNS),
        identity("a", DNS, MAIL),
        identity("", subject),
    ]
    different += [identity("a", name) for name in same_text]
    assert len(set(different)) == len(different)


@pytest.mark.rfc("R-5.3-07", "R-5.3.1-01")
def test_names_are_compared_with_those_expected() -> None:
    expecting = replace(TRUSTING, references={MAIL})
    accept(end_entity("alice", 1, ROOT, names=[DNS, MAIL]), expecting)
    subject = x509.DirectoryName(alice().certificate.subject)
    accept(alice(), replace(TRUSTING, references={subject}))
    for names in ([], [DNS], [x509.DNSName(MAIL.value)]):
        assert "expected" in objection(end_entity("alice", 1, ROOT, names=names), expecting)


@pytest.mark.rfc("N-X509-02")
def test_a_certificate_names_somebody() -> None:
    accept(end_entity("", 1, ROOT, names=[DNS]))
    objection(end_entity("", 1, ROOT), rule="N-X509-02")


@pytest.mark.rfc("S-identities")
def test_an_application_says_what_the_identity_is() -> None:
    def serial(certificate: x509.Certificate) -> bytes:
        return str(certificate.serial_number).encode()

    def first_mailbox(certificate: x509.Certificate) -> bytes:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return names.get_values_for_type(x509.RFC822Name)[0].encode()

    assert replace(TRUSTING, identities=serial).identity(alice().credential) == serial(alice().certificate)
    by_mailbox = replace(TRUSTING, identities=first_mailbox)
    who = end_entity("alice", 1, ROOT, names=[DNS, MAIL])
    assert by_mailbox.identity(who.credential) == b"alice@example.org"
    for nameless in (alice(), end_entity("alice", 1, ROOT, names=[DNS])):
        with pytest.raises(Refused) as caught:
            by_mailbox.identity(nameless.credential)
        assert (caught.value.rule, caught.value.code) == ("S-identities", REFUSED)

    def nobody(_: x509.Certificate) -> bytes:
        raise Refused("nobody", rule="S-nobody")

    with pytest.raises(Refused) as caught:
        replace(TRUSTING, identities=nobody).identity(who.credential)
    assert caught.value.rule == "S-nobody"


@pytest.mark.rfc("R-5.3.1-08")
@pytest.mark.parametrize("place", [Place.UPDATE, Place.COMMIT, Place.EXTERNAL_JOIN])
def test_a_leaf_keeps_its_identity(place: Place) -> None:
    old = end_entity("alice", 1, ROOT, names=[MAIL, DNS])
    renewed = end_entity("alice", 1, MIDDLE, names=[DNS, MAIL], seed="new").sending(MIDDLE)
    accept(subject_of(renewed, replaces=old.credential), place=place)
    for names in ([DNS], [DNS, MAIL, x509.DNSName("bob.example")], []):
        other = subject_of(end_entity("alice", 1, ROOT, names=names), replaces=old.credential)
        objection(other, place=place, rule="R-5.3.1-08", code=CHANGED)
    forged = BasicCredential(TRUSTING.identity(old.credential))
    objection(subject_of(old, replaces=forged), place=place, rule="R-5.3.1-08", code=CHANGED)


def test_a_client_is_its_signature_key() -> None:
    renewed = end_entity("alice", 1, ROOT, ends=NOW + 90 * DAY)
    assert TRUSTING.same_client(subject_of(alice()), subject_of(renewed))
    assert not TRUSTING.same_client(subject_of(alice()), subject_of(end_entity("alice", 1, ROOT, seed="phone")))


# Expiry.


@pytest.mark.rfc("R-5.3.2-01")
def test_the_end_of_a_chain_can_be_read() -> None:
    soon = authority("middle", ROOT, ends=NOW + DAY)
    assert TRUSTING.expires(alice().credential) == NOW + 30 * DAY
    assert TRUSTING.expires(end_entity("alice", 1, soon).sending(soon).credential) == NOW + DAY


@pytest.mark.rfc("R-5.3.2-02")
def test_only_the_new_credential_is_held_to_the_clock() -> None:
    expired = end_entity("alice", 1, ROOT, ends=NOW - 1)
    renewed = end_entity("alice", 1, ROOT, seed="new")
    accept(subject_of(renewed, replaces=expired.credential), place=Place.UPDATE)
    objection(subject_of(expired, replaces=renewed.credential), place=Place.UPDATE)


@pytest.mark.rfc("R-5.3.2-03")
def test_late_messages_can_be_granted_a_period_of_grace() -> None:
    gracious = replace(TRUSTING, grace=100)
    brief = authority("middle", ROOT, ends=NOW)
    for who in (end_entity("alice", 1, ROOT, ends=NOW), end_entity("alice", 1, brief).sending(brief)):
        for place in Place:
            accept(who, gracious, place, now=NOW + 100)
            objection(who, gracious, place, now=NOW + 101)
            objection(who, TRUSTING, place, now=NOW + 1)
    objection(end_entity("alice", 1, ROOT, begins=NOW + 1), gracious)
    objection(end_entity("alice", 1, authority("another root"), ends=NOW), gracious, now=NOW + 1)


@pytest.mark.rfc("R-5.3.2-01")
def test_expired_members_can_be_accepted_by_who_joins() -> None:
    lenient = replace(TRUSTING, expired_members=True)
    expired = end_entity("alice", 1, ROOT, ends=NOW - 20 * DAY, begins=NOW - 21 * DAY)
    aged = authority("root", begins=NOW - 30 * DAY)
    trusting_aged = replace(lenient, trust_store=(aged.certificate,))
    accept(expired, trusting_aged, Place.JOIN)
    for place in set(Place) - {Place.JOIN}:
        objection(expired, trusting_aged, place)
    objection(expired, X509Chain((aged.certificate,)), Place.JOIN)
    objection(expired, lenient, Place.JOIN)  # An anchor that was not yet one at that time.
    objection(end_entity("alice", 1, authority("another root"), ends=NOW - 1), lenient, Place.JOIN)


# Policies by type.


@pytest.mark.rfc("R-5.3.1-01", "R-5.3.1-08")
def test_each_type_of_credential_has_its_policy() -> None:
    both = ByCredentialType(basic=TrustOnFirstUse(new_devices=False), x509=TRUSTING)
    basic = Subject(BasicCredential(b"alice"), b"key")
    accept(basic, both)
    accept(alice(), both)
    objection(replace(basic, known_keys=frozenset({b"other"})), both, rule="S-new_devices")
    objection(end_entity("alice", 1, authority("another root")), both)

    posing = BasicCredential(TRUSTING.identity(alice().credential))
    assert both.identity(posing) != both.identity(alice().credential)
    for policy in (both, ByCredentialType(basic=AcceptAnyone(), x509=AcceptAnyone())):
        for new, old in ((subject_of(alice()), posing), (replace(basic, credential=posing), alice().credential)):
            accept(replace(new, replaces=new.credential), policy)
            objection(replace(new, replaces=old), policy, rule="R-5.3.1-08", code=CHANGED)

    assert both.same_client(subject_of(alice()), subject_of(alice()))
    assert not both.same_client(subject_of(alice()), replace(basic, signature_key=alice().keys.public))
