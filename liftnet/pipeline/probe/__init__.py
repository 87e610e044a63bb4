"""Which channels and volumes tell generated from real."""
