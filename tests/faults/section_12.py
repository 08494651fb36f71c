"""Faults in proposals: each by itself, as a list, and applied. RFC 9420 §12, §12.1 to §12.3."""

from __future__ import annotations

from typing import Annotated

from mls import Group, drafting, merging
from mls.epoch import (
    create_commit,
    custom,
    extensions,
    framing,
    group_extensions,
    join,
    proposals,
    public_commit,
    queue,
    receive_commit,
)
from mls.messages import (
    Add,
    ExternalInit,
    ExternalSender,
    FramedContent,
    GroupContext,
    GroupContextExtensions,
    KeyPackage,
    LeafNode,
    ReInit,
    Remove,
    Update,
)
from mls.registry import GROUP_CONTEXT
from mls.store.standing import Standing
from tests.support.planting import Edit, Fault, Item, Layout
from treekem.leaf_node import Extension
from treekem.tree import RatchetTree
from treekem.wire import Fixed, UInt16, UInt32, encoder

AN_EPOCH = [
    Fault(
        "R-12-01",
        "a group begins with epoch 1",
        Edit(join.create_epoch_zero, "group_id, 0, tree.tree_hash", "group_id, 1, tree.tree_hash"),
    ),
    Fault(
        "R-12-01",
        "an epoch takes four bytes",
        Layout(GroupContext, types=(("epoch", UInt32),)),
        Layout(FramedContent, types=(("epoch", UInt32),)),
    ),
    Fault(
        "R-12-02",
        "only what was proposed before is committed",
        Edit(queue.select_proposals, "Selection((*taken, *wanted),", "Selection(tuple(taken),"),
    ),
]

ALONE = [
    Fault(
        "R-12.1-01",
        "the type of a proposal takes a byte",
        Edit(encoder._encoders_by_kind, 'tag.to_bytes(width, "big"), encoder_of', 'tag.to_bytes(1, "big"), encoder_of'),
    ),
    Fault(
        "R-12.1-03",
        "proposals outlive their epoch",
        Edit(
            merging.merge_transition,
            "Standing(state, tree, past, frozen",
            "Standing(state, tree, past, dict(standing.proposals), frozen",
        ),
    ),
    Fault(
        "R-12.1-03",
        "whoever commits a proposal is taken for its sender",
        Edit(
            public_commit._resolve,
            "resolved.append(require_present(found,",
            "resolved.append(found and QueuedProposal(found.proposal, content.content.sender, reference) "
            "or require_present(found,",
        ),
    ),
    Fault(
        "R-12.1-04",
        "a proposal that comes again is stored again",
        Edit(Standing.proposal_batch, "if pending.queued.reference in self.proposals:", "if False:"),
    ),
    Fault(
        "R-12.1.1-01",
        "an Add says whether it has a key package",
        Layout(Add, types=(("key_package", KeyPackage | None),)),
    ),
    Fault(
        "R-12.1.1-03",
        "a new member goes behind all others, though a leaf is free",
        Edit(RatchetTree.with_room, "leaf = self.first_blank_leaf()", "leaf = None"),
    ),
    Fault(
        "R-12.1.1-04",
        "a new member is not unmerged at the root",
        Edit(
            RatchetTree.add_leaf,
            "direct_path(node_of(leaf), tree.n_leaves):",
            "direct_path(node_of(leaf), tree.n_leaves)[:-1]:",
        ),
    ),
    Fault(
        "R-12.1.1-05",
        "the extensions of an added leaf are lost",
        Edit(
            proposals._edited_tree,
            "LeafSlot.of(key_package.leaf_node)",
            "LeafSlot.of(__import__('dataclasses').replace(key_package.leaf_node, extensions=()))",
        ),
    ),
    Fault(
        "R-12.1.2-01",
        "an Update says whether it has a leaf",
        Layout(Update, types=(("leaf_node", LeafNode | None),)),
    ),
    Fault(
        "R-12.1.2-04",
        "an Update leaves the nodes above its leaf",
        Edit(RatchetTree.update_leaf, "**self._blanks_above(leaf), ", ""),
    ),
    Fault(
        "R-12.1.2-04",
        "an Update leaves the root",
        Edit(
            RatchetTree.update_leaf,
            "**self._blanks_above(leaf), ",
            "**{x: None for x in self._blanks_above(leaf) if x != self.n_leaves - 1}, ",
        ),
    ),
    Fault(
        "R-12.1.2-05",
        "the private key of an own Update is not kept",
        Edit(Group.propose, "draft.update_key, ", "None, "),
    ),
    Fault(
        "R-12.1.2-05",
        "the key of an own Update is not used once it was committed",
        Edit(receive_commit._open_path, "keys[node_of(index)] = _own_update_key(leaf, known)", "pass"),
    ),
    Fault(
        "R-12.1.2-06",
        "the keys of Updates that nobody committed stay",
        Edit(merging._wipe_ended, "key.wipe()", "pass"),
    ),
    Fault(
        "R-12.1.3-01",
        "a Remove has two bytes for the leaf",
        Layout(Remove, types=(("removed", UInt16),)),
    ),
    Fault(
        "R-12.1.3-03",
        "a tree whose right half is empty keeps its width",
        Edit(RatchetTree.remove_leaf, "return blanked.truncated()", "return blanked"),
    ),
    Fault(
        "R-12.1.3-03",
        "the nodes above a removed leaf stay",
        Edit(RatchetTree.remove_leaf, "**self._blanks_above(leaf), ", ""),
    ),
    Fault(
        "R-12.1.3-03",
        "a Remove leaves the root",
        Edit(
            RatchetTree.remove_leaf,
            "**self._blanks_above(leaf), ",
            "**{x: None for x in self._blanks_above(leaf) if x != self.n_leaves - 1}, ",
        ),
    ),
    Fault(
        "R-12.1.3-04",
        "the secret tree is as wide as before a removal",
        Edit(
            merging.merge_transition,
            "SecretTree(state.suite, state.group.tree.n_leaves,",
            "SecretTree(state.suite, standing.state.group.tree.n_leaves,",
        ),
    ),
    Fault(
        "R-12.1.4-04",
        "a psk_nonce is zero",
        Edit(drafting.draft_psk, "entropy(suite.hash_length)", "bytes(suite.hash_length)"),
    ),
    Fault(
        "R-12.1.5-01",
        "a ReInit names the cipher suite before the version",
        Layout(ReInit, order=("group_id", "cipher_suite", "version", "extensions")),
    ),
    Fault(
        "R-12.1.5-03",
        "a ReInit freezes nothing",
        Edit(merging.merge_transition, "frozen=transition.effect.reinit", "frozen=None"),
    ),
    Fault(
        "R-12.1.5-03",
        "what a ReInit said is not stored",
        Edit(Standing.merge_batch, "pack_state(after.state, after.frozen)", "pack_state(after.state, None)"),
    ),
    Fault(
        "R-12.1.6-01",
        "the output of the KEM is a fixed array",
        Layout(ExternalInit, types=(("kem_output", Annotated[bytes, Fixed(3)]),)),
    ),
    Fault(
        "R-12.1.7-01",
        "a GroupContextExtensions says whether it has extensions",
        Layout(GroupContextExtensions, types=(("extensions", tuple[Extension, ...] | None),)),
    ),
    Fault(
        "R-12.1.7-01",
        "of two extensions of one type the last one counts",
        Edit(
            group_extensions.verify_group_context_extensions,
            "verify_extensions(extensions,",
            "verify_extensions({each.extension_type: each for each in extensions}.values(),",
        ),
    ),
    Fault(
        "R-12.1.7-02",
        "extensions that a proposal does not name stay",
        Edit(
            group_extensions.extensions_after,
            "told = next(changes, group.extensions)",
            "told = tuple({e.extension_type: e for e in (*group.extensions, *next(changes, ()))}.values())",
        ),
    ),
    Fault(
        "R-12.1.7-03",
        "members are not asked whether they meet what is required from now on",
        Edit(proposals._verify_applied, "if applied.extensions != group.extensions:", "if False:"),
    ),
    Fault(
        "R-12.1.7-03",
        "who is removed must meet what is required from now on",
        Edit(
            proposals._verify_applied,
            "verify_all_demands(applied.tree, applied.demands)",
            "verify_all_demands(group.tree, applied.demands)",
        ),
    ),
    Fault(
        "R-12.1.7-05",
        "a group context may hold an external_pub",
        Item(extensions._HOMES, 4, GROUP_CONTEXT),
    ),
    Fault(
        "R-12.1.8-07",
        "who proposes from outside signs the group context as well",
        Edit(framing.framed_content_tbs, "case MemberSender() | NewMemberCommitSender():", "case object():"),
    ),
    Fault(
        "R-12.1.8.1-01",
        "the credential of an external sender stands before its key",
        Layout(ExternalSender, order=("credential", "signature_key")),
    ),
    Fault(
        "R-12.1.8.1-02",
        "the key of an external sender is not looked at",
        Edit(group_extensions.verify_external_senders, "suite.verify_signature_key(sender.signature_key)", "pass"),
    ),
    Fault(
        "R-12.1.8.1-02",
        "the policy is not asked about external senders",
        Edit(group_extensions.verify_external_senders, "if sender not in old:", "if False:"),
    ),
    Fault(
        "R-12.1.8.1-03",
        "external senders are counted from the end",
        Edit(framing.signature_key_of, "listed[index].signature_key", "listed[-1 - index].signature_key"),
    ),
]

TOGETHER = [
    Fault(
        "R-12.2-01",
        "a receiver does not judge the list",
        Edit(public_commit._verify_list, "verify_list(proposals, committer)", "pass"),
    ),
    Fault(
        "R-12.2-01",
        "a committer does not judge the list",
        Edit(create_commit._applied, "verify_list(order.proposals, own)", "pass"),
    ),
    Fault(
        "R-12.2-01",
        "a receiver does not judge the list of an external commit",
        Edit(public_commit._verify_list, "verify_external_list(proposals)", "pass"),
    ),
    Fault(
        "R-12.2-02",
        "only the first two proposals of a list are judged",
        Edit(
            proposals._verify_each,
            "if isinstance(queued.proposal, CustomProposal):",
            "if index > 1 or isinstance(queued.proposal, CustomProposal):",
        ),
    ),
    Fault(
        "R-12.2-06",
        "a Remove does not win over an Update",
        Edit(queue._objection, "if sender in removed:", "if False:"),
    ),
    Fault(
        "R-12.2-06",
        "the first Update of a member wins",
        Edit(
            queue._preferred,
            "latest[queued.sender.leaf_index] = queued",
            "latest.setdefault(queued.sender.leaf_index, queued)",
        ),
    ),
    Fault(
        "R-12.2-12",
        "a ReInit goes before other proposals",
        Edit(queue._preferred, "others = any(not isinstance(", "others = all(not isinstance("),
    ),
    Fault(
        "R-12.2-16",
        "the application is not asked about what is committed or proposed here",
        Edit(proposals.verify_proposal, "if link is None:", "if link is None and not strict:"),
    ),
    Fault(
        "R-12.2-16",
        "the application is not asked about what others commit or propose",
        Edit(proposals.verify_proposal, "if link is None:", "if link is None and strict:"),
    ),
    Fault(
        "R-12.2-21",
        "the rule of a type does not see the rest of the list",
        Edit(custom.verify_custom, "Proposed(value, sender, others,", "Proposed(value, sender, (),"),
    ),
    Fault(
        "R-12.2-22",
        "keys are compared before anybody is removed",
        Edit(
            proposals._verify_applied,
            "    verify_members(applied.tree,",
            "    tree, added = _edited_tree(group.tree, applied.updated, (), [each for _, each in applied.added])\n"
            "    verify_members(tree, [index for index, _ in added], group.suite)\n"
            "    verify_members(applied.tree,",
        ),
    ),
]

APPLIED = [
    Fault(
        ("R-12.3-01", "R-12.3-04"),
        "Adds are applied before Removes",
        Edit(
            proposals._edited_tree,
            "    for index in removed:\n        tree = tree.remove_leaf(index)\n"
            "    if len(packages) > _FEW:\n"
            "        tree, leaves = tree.with_new_leaves([LeafSlot.of(each.leaf_node) for each in packages])\n"
            "        return tree, tuple(zip(leaves, packages, strict=True))\n"
            "    added = []\n"
            "    for key_package in packages:\n"
            "        tree, index = tree.add_leaf(LeafSlot.of(key_package.leaf_node))\n"
            "        added.append((index, key_package))\n",
            "    added = []\n"
            "    for key_package in packages:\n"
            "        tree, index = tree.add_leaf(LeafSlot.of(key_package.leaf_node))\n"
            "        added.append((index, key_package))\n"
            "    for index in removed:\n        tree = tree.remove_leaf(index)\n",
        ),
    ),
    Fault(
        "R-12.3-01",
        "new members are taken in another order than that of the list",
        Edit(proposals._edited_tree, "for key_package in packages:", "for key_package in reversed(tuple(packages)):"),
    ),
    Fault(
        "R-12.3-01",
        "pre-shared keys are taken in another order than that of the list",
        Edit(
            proposals.apply_proposals,
            "psks=tuple(each.proposal.psk for each in proposals if",
            "psks=tuple(each.proposal.psk for each in reversed(proposals) if",
        ),
    ),
    Fault(
        "R-12.3-02",
        "proposals are judged by the extensions that were",
        Edit(
            proposals.apply_proposals,
            "Demands.of(group.context, group.suite, extensions)",
            "Demands.of(group.context, group.suite)",
        ),
    ),
    Fault(
        "R-12.3-03",
        "members move up where one is removed",
        Edit(
            proposals._edited_tree,
            "for index in removed:\n        tree = tree.remove_leaf(index)",
            "for gone, index in enumerate(removed):\n        tree = tree.remove_leaf(index - gone)",
        ),
    ),
    Fault(
        "R-12.3-06",
        "types of the application are applied from the last to the first",
        Edit(
            custom.apply_custom,
            "in enumerate(entries):",
            "in reversed(tuple(enumerate(entries))):",
        ),
    ),
    Fault(
        "R-12.3-06",
        "types of the application are applied before the extensions change",
        Edit(
            group_extensions.extensions_after,
            "apply_custom(group, told, entries, env)",
            "apply_custom(group, group.extensions, entries, env)",
        ),
    ),
]

FAULTS = [*AN_EPOCH, *ALONE, *TOGETHER, *APPLIED]
