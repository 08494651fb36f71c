"""Who may be a member: identities and the policies that accept them. RFC 9420 §5.3.

Who may do what in a group is for `mls.identity.roles`.
"""

from mls.identity.identity import Identity
from mls.identity.policy import (
    AcceptAnyone,
    CredentialPolicy,
    Place,
    Subject,
    TrustOnFirstUse,
    identity_of,
)

__all__ = ["AcceptAnyone", "CredentialPolicy", "Identity", "Place", "Subject", "TrustOnFirstUse", "identity_of"]
