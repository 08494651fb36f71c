"""Faults in commits: what they are, how they are created and how they are processed. RFC 9420 §12.4 to §12.4.2."""

from __future__ import annotations

from mls import merging, receiving, succession
from mls.epoch import create_commit, join, proposals, public_commit, queue, receive_commit, transition, welcome
from mls.group import Group
from mls.messages import Commit
from mls.schedule import key_schedule
from tests.support.planting import Edit, Fault, Layout
from treekem import path
from treekem.tree import RatchetTree

COMMITS = [
    Fault("R-12.4-01", "the path stands before the proposals", Layout(Commit, order=("path", "proposals"))),
    Fault(
        "R-12.4-03",
        "a committer does not look at its list",
        Edit(create_commit._applied, "verify_list(order.proposals, own)", "pass"),
    ),
    Fault(
        "R-12.4-03",
        "a receiver does not look at the list",
        Edit(public_commit._verify_list, "verify_list(proposals, committer)", "pass"),
    ),
    Fault(
        "R-12.4-04",
        "of what goes together, one proposal is taken",
        Edit(queue.select_proposals, "taken.extend(chunk)", "taken.extend(chunk[:1])"),
    ),
    Fault(
        "R-12.4-05",
        "a commit covers all that is pending, or is refused",
        Edit(
            public_commit.stage_public_commit,
            "_verify_path_presence(commit, proposals, env)",
            'require(len(proposals) >= len(queued), InvalidCommit, "R-12.4-11", "some are left out")',
        ),
    ),
    Fault(
        "R-12.4-06",
        "what was left out goes on waiting, as of the epoch that is over",
        Edit(
            merging.merge_transition,
            "Standing(state, tree, past, frozen=",
            "Standing(state, tree, past, dict(standing.proposals), frozen=",
        ),
    ),
    Fault(
        "R-12.4-07",
        "a commit without proposals is refused, path or not",
        Edit(
            public_commit._verify_path_presence,
            "commit.path is not None or",
            "commit.path is not None and proposals or",
        ),
    ),
    Fault(
        "R-12.4-09",
        "a ReInit needs a path",
        Edit(proposals._goes_without_path, "Add | PreSharedKey | ReInit", "Add | PreSharedKey"),
    ),
    Fault(
        "R-12.4-10",
        "a type that says nothing of a path needs none",
        Edit(
            proposals._goes_without_path,
            "isinstance(proposal, Add | PreSharedKey | ReInit)",
            "not isinstance(proposal, Update | Remove | GroupContextExtensions)",
        ),
    ),
    Fault(
        "R-12.4-10",
        "no application's type needs a path, whatever was declared",
        Edit(proposals._goes_without_path, "definition is not None and not definition.needs_path", "True"),
    ),
    Fault(
        "R-12.4-12",
        "a proposal that is referred to becomes the committer's own",
        Edit(
            public_commit._resolve,
            'require_present(found, InvalidCommit, "R-12.4-11", message, code=code, index=index)',
            "replace(require_present(found, InvalidCommit, '', ''), sender=content.content.sender)",
        ),
    ),
    Fault(
        "R-12.4-12",
        "a proposal that stands in the commit is the first member's",
        Edit(
            public_commit._resolve,
            "QueuedProposal(proposal, content.content.sender)",
            "QueuedProposal(proposal, MemberSender(LeafIndex(0)))",
        ),
    ),
    Fault(
        "R-12.4-13",
        "what is referred to does not count when a path is due",
        Edit(
            public_commit._verify_path_presence,
            "is_path_required(proposals, env.registry)",
            "is_path_required([each for each in proposals if not each.reference], env.registry)",
        ),
    ),
]

CREATING = [
    Fault(
        "R-12.4.1-01",
        "a list is applied without having been judged",
        Edit(create_commit._applied, "verify_list(order.proposals, own)", "pass"),
    ),
    Fault(
        "R-12.4.1-01",
        "who makes a commit is in its epoch at once",
        Edit(
            Group.commit,
            "standing.candidates[candidate.name] = candidate",
            "standing.candidates[candidate.name], standing.state = candidate, created.transition.state",
        ),
    ),
    Fault(
        "R-12.4.1-02",
        "a path that is not required is left out",
        Edit(create_commit._wants_path, "return required or order.path is not False", "return required"),
    ),
    Fault(
        "R-12.4.1-03",
        "the path is that of the tree before the proposals",
        Edit(
            create_commit.create_commit,
            "create_path(group, applied, applied.tree,",
            "create_path(group, applied, applied.tree if applied.added else group.tree,",
        ),
    ),
    Fault(
        "R-12.4.1-04",
        "a joiner looks for a leaf before its former one is blank",
        Edit(
            join.create_external_commit,
            "tree, index = applied.tree.with_room()",
            "tree, index = applied.tree.with_room()[0], group.tree.with_room()[1]",
        ),
    ),
    Fault(
        "R-12.4.1-04",
        "a joiner extends the tree whatever is free",
        Edit(RatchetTree.with_room, "self.first_blank_leaf()", "None"),
    ),
    Fault(
        "R-12.4.1-05",
        "the commit secret is the last path secret itself",
        Edit(path.plan_path, "suite.derive_commit_secret(secret) if nodes else", ""),
        Edit(path._keys_above, "suite.derive_commit_secret(secret)", "CommitSecret(secret.expose())"),
    ),
    Fault(
        "R-12.4.1-05",
        "a commit without a path has a secret of ones",
        Edit(key_schedule.zero_commit_secret, "bytes(suite.hash_length)", 'b"\\1" * suite.hash_length'),
    ),
    Fault(
        "R-12.4.1-06",
        "path secrets are sealed under the old context",
        Edit(create_commit.create_path, "encode(provisional_context(group, after, applied))", "encode(group.context)"),
        Edit(receive_commit.stage_commit, "encode(provisional)", "encode(group.context)"),
    ),
    Fault(
        "R-12.4.1-06",
        "the new context has the old extensions",
        Edit(transition.provisional_context, "extensions=applied.extensions", "extensions=group.extensions"),
    ),
    Fault(
        "R-12.4.1-06",
        "the new context has the old tree hash",
        Edit(transition.provisional_context, "tree.tree_hash(group.suite)", "group.tree.tree_hash(group.suite)"),
    ),
    Fault(
        "R-12.4.1-07",
        "pre-shared keys are combined from the last to the first",
        Edit(proposals.psks_of, "return found", "return found[::-1]"),
    ),
    Fault(
        "R-12.4.1-07",
        "only the first pre-shared key is injected",
        Edit(transition.derive_next_epoch, "psk_secret(suite, psks)", "psk_secret(suite, psks[:1])"),
    ),
    Fault(
        "R-12.4.1-08",
        "a commit is signed under the context of the next epoch",
        Edit(
            create_commit.signed_content,
            "sign_content(state.suite, state.own.signature_key, framed, wire_format, context)",
            "sign_content(state.suite, state.own.signature_key, framed, wire_format, "
            "replace(context, epoch=context.epoch + 1))",
        ),
    ),
    Fault(
        "R-12.4.1-08",
        "the tag confirms the transcript as it was before the commit",
        Edit(
            transition.derive_next_epoch,
            "confirmation_tag(suite, secrets.confirmation_key, confirmed)",
            "confirmation_tag(suite, secrets.confirmation_key, provisional.confirmed_transcript_hash)",
        ),
    ),
    Fault(
        "R-12.4.1-09",
        "the key schedule runs under the provisional context",
        Edit(transition.derive_next_epoch, "encoded = encode(context)", "encoded = encode(provisional)"),
    ),
    Fault(
        "R-12.4.1-09",
        "the commit secret does not enter the key schedule",
        Edit(
            transition.derive_next_epoch,
            "derive_joiner_secret(suite, init_secret, commit_secret, encoded)",
            "derive_joiner_secret(suite, init_secret, CommitSecret(bytes(suite.hash_length)), encoded)",
        ),
    ),
    Fault(
        "R-12.4.1-09",
        "the init secret does not enter the key schedule",
        Edit(
            transition.derive_next_epoch,
            "derive_joiner_secret(suite, init_secret,",
            "derive_joiner_secret(suite, InitSecret(bytes(suite.hash_length)),",
        ),
    ),
    Fault(
        "R-12.4.1-10",
        "a commit is protected by the epoch that it leads to",
        Edit(create_commit.create_commit, "protect(state, with_tag(", "protect(after, with_tag("),
    ),
    Fault(
        "R-12.4.1-10",
        "a commit that is encrypted spends no generation of the handshake ratchet",
        Edit(Group.commit, "self._spend(created.key, ", "self._spend(None, "),
    ),
    Fault(
        "R-12.4.1-11",
        "the GroupInfo names the first leaf as its signer",
        Edit(welcome.create_group_info, "own.index, b", "LeafIndex(0), b"),
    ),
    Fault(
        "R-12.4.1-11",
        "the GroupInfo carries no confirmation tag",
        Edit(welcome.create_group_info, "group.confirmation_tag, own", 'b"", own'),
    ),
    Fault(
        "R-12.4.1-12",
        "the ratchet tree is inside just where it was to come beside",
        Edit(welcome.create_group_info, "if ratchet_tree:", "if not ratchet_tree:"),
    ),
    Fault(
        "R-12.4.1-12",
        "no GroupInfo has an external_pub",
        Edit(welcome.create_group_info, "if external_pub:", "if not external_pub:"),
    ),
    Fault(
        "R-12.4.1-13",
        "the GroupInfo is signed with the key that the path replaced",
        Edit(create_commit.create_commit, "leaf.signature_keys.private if wants_path else own", "own"),
    ),
    Fault(
        "R-12.4.1-14",
        "the GroupInfo is bound to associated data",
        Edit(welcome.create_welcome, 'aead_seal(key, nonce, b"", ', 'aead_seal(key, nonce, b"Welcome", '),
    ),
    Fault(
        "R-12.4.1-14",
        "key and nonce of the GroupInfo come from the joiner secret without the welcome secret",
        Edit(key_schedule.derive_welcome_secret, "suite.extract(joiner_secret, psk_secret)", "joiner_secret.copy()"),
    ),
    Fault(
        "R-12.4.1-15",
        "joiners are told the init secret",
        Edit(welcome._secrets_for, "following.joiner_secret.expose()", "following.secrets.init_secret.expose()"),
    ),
    Fault(
        "R-12.4.1-15",
        "joiners are told no path secret",
        Edit(welcome._secrets_for, "if plan is not None:", "if False:"),
    ),
    Fault(
        "R-12.4.1-16",
        "joiners are told the secret of the committer's lowest node",
        Edit(welcome._secrets_for, "plan.path_secrets[ancestor]", "plan.path_secrets[plan.nodes[0]]"),
    ),
    Fault(
        "R-12.4.1-17",
        "the pre-shared keys stand in the GroupSecrets from the last to the first",
        Edit(welcome._secrets_for, "path_secret, psks)", "path_secret, psks[::-1])"),
    ),
    Fault(
        "R-12.4.1-18",
        "the Welcome is for the first new member alone",
        Edit(welcome.create_welcome, "in applied.added:", "in applied.added[:1]:"),
    ),
    Fault(
        "R-12.4.1-19",
        "a successor is not tied to the group that it continues",
        Edit(
            succession.create_first_commit,
            "[*(Add(read_key_package(each, env.settings)) for each in key_packages), psk]",
            "[Add(read_key_package(each, env.settings)) for each in key_packages]",
        ),
    ),
    Fault(
        "R-12.4.1-19",
        "a successor may lack members",
        Edit(succession.create_first_commit, "_verify_members(plan, created.transition.state.group, env)", "pass"),
    ),
    Fault(
        "R-12.4.1-20",
        "who joins from outside stays in the epoch that it found",
        Edit(join.create_external_commit, "EpochState(following.group,", "EpochState(group,"),
    ),
]

PROCESSING = [
    Fault(
        "R-12.4.2-04",
        "a list is applied as it comes",
        Edit(public_commit._verify_list, "verify_list(proposals, committer)", "pass"),
    ),
    Fault(
        "R-12.4.2-04",
        "the list of an external commit is applied as it comes",
        Edit(public_commit._verify_list, "verify_external_list(proposals)", "pass"),
    ),
    Fault(
        "R-12.4.2-06",
        "a commit changes the state as soon as it is received",
        Edit(
            receiving._receive_handshake,
            "return StagedCommit(",
            "standing.state = transition.state or standing.state; return StagedCommit(",
        ),
    ),
    Fault(
        "R-12.4.2-08",
        "a joiner is looked for at the last leaf",
        Edit(
            public_commit._merge_path,
            "tree, committer = applied.tree.with_room()",
            "tree, committer = applied.tree, LeafIndex(applied.tree.n_leaves - 1)",
        ),
    ),
    Fault(
        "R-12.4.2-13",
        "path secrets are opened under the old context",
        Edit(receive_commit.stage_commit, "encode(provisional)", "encode(group.context)"),
    ),
    Fault(
        "R-12.4.2-14",
        "without a path the tree hash stays",
        Edit(
            receive_commit.stage_commit,
            "provisional_context(group, seen.tree,",
            "provisional_context(group, group.tree if seen.path is None else seen.tree,",
        ),
    ),
    Fault(
        "R-12.4.2-14",
        "a receiver puts ones for the secret of a path that is not there",
        Edit(
            receive_commit._open_path,
            "return keys, zero_commit_secret(suite)",
            'return keys, CommitSecret(b"\\1" * suite.hash_length)',
        ),
    ),
    Fault(
        "R-12.4.2-15",
        "a receiver's transcript lacks the commit",
        Edit(
            transition.derive_next_epoch,
            "confirmed = confirmed_transcript_hash(suite, group.interim_transcript_hash, content)",
            "confirmed = group.context.confirmed_transcript_hash",
        ),
    ),
    Fault(
        "R-12.4.2-17",
        "the new state is adopted before it is written",
        Edit(
            merging.merge_transition,
            "store.apply({**standing.merge_batch(after, key),",
            "batch, standing.state = standing.merge_batch(after, key), state; store.apply({**batch,",
        ),
    ),
    Fault(
        "R-12.4.2-17",
        "every epoch is kept, whatever settings say",
        Edit(merging.merge_transition, "[-n_kept:] if n_kept else []", ""),
    ),
    Fault(
        "R-12.4.2-20",
        "who is removed keeps the secrets for good",
        Edit(merging.merge_transition, "standing.wipe()", "pass"),
    ),
    Fault(
        "R-12.4.2-23",
        "a private key outlives the public one",
        Edit(path.surviving_keys, "is not None and key == before.encryption_key(x)", "or True"),
    ),
    Fault(
        "R-12.4.2-23",
        "the key of an Update that was not committed is not wiped",
        Edit(merging._wipe_ended, "key.wipe()", "pass"),
    ),
]

FAULTS = [*COMMITS, *CREATING, *PROCESSING]
