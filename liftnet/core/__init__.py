"""Floor 0: what things are. Frozen types and strict JSON; no torch, no image files."""
