"""Moving a group to its next epoch: one batch, then one assignment. RFC 9420 §9.2, §12.4.2, §14."""

from __future__ import annotations

from mls.epoch.environment import Environment
from mls.epoch.past import still_read
from mls.epoch.transition import Transition
from mls.errors import UnavailableSecret
from mls.schedule.secret_tree import SecretTree, StagedKey
from mls.store.pins import pin_batch
from mls.store.seam import Store
from mls.store.standing import Standing, limits_of, wipe_states


def merge_transition(
    standing: Standing, transition: Transition, key: StagedKey | None, store: Store, env: Environment
) -> Standing | None:
    """Write and return the standing after a commit, or None when it removed us and all is wiped.

    `key` is the message key of a commit that came encrypted; it is consumed only now.
    """
    state = transition.state
    if state is None:
        store.apply(dict.fromkeys(name for name, _ in store.scan(standing.prefix)))
        standing.wipe()
        return None
    key = None if key is None or _is_gone(key) else key
    n_kept = env.settings.max_past_epochs
    recent = still_read(standing.past, env.now, env.settings)
    past = [*recent, standing.past_after(transition, env.now)][-n_kept:] if n_kept else []
    secret = state.secrets.encryption.copy()
    tree = SecretTree(state.suite, state.group.tree.n_leaves, secret, limits_of(env.settings))
    after = Standing(state, tree, past, frozen=transition.effect.reinit)
    effect = transition.effect
    members = (*effect.added, *(new for _, new in effect.updated))
    forgotten = dict.fromkeys(standing.forgotten_psks(store, env.settings))
    store.apply({**standing.merge_batch(after, key), **forgotten, **pin_batch(store, members)})
    # Written: from here on nothing can fail, and what the old epoch alone owned is wiped.
    state.secrets.encryption.wipe()
    if key is not None:
        standing.secret_tree.apply(key)
    _wipe_ended(standing, after)
    return after


def drop_expired(standing: Standing, store: Store, env: Environment) -> int:
    """Forget past epochs and skipped keys whose time is over, and return how many epochs. RFC 9420 §15.3."""
    kept = still_read(standing.past, env.now, env.settings)
    expired = standing.past[: len(standing.past) - len(kept)]
    batch = {**standing.without_epochs(expired), **standing.without_expired_keys(env.now, kept)}
    if batch:
        store.apply(batch)
        standing.past = kept
        for old in expired:
            old.wipe()
        for tree in (standing.secret_tree, *(each.keys.secret_tree for each in kept)):
            tree.forget_expired(env.now)
    return len(expired)


def _is_gone(key: StagedKey) -> bool:
    """Whether a commit's key made room for others since it was used: the commit was verified then, and still holds."""
    try:
        return not key.records
    except UnavailableSecret:
        return True


def _wipe_ended(standing: Standing, after: Standing) -> None:
    kept = {each.epoch for each in after.past}
    for old in standing.past:
        if old.epoch not in kept:
            old.wipe()
    if standing.state.epoch not in kept:
        standing.secret_tree.wipe()
    ended = [standing.state, *(each.transition.state for each in standing.candidates.values())]
    wipe_states(ended, kept=after.state)
    held = {id(key) for key in after.state.own.secrets()}
    for pending in standing.proposals.values():
        for key in pending.own_keys():
            if id(key) not in held:
                key.wipe()
