"""Closed forms: every voxel from the same voxel of the sources. The floor of every comparison."""
