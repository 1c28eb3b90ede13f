"""The units of systemd: one template for each pool, written from the base template and ``trapd.toml``.

``render`` is pure; ``generator`` is what systemd runs; ``layout`` says which shipped file goes where.
"""
