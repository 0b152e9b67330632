"""A model of known layers as one plan of native calls: a whole training step is one of them."""
