"""The error tree: everything that the engine raises on purpose.

Bad input ends in exactly one of these, and any other exception that escapes on hostile input is a bug. The tree stands
on the ground floor because the tree and the wire format refuse things too; applications import it from `mls.errors`.

An error says what and where in its text, and carries for programs: `code`, one of a closed list; `rule`, the ID of the
clause that refused; `authenticated`, whether the input was proven to come from a member before it was refused. Recovery
may only be driven by authenticated facts: anyone on the wire can provoke the others.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar


class Code(StrEnum):
    """What went wrong, for programs; closed."""

    # Decoding.
    TRUNCATED = "Truncated"
    TRAILING_DATA = "TrailingData"
    NON_MINIMAL_VARINT = "NonMinimalVarint"
    INVALID_VARINT_PREFIX = "InvalidVarintPrefix"
    LIMIT_EXCEEDED = "LimitExceeded"
    UNKNOWN_ENUM = "UnknownEnum"
    BAD_PRESENCE_OCTET = "BadPresenceOctet"
    DUPLICATE_EXTENSION = "DuplicateExtension"
    NON_ZERO_PADDING = "NonZeroPadding"
    MALFORMED_TREE = "MalformedTree"
    WRONG_WIRE_FORMAT = "WrongWireFormat"
    MALFORMED = "Malformed"
    # Keys and cryptography.
    NON_CANONICAL_KEY = "NonCanonicalKey"
    BAD_KEY = "BadKey"
    BAD_SIGNATURE = "BadSignature"
    BAD_MEMBERSHIP_TAG = "BadMembershipTag"
    BAD_CONFIRMATION_TAG = "BadConfirmationTag"
    MISSING_TAG = "MissingTag"
    AEAD_FAILED = "AeadFailed"
    SENDER_DATA_UNDECRYPTABLE = "SenderDataUndecryptable"
    # Well-formed, but not for this state.
    UNKNOWN_GROUP = "UnknownGroup"
    WRONG_EPOCH = "WrongEpoch"
    EPOCH_EXHAUSTED = "EpochExhausted"
    KEY_CONSUMED = "KeyConsumed"
    TOO_OLD = "TooOld"
    TOO_FAR_FUTURE = "TooFarFuture"
    UNVERIFIED = "Unverified"
    # Authenticated, but against a rule.
    BAD_KEY_PACKAGE = "BadKeyPackage"
    BAD_LEAF = "BadLeaf"
    LIFETIME_INVALID = "LifetimeInvalid"
    UNSUPPORTED_CAPABILITY = "UnsupportedCapability"
    DUPLICATE_KEY = "DuplicateKey"
    BAD_PROPOSAL = "BadProposal"
    BAD_PROPOSAL_LIST = "BadProposalList"
    BAD_COMMIT = "BadCommit"
    PATH_REQUIRED = "PathRequired"
    BAD_PATH = "BadPath"
    PATH_SECRET_MISMATCH = "PathSecretMismatch"  # noqa: S105  (a name, not a password)
    PARENT_HASH_MISMATCH = "ParentHashMismatch"
    UNMERGED_LEAVES_INVALID = "UnmergedLeavesInvalid"
    TREE_HASH_MISMATCH = "TreeHashMismatch"
    UNKNOWN_PROPOSAL_REF = "UnknownProposalRef"
    PSK_UNKNOWN = "PskUnknown"
    PSK_INVALID = "PskInvalid"
    GROUP_EXISTS = "GroupExists"
    BAD_GROUP_INFO = "BadGroupInfo"
    STALE_GROUP_INFO = "StaleGroupInfo"
    BAD_WELCOME = "BadWelcome"
    NO_MATCHING_KEY_PACKAGE = "NoMatchingKeyPackage"
    KEY_PACKAGE_CONSUMED = "KeyPackageConsumed"
    # Policy.
    NOT_PERMITTED = "NotPermitted"
    CREDENTIAL_REFUSED = "CredentialRefused"
    CREDENTIAL_CHANGED = "CredentialChanged"
    EXTERNAL_COMMIT_DISABLED = "ExternalCommitDisabled"
    EXTERNAL_SENDERS_DISABLED = "ExternalSendersDisabled"
    RESYNC_DISABLED = "ResyncDisabled"
    # The caller's state.
    MUST_COMMIT_FIRST = "MustCommitFirst"
    MUST_REKEY = "MustRekey"
    GROUP_RETIRED = "GroupRetired"
    STALE_HANDLE = "StaleHandle"
    WRONG_THREAD = "WrongThread"
    INVALID_ARGUMENT = "InvalidArgument"
    NOTHING_TO_DO = "NothingToDo"
    # Storage and support.
    UNSUPPORTED = "Unsupported"
    CORRUPT = "Corrupt"
    SCHEMA_TOO_NEW = "SchemaTooNew"


class MLSError(Exception):
    """Everything that is raised on purpose.

    Attributes: `code`, for programs; `rule`, the ID of the clause that refused, or an empty string; `authenticated`,
    true when a member's key had vouched for the input before it was refused; `leaf` and `index`, the leaf or the
    position in a list that is to blame, where one is; `indexes`, of a list in which every bad entry was looked for, the
    positions of all of them.
    """

    default_code: ClassVar[Code] = Code.MALFORMED

    def __init__(
        self,
        message: str,
        *,
        code: Code | None = None,
        rule: str = "",
        authenticated: bool = False,
        leaf: int | None = None,
        index: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = self.default_code if code is None else code
        self.rule = rule
        self.authenticated = authenticated
        self.leaf = leaf
        self.index = index
        self.indexes: tuple[int, ...] = ()

    def __str__(self) -> str:
        return f"{self.message} [{self.rule}]" if self.rule else self.message


class MalformedMessage(MLSError):
    """Bytes that are not an MLS object: `where` names the field, `offset` the byte, from the start of the input."""

    def __init__(
        self,
        message: str,
        *,
        code: Code | None = None,
        rule: str = "",
        authenticated: bool = False,
        leaf: int | None = None,
        index: int | None = None,
        where: str = "",
        offset: int = 0,
    ) -> None:
        super().__init__(message, code=code, rule=rule, authenticated=authenticated, leaf=leaf, index=index)
        self.where = where
        self.offset = offset


class InvalidMessage(MLSError):
    """An MLS object that breaks a rule; a subclass per kind of object refused."""


class InvalidKey(InvalidMessage):
    """A public key that its suite does not accept."""

    default_code = Code.BAD_KEY


class InvalidSignature(InvalidMessage):
    """A signature that does not verify."""

    default_code = Code.BAD_SIGNATURE


class InvalidTag(InvalidMessage):
    """A membership or confirmation tag that does not verify."""

    default_code = Code.BAD_MEMBERSHIP_TAG


class InvalidCiphertext(InvalidMessage):
    """A ciphertext that does not open."""

    default_code = Code.AEAD_FAILED


class InvalidLeafNode(InvalidMessage):
    """A leaf node that breaks RFC 9420 §7.3."""

    default_code = Code.BAD_LEAF


class InvalidKeyPackage(InvalidMessage):
    """A key package that breaks RFC 9420 §10.1."""

    default_code = Code.BAD_KEY_PACKAGE


class InvalidTree(InvalidMessage):
    """A ratchet tree that breaks RFC 9420 §7 or §12.4.3.1."""

    default_code = Code.MALFORMED_TREE


class InvalidPath(InvalidMessage):
    """An update path that breaks RFC 9420 §7.5, §7.6 or §12.4.2."""

    default_code = Code.BAD_PATH


class InvalidProposal(InvalidMessage):
    """A proposal that is refused on its own, RFC 9420 §12.1."""

    default_code = Code.BAD_PROPOSAL


class InvalidProposalList(InvalidMessage):
    """A list of proposals that breaks RFC 9420 §12.2."""

    default_code = Code.BAD_PROPOSAL_LIST


class InvalidCommit(InvalidMessage):
    """A commit that breaks RFC 9420 §12.4."""

    default_code = Code.BAD_COMMIT


class InvalidGroupInfo(InvalidMessage):
    """A GroupInfo that breaks RFC 9420 §12.4.3."""

    default_code = Code.BAD_GROUP_INFO


class InvalidWelcome(InvalidMessage):
    """A Welcome that breaks RFC 9420 §12.4.3.1."""

    default_code = Code.BAD_WELCOME


class InvalidFraming(InvalidMessage):
    """A framed message whose sender, wire format and content do not go together, RFC 9420 §6."""

    default_code = Code.WRONG_WIRE_FORMAT


class _NotForThisState(MLSError):
    """A well-formed message for another state; `current` and `received` say which."""

    def __init__(
        self,
        message: str,
        *,
        code: Code | None = None,
        rule: str = "",
        current: bytes | int | None = None,
        received: bytes | int | None = None,
    ) -> None:
        super().__init__(message, code=code, rule=rule)
        self.current = current
        self.received = received


class WrongGroup(_NotForThisState):
    """A message for a group that this client is not in, or for another group than the one asked."""

    default_code = Code.UNKNOWN_GROUP


class WrongEpoch(_NotForThisState):
    """A message for another epoch; a caller may keep one whose `received` lies ahead, and try again later."""

    default_code = Code.WRONG_EPOCH


class UnavailableSecret(MLSError):
    """A secret that is consumed, too old, too far ahead, or a PSK that this client does not hold."""

    default_code = Code.KEY_CONSUMED


class Unsupported(MLSError):
    """A cipher suite, version, extension or credential type that this client does not implement."""

    default_code = Code.UNSUPPORTED


class Refused(MLSError):
    """The application's policy said no."""

    default_code = Code.NOT_PERMITTED


class StorageError(MLSError):
    """Stored records that are corrupt, locked, stale, rolled back or too new."""

    default_code = Code.CORRUPT


class UsageError(MLSError):
    """The caller's fault."""

    default_code = Code.INVALID_ARGUMENT
