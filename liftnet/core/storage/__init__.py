"""What liftnet writes, and reads again without trusting it: JSON, checksums, whole files."""
