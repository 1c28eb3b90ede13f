"""The demonstration: Trap is upgraded under running workers, and no task is disturbed. See ``__main__``."""
