"""The units of systemd: one template for each pool, written from the base template and ``trapd.toml``.

``render`` is pure; systemd runs ``generator``; ``layout`` has the place of each shipped file.
"""
