"""Faults in cryptographic objects, references and credentials. RFC 9420 §5."""

from __future__ import annotations

from typing import Annotated

from mls import registry
from mls.crypto import CipherSuite, hpke, kem, labels, primitives
from mls.epoch import extensions, group_extensions, join, members, past, proposals, queue, welcome
from mls.identity.x509 import X509Chain
from mls.messages import EncryptedGroupSecrets, X509Credential
from tests.support.planting import Edit, Fault, Item, Layout
from treekem.wire import Fixed

FAULTS = [
    Fault(
        "R-5.1-01",
        "all suites have hashes of one length",
        Edit(CipherSuite.hash_length, "self.hpke.kdf.hash_length", "32"),
    ),
    Fault(
        "R-5.1-02",
        "the candidates of a NIST curve bear another label",
        Edit(kem.DHKEM._candidates, 'b"candidate"', 'b"sk"'),
    ),
    Fault(
        "R-5.1-03",
        "the tag stands before the ciphertext",
        Edit(
            primitives.AEAD.seal,
            "return self.cipher(key).encrypt(nonce, plaintext, aad)",
            "sealed = self.cipher(key).encrypt(nonce, plaintext, aad); return sealed[-16:] + sealed[:-16]",
        ),
        Edit(
            primitives.AEAD._decrypt,
            "decrypt(nonce, ciphertext, aad)",
            "decrypt(nonce, ciphertext[16:] + ciphertext[:16], aad)",
        ),
    ),
    Fault(
        "R-5.1.2-02",
        "an ECDSA signature is its two numbers side by side",
        Edit(
            primitives.NIST.sign,
            "return signature if 2 * s < self.order else encode_dss_signature(r, self.order - s)",
            'return b"".join(n.to_bytes(66, "big") for n in (r, min(s, self.order - s)))',
        ),
    ),
    Fault(
        "R-5.1.2-03",
        "the label is signed without its prefix",
        Edit(CipherSuite.sign_with_label, "labelled(label, content)", "labelled(label, content)[8:]"),
    ),
    Fault(
        "R-5.1.3-01",
        "HPKE runs in another mode",
        Edit(hpke.HPKE.context, "_MODE_BASE", 'b"\\x01"'),
    ),
    Fault(
        "R-5.1.3-02",
        "label and context are joined without their lengths",
        Edit(CipherSuite.seal_context, "labelled(label, context)", 'b"MLS 1.0 " + label + context'),
    ),
    Fault(
        "R-5.2-01",
        "the label of a reference gets a second prefix",
        Edit(labels.ref_hash_input, "vector(label)", "vector(_PREFIX + label)"),
    ),
    Fault(
        "R-5.2-02",
        "a key package is referred to as the message that it came in",
        Edit(welcome.key_package_ref, "encode(key_package)", 'b"\\0\\1\\0\\5" + encode(key_package)'),
    ),
    Fault(
        "R-5.2-03",
        "a proposal is referred to without its authentication",
        Edit(queue.proposal_ref, "encode(content)", "encode(content.content)"),
    ),
    Fault(
        "R-5.2-04",
        "a proposal has the same reference in public and in private",
        Edit(queue.proposal_ref, "encode(content)", "encode(content)[2:]"),
    ),
    Fault(
        "R-5.2-05",
        "a reference is a fixed array",
        Layout(EncryptedGroupSecrets, types=(("new_member", Annotated[bytes, Fixed(32)]),)),
    ),
    Fault(
        "R-5.3-01",
        "a certificate chain is a single certificate",
        Layout(X509Credential, types=(("certificates", bytes),)),
    ),
    Fault(
        "R-5.3-06",
        "issuers that the verifier holds are not looked at",
        Edit(X509Chain._objection, "[*chain[1:], *self.intermediates]", "list(chain[1:])"),
    ),
    Fault(
        "R-5.3-07",
        "no identifier is shown",
        Edit(X509Chain.identifiers, "presented_names(_end_entity(credential))", "()"),
    ),
    Fault(
        "R-5.3.1-02",
        "nobody asks about a key package before an Add is created",
        Edit(
            proposals._verify_proposal,
            "env.accept(leaf.credential, leaf.signature_key, Place.ADD)",
            "strict or env.accept(leaf.credential, leaf.signature_key, Place.ADD)",
        ),
    ),
    Fault(
        "R-5.3.1-03",
        "a joiner asks about nobody",
        Edit(
            join.verify_joined_tree, "env.accept(leaf.credential, leaf.signature_key, Place.JOIN, leaf=index)", "pass"
        ),
    ),
    Fault(
        "R-5.3.1-04",
        "a receiver does not ask about who is added",
        Edit(
            proposals._verify_proposal,
            "env.accept(leaf.credential, leaf.signature_key, Place.ADD)",
            "strict and env.accept(leaf.credential, leaf.signature_key, Place.ADD)",
        ),
    ),
    Fault(
        "R-5.3.1-05",
        "nobody asks about the credential of an Update",
        Edit(proposals.verify_replacement, "env.accept(leaf.", "place is Place.UPDATE or env.accept(leaf."),
    ),
    Fault(
        "R-5.3.1-06",
        "nobody asks about the credential of a path",
        Edit(proposals.verify_replacement, "env.accept(leaf.", "place is Place.COMMIT or env.accept(leaf."),
    ),
    Fault(
        "R-5.3.1-07",
        "nobody asks about external senders",
        Edit(group_extensions.verify_external_senders, "if sender not in old:", "if False:"),
    ),
    Fault(
        "R-5.3.2-02",
        "a credential is replaced only while it is accepted itself",
        Edit(
            proposals.verify_replacement,
            "    verify_leaf_node(leaf",
            "    env.accept(old.credential, old.signature_key, place)\n    verify_leaf_node(leaf",
        ),
    ),
    Fault(
        "R-5.3.2-03",
        "chains get no period of grace",
        Edit(X509Chain._verify_path, "now - ended <= self.grace or ", ""),
    ),
    Fault(
        "R-5.3.3-01",
        "a late message is taken for one of whoever has the leaf by now",
        Edit(past.past_leaf, "for each in later:", "for each in later[:0]:"),
    ),
    Fault(
        "R-5.3.3-02",
        "an application_id belongs into key packages",
        Item(extensions._HOMES, 1, registry.KEY_PACKAGE),
    ),
    Fault(
        "R-5.3.3-04",
        "two leaves with the same application_id count as one client",
        Edit(
            members.verify_signature_keys,
            "require(other == index,",
            "alike = (each for leaf, each in leaf_nodes(tree) if leaf != index)\n"
            "        own = tree.leaf(index).leaf_node().extensions\n"
            "        require(other == index and not (own and any(own == each.extensions for each in alike)),",
        ),
    ),
]
