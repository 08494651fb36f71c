"""The rules, as pure functions from one epoch to the next. RFC 9420 §6, §7, §10 to §12."""
