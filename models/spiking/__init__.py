"""Spiking networks in Brian2; like all models they know nothing of rewiring."""
