"""Key schedule, transcript hashes, pre-shared keys and the secret tree. RFC 9420 §8, §9."""
