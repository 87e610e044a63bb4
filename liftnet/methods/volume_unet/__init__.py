"""3D U-Nets that make volumes of volumes directly: the opponents of slices with context."""
