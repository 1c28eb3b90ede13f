"""The tests: `unit` mirrors the package, the other folders are named after what is real in them."""
