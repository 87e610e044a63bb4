"""Self-configuring 3D medical image synthesis."""
