"""Phase space."""
