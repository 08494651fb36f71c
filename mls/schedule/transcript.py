"""The transcript hashes: a running hash over a group's commits, and the tag that confirms it. RFC 9420 §6.1, §8.2."""

from __future__ import annotations

from mls.crypto import CipherSuite
from mls.errors import Code, InvalidTag, UsageError
from mls.messages import AuthenticatedContent, FramedContent, is_commit
from mls.rules import require
from mls.schedule.key_schedule import ConfirmationKey
from treekem.wire import UInt16, encode, struct

EMPTY_TRANSCRIPT_HASH = b""
"""The confirmed transcript hash before the first commit. RFC 9420 §8.2."""


@struct
class ConfirmedTranscriptHashInput:
    """What a commit adds to the confirmed transcript hash. RFC 9420 §8.2."""

    wire_format: UInt16
    content: FramedContent
    signature: bytes


@struct
class InterimTranscriptHashInput:
    """What a commit adds to the interim transcript hash. RFC 9420 §8.2."""

    confirmation_tag: bytes


def confirmed_transcript_hash(suite: CipherSuite, interim_before: bytes, content: AuthenticatedContent) -> bytes:
    """Return the confirmed transcript hash of the epoch that the commit `content` begins.

    `interim_before` is the interim transcript hash of the epoch before. Raises UsageError unless `content` is a commit.

    RFC 9420 §8.2.
    """
    require(is_commit(content.content), UsageError, "R-8.2-05", "only commits enter the transcript")
    added = ConfirmedTranscriptHashInput(content.wire_format, content.content, content.auth.signature)
    return suite.hash(interim_before + encode(added))


def interim_transcript_hash(suite: CipherSuite, confirmed: bytes, confirmation_tag: bytes) -> bytes:
    """Return the interim transcript hash of an epoch from its confirmed hash and confirmation tag.

    This holds for epoch 0 too, whose confirmed hash is empty: §11 computes what §8.2 writes as empty.

    RFC 9420 §8.2, §11.
    """
    return suite.hash(confirmed + encode(InterimTranscriptHashInput(confirmation_tag)))


def confirmation_tag(suite: CipherSuite, confirmation_key: ConfirmationKey, confirmed: bytes) -> bytes:
    """Return the tag with which members confirm the epoch that its own key and transcript belong to.

    RFC 9420 §6.1.
    """
    return suite.mac(confirmation_key, confirmed)


def verify_tag_length(suite: CipherSuite, tag: bytes) -> None:
    """Check of a confirmation tag what takes no key: that it is as long as the suite's MACs. Raises InvalidTag.

    RFC 9420 §6.1.
    """
    text, code = f"a confirmation tag of {len(tag)} bytes", Code.BAD_CONFIRMATION_TAG
    require(len(tag) == suite.hash_length, InvalidTag, "R-6.1-15", text, code=code)


def verify_confirmation_tag(
    suite: CipherSuite, confirmation_key: ConfirmationKey, confirmed: bytes, tag: bytes
) -> None:
    """Raise InvalidTag unless `tag` confirms the transcript.

    RFC 9420 §6.1.
    """
    is_confirmed = suite.verify_mac(confirmation_key, confirmed, tag)
    require(
        is_confirmed,
        InvalidTag,
        "R-6.1-15",
        "the confirmation tag does not confirm the transcript",
        code=Code.BAD_CONFIRMATION_TAG,
    )
