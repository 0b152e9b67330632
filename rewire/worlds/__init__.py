"""Worlds: where the weights live. A folder each; no world knows a rule, no rule knows a world."""
