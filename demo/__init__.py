"""The main job as a demonstration: Trap is upgraded under running workers, and nobody notices. See ``__main__``."""
