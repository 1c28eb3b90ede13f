"""Measurements that depend on the machine, each a script: python -m benchmarks.NAME. README.md explains them."""
