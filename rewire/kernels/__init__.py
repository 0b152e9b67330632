"""The loops that decide how fast a tick is, each in two forms: compiled, and in numpy.

Every function here calls the compiled form where the package was built with a compiler
(:mod:`rewire.native`) and the form without it otherwise. Both give the same numbers, bit for bit,
which ``tests/test_native.py`` checks; so no other module has to ask which of them runs. They take
and return arrays: rules and graphs are above them.
"""
