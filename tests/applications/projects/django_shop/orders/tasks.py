"""What is done behind the web server's back; found by Celery because it is called ``tasks``."""

import time

import shop
from celery import shared_task
from django.conf import settings
from django.template.loader import render_to_string

from orders.models import Count, Order


@shared_task
def place(customer):
    """Store an order; returns how many this customer has."""
    Order.objects.create(customer=customer)
    return Order.objects.filter(customer=customer).count()


@shared_task
def receipt(customer):
    """Write a receipt into MEDIA_ROOT, from a template; returns its text."""
    order = Order.objects.filter(customer=customer).latest("id")
    text = render_to_string("orders/receipt.txt", {"order": order, "signature": settings.SIGNATURE}).strip()
    (settings.MEDIA_ROOT / f"{customer}.txt").write_text(text)
    return text


@shared_task(ignore_result=True)
def count():
    """What beat asks for."""
    Count.objects.create(orders=Order.objects.count())


@shared_task(bind=True)
def work(self, ledger, seconds):
    """Note that it ran, and take a while; returns the version of the code."""
    with open(ledger, "a") as out:  # noqa: PTH123 - as people write it
        out.write(f"{self.request.id} {shop.VERSION}\n")
    time.sleep(seconds)
    return shop.VERSION
