"""Settings in a module of the package, in the new spelling."""

import os

broker_url = os.environ.get("BROKER_URL", "redis://localhost")
result_backend = os.environ.get("RESULT_BACKEND", "redis://localhost")
task_default_queue = "fleet"
imports = ("fleet_jobs.voyages",)
result_expires = 600
