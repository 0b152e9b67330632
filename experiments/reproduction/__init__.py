"""Published figures run again and checked, row by row: what ``rewire reproduce`` does.

`paper` reads the files of `experiments.papers`, `run` trains what they ask for, `rows` judges each
row, `record` keeps what was measured, `page` and `document` show it.
"""
