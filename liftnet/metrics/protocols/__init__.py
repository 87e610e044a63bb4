"""Conventions of scoring, each with its code."""
