"""What a person looks at: figures of training and of synthesized volumes."""
