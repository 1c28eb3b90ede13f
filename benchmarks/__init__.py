"""Figures that depend on the machine, each a script: python -m benchmarks.NAME. What they are for: README.md here."""
