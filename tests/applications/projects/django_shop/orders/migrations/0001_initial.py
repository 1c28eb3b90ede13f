"""The first tables."""

from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    operations = (
        migrations.CreateModel(
            "Order",
            [("id", models.BigAutoField(primary_key=True)), ("customer", models.CharField(max_length=100))],
        ),
        migrations.CreateModel(
            "Count", [("id", models.BigAutoField(primary_key=True)), ("orders", models.IntegerField())]
        ),
    )
