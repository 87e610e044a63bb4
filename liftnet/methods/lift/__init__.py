"""LiFT-C: a 2D translator over the slices of a volume, joined along the slice axis.

Two forms: where targets are sources too, translator and mixer are trained together (Sec. 5.2);
where they are not, a residual with context is trained on top of the frozen translator (Sec. 5.3).
"""
