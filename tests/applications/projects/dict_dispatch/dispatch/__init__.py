"""A package of one's own, installed by pip."""

VERSION = "1.0"
