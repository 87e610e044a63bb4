"""Models and weights that come and go."""
