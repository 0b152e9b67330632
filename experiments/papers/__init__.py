"""Published figures and tables as files: what `rewire reproduce` runs and checks.

Each file is read by `experiments.reproduction.paper`; ``results`` holds what was measured.
"""
