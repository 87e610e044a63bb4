"""Cases on the grid of a plan, in network units."""
