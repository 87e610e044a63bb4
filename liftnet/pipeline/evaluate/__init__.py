"""Scores of images and of cohorts."""
