"""Folders as users have them: recognised, and brought into the raw format."""
