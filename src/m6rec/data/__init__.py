"""Events, items, users, texts, relations: from a team's files to one `Dataset` of dense ids, with an account of what was dropped.

Files are read by `readers`, checked against `schema`, cleaned by `cleaning`, put together by `prepare`, kept by `store`; foreign
formats come in through `importers`. `splits` cuts a dataset for evaluation, `transitions` counts what follows what, `sample` makes
data with a known truth.
"""
