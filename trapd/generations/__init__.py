"""Keeps each generation's files: read-only copies that workers import from, whatever happens to what is installed."""
