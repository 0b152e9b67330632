"""What several measures are computed with."""
