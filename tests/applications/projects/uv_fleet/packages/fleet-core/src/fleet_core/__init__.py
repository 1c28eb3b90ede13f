"""The library that the members of the workspace share."""

from itertools import pairwise

VERSION = "1.0"


def distance(ports):
    return sum(abs(there - here) for here, there in pairwise(ports))
