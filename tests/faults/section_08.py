"""Faults in the key schedule. RFC 9420 §8."""

from __future__ import annotations

from mls import drafting, merging
from mls.crypto import CipherSuite, labels
from mls.epoch import create_commit, group_extensions, join, proposals, receive_commit, transition, welcome
from mls.group import Group
from mls.messages import GroupContext, PreSharedKeyID, ResumptionPSK
from mls.schedule import key_schedule, psk, transcript
from mls.store import client_records
from mls.store.standing import Standing
from tests.support.planting import Constant, Edit, Fault, Layout

_LABELS = (
    ("SenderDataSecret", "sender data", "encryption"),
    ("EncryptionSecret", "encryption", "sender data"),
    ("ExporterSecret", "exporter", "external"),
    ("ExternalSecret", "external", "exporter"),
    ("ConfirmationKey", "confirm", "membership"),
    ("MembershipKey", "membership", "confirm"),
    ("ResumptionPSK", "resumption", "init"),
    ("Secret", "authentication", "authenticator"),
    ("InitSecret", "init", "resumption"),
)

FAULTS = [
    Fault(
        "R-8-01",
        "a KDFLabel's length takes four bytes",
        Edit(labels._kdf_label_head, 'length.to_bytes(2, "big")', 'length.to_bytes(4, "big")'),
    ),
    Fault(
        "R-8-01",
        "a KDFLabel's label has no prefix",
        Edit(labels._kdf_label_head, "vector(_PREFIX + label)", "vector(label)"),
    ),
    Fault(
        "R-8-02",
        "DeriveSecret repeats the label as context",
        Edit(CipherSuite.derive_secret, 'b""', "label"),
    ),
    Fault(
        "R-8-04",
        "the commit secret is the salt of the joiner secret",
        Edit(key_schedule.derive_joiner_secret, "init_secret, commit_secret)", "commit_secret, init_secret)"),
    ),
    Fault(
        "R-8-05",
        "the welcome secret has another label",
        Edit(key_schedule.derive_welcome_secret, 'b"welcome"', 'b"joiner"'),
    ),
    Fault(
        "R-8-06",
        "the epoch secret is bound to no group context",
        Edit(key_schedule.derive_epoch_secrets, 'b"epoch", group_context', 'b"epoch", b""'),
    ),
    Fault(
        "R-8-06",
        "no PSKs give an empty psk_secret",
        Edit(
            psk.psk_secret, "PSKSecret(bytes(suite.hash_length))", "PSKSecret(bytes(suite.hash_length if count else 0))"
        ),
    ),
    Fault(
        "R-8-07",
        "an epoch is derived from the transcript of the one before",
        Edit(transition.derive_next_epoch, "encoded = encode(context)", "encoded = encode(provisional)"),
    ),
    Fault(
        "R-8-07",
        "an epoch is derived from the number of the one before",
        Edit(
            transition.derive_next_epoch,
            "encoded = encode(context)",
            "encoded = encode(replace(context, epoch=group.context.epoch))",
        ),
    ),
    Fault(
        "R-8-07",
        "an epoch is derived from the extensions of the one before",
        Edit(
            transition.derive_next_epoch,
            "encoded = encode(context)",
            "encoded = encode(replace(context, extensions=group.context.extensions))",
        ),
    ),
    *(
        Fault(
            "R-8-08",
            f'"{label}" is derived as "{other}"',
            Edit(key_schedule.epoch_secrets_of, f'b"{label}", {kind}', f'b"{other}", {kind}'),
        )
        for kind, label, other in _LABELS
    ),
    Fault(
        "R-8-09",
        "the external key pair takes another step of derivation",
        Edit(
            key_schedule.external_key_pair,
            "derive_key_pair(external_secret)",
            'derive_key_pair(suite.derive_secret(external_secret, b"node", Secret))',
        ),
    ),
    Fault(
        "R-8-10",
        "the commit secret stays",
        Edit(transition.derive_next_epoch, "commit_secret.wipe()", "pass"),
    ),
    Fault(
        "R-8-10",
        "the joiner secret stays with the committer",
        Edit(transition.NextEpoch.wipe_passing, "self.joiner_secret.wipe()", "pass"),
    ),
    Fault(
        "R-8-10",
        "the joiner secret stays with who joins",
        Edit(join.join_by_welcome, "secrets.joiner_secret.wipe()", "pass"),
    ),
    Fault(
        "R-8-10",
        "what lies between joiner and epoch secret stays",
        Edit(key_schedule.derive_epoch_secrets, "intermediate.wipe()", "pass"),
    ),
    Fault(
        "R-8-10",
        "the epoch secret stays",
        Edit(key_schedule.epoch_secrets_of, "epoch_secret.wipe()", "pass"),
    ),
    Fault(
        "R-8-10",
        "the welcome secret stays with who invites",
        Edit(welcome.create_welcome, "    secret.wipe()", "    pass"),
    ),
    Fault(
        "R-8-10",
        "the welcome secret stays with who joins",
        Edit(welcome.open_group_info, "    secret.wipe()", "    pass"),
    ),
    Fault(
        "R-8.1-01",
        "the tree hash stands behind the transcript hash",
        Layout(
            GroupContext,
            (
                "version",
                "cipher_suite",
                "group_id",
                "epoch",
                "confirmed_transcript_hash",
                "tree_hash",
                "extensions",
            ),
        ),
    ),
    Fault(
        "R-8.1-02",
        "a group's id grows with every commit",
        Edit(
            transition.provisional_context,
            "epoch=group.context.epoch + 1,",
            'epoch=group.context.epoch + 1, group_id=group.context.group_id + b"+",',
        ),
    ),
    Fault(
        "R-8.1-04",
        "the tree hash stays as it was",
        Edit(transition.provisional_context, "tree.tree_hash(group.suite)", "group.context.tree_hash"),
    ),
    Fault(
        "R-8.1-05",
        "new extensions are sorted",
        Edit(
            group_extensions.extensions_after,
            "(proposal.extensions for",
            "(tuple(sorted(proposal.extensions, key=lambda one: one.extension_type)) for",
        ),
    ),
    Fault(
        "R-8.1-05",
        "a commit that says nothing of extensions drops the last of them",
        Edit(
            group_extensions.extensions_after, "next(changes, group.extensions)", "next(changes, group.extensions[:-1])"
        ),
    ),
    Fault(
        "R-8.2-01",
        "the confirmed hash has what was before behind what is new",
        Edit(transcript.confirmed_transcript_hash, "interim_before + encode(added)", "encode(added) + interim_before"),
    ),
    Fault(
        "R-8.2-01",
        "the confirmed hash leaves the signature out",
        Edit(transcript.confirmed_transcript_hash, "content.auth.signature", 'b""'),
    ),
    Fault(
        "R-8.2-02",
        "the interim hash takes the tag without its length",
        Edit(
            transcript.interim_transcript_hash,
            "encode(InterimTranscriptHashInput(confirmation_tag))",
            "confirmation_tag",
        ),
    ),
    Fault(
        "R-8.2-03",
        "the interim hash of epoch 0 is empty",
        Edit(join.create_epoch_zero, 'interim_transcript_hash(suite, b"", tag)', 'b""'),
    ),
    Fault(
        "R-8.2-04",
        "who joins starts the transcript anew",
        Edit(
            join.group_of,
            "(suite, context.confirmed_transcript_hash, info.confirmation_tag)",
            '(suite, b"", info.confirmation_tag)',
        ),
    ),
    Fault(
        "R-8.2-06",
        "a commit names the epoch that it begins",
        Edit(
            create_commit.signed_content,
            "context.epoch, sender,",
            "context.epoch + isinstance(content, Commit), sender,",
        ),
    ),
    Fault(
        "R-8.3-01",
        "the external init secret has another exporter context",
        Constant(key_schedule, "EXTERNAL_INIT_CONTEXT", b"external init secret"),
    ),
    Fault(
        "R-8.3-01",
        "the joiner's export is bound to some info",
        Edit(CipherSuite.export_to, 'context(b"")', 'context(b"MLS 1.0")'),
    ),
    Fault(
        "R-8.3-02",
        "the members' export is bound to some info",
        Edit(CipherSuite.export_from, 'context(b"")', 'context(b"MLS 1.0")'),
    ),
    Fault(
        "R-8.3-03",
        "members go on with their own init secret",
        Edit(
            receive_commit.stage_commit,
            "init_secret = _external_init_secret(state, seen.applied.external_init)",
            "_external_init_secret(state, seen.applied.external_init)",
        ),
    ),
    Fault(
        "R-8.3-05",
        "a receiver leaves the external private key behind",
        Edit(receive_commit._external_init_secret, "pair.private.wipe()", "pass"),
    ),
    Fault(
        "R-8.3-05",
        "who signs a GroupInfo leaves the external private key behind",
        Edit(welcome.create_group_info, "pair.private.wipe()", "pass"),
    ),
    Fault(
        "R-8.3-05",
        "the external secret outlives its epoch",
        Edit(key_schedule.EpochSecrets.wipe, "self.external.wipe()", "pass"),
    ),
    Fault(
        "R-8.4-01",
        "a resumption PSK names its epoch before its group",
        Layout(ResumptionPSK, ("usage", "psk_epoch", "psk_group_id")),
    ),
    Fault(
        "R-8.4-01",
        "a PreSharedKeyID begins with its nonce",
        Layout(PreSharedKeyID, ("psk_nonce", "psk")),
    ),
    Fault(
        "R-8.4-02",
        "every injection has the same nonce",
        Edit(drafting.draft_psk, "entropy(suite.hash_length)", "bytes(suite.hash_length)"),
    ),
    Fault(
        "R-8.4-02",
        "a nonce has 32 bytes in every suite",
        Edit(drafting.draft_psk, "entropy(suite.hash_length)", "entropy(32)"),
    ),
    Fault(
        "R-8.4-03",
        "who joins is told of PSKs the other way round",
        Edit(welcome._secrets_for, "path_secret, psks)", "path_secret, psks[::-1])"),
    ),
    Fault(
        "R-8.4-04",
        "a PSK is the salt of its extraction",
        Edit(psk._psk_input, "bytes(suite.hash_length), psk)", "psk, bytes(suite.hash_length))"),
    ),
    Fault(
        "R-8.4-05",
        "the chain of PSKs goes through the salt",
        Edit(psk.psk_secret, "extract(psk_input, chained)", "extract(chained, psk_input)"),
    ),
    Fault(
        "R-8.4-06",
        "PSKs are counted from 1",
        Edit(psk.psk_secret, "PSKLabel(psk_id, index, count)", "PSKLabel(psk_id, index + 1, count)"),
    ),
    Fault(
        "R-8.4-06",
        "a PSKLabel has index and count exchanged",
        Edit(psk.psk_secret, "PSKLabel(psk_id, index, count)", "PSKLabel(psk_id, count, index)"),
    ),
    Fault(
        "R-8.4-07",
        "PSKs by reference come after those by value",
        Edit(
            proposals.apply_proposals,
            "each.proposal.psk for each in proposals if",
            "each.proposal.psk for each in sorted(proposals, key=lambda one: bool(one.reference)) if",
        ),
    ),
    Fault(
        "R-8.4-08",
        "a resumption PSK is the init secret of its epoch",
        Edit(Standing._resumption, "state.secrets.resumption_psk", "state.secrets.init_secret"),
    ),
    Fault(
        "R-8.4-08",
        "a resumption PSK is that of the epoch before",
        Edit(client_records.stored_psk, "resumption.psk_epoch)", "max(0, resumption.psk_epoch - 1))"),
    ),
    Fault(
        "R-8.5-01",
        "an exporter's context is not hashed",
        Edit(key_schedule.export_secret, "suite.hash(context)", "context"),
    ),
    Fault(
        "R-8.5-02",
        "a label of an exporter that is hexadecimal text is decoded",
        Edit(
            key_schedule.export_secret,
            "exporter_secret, label, Secret",
            'exporter_secret, label if label.strip(b"0123456789abcdef") else bytes.fromhex(label.decode()), Secret',
        ),
    ),
    Fault(
        "R-8.6-01",
        "the resumption PSK of a new epoch is not stored",
        Edit(Standing.merge_batch, "**self._resumption(after.state),", ""),
    ),
    Fault(
        "R-8.6-01",
        "the resumption PSK of the first epoch is not stored",
        Edit(Standing.founding_batch, "**self._resumption(self.state),", ""),
    ),
    Fault(
        "R-8.6-02",
        "a resumption PSK is kept for one epoch too long",
        Edit(Standing.forgotten_psks, "- settings.resumption_psk_epochs", "- settings.resumption_psk_epochs - 1"),
    ),
    Fault(
        "R-8.6-02",
        "no resumption PSK is ever forgotten",
        Edit(merging.merge_transition, "**forgotten,", ""),
    ),
    Fault(
        "R-8.7-01",
        "the confirmation tag stands for the epoch authenticator",
        Edit(Group.epoch_authenticator, "secrets.epoch_authenticator", "group.confirmation_tag"),
    ),
]
