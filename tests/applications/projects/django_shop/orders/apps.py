"""The application `orders` of the project."""

from django.apps import AppConfig


class OrdersConfig(AppConfig):
    name = "orders"
