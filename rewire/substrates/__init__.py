"""Worlds: where the weights live. One file each; no world knows a rule, no rule knows a world."""
