"""What is stored."""

from django.db import models


class Order(models.Model):
    customer = models.CharField(max_length=100)


class Count(models.Model):
    """One line for each time that beat asked for a count."""

    orders = models.IntegerField()
