"""A package in several distributions, as Airflow has it: each adds its portion of the path."""

__path__ = __import__("pkgutil").extend_path(__path__, __name__)

VERSION = "1.0"
