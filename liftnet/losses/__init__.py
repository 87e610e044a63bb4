"""Floor 2: differentiable terms, one file per idea; each is a function of tensors, in float32."""
