"""What several papers share, so that a listing of ``rewire.rules`` is a list of papers."""
