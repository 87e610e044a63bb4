"""pix2pix: slices from slices, against a critic that sees both. Source: Isola et al. 2017."""
