"""What Celery's workers take from the environment; dagster-celery imports this module by its name, from PYTHONPATH."""

import os

broker_url = os.environ["CELERY_BROKER_URL"]
result_backend = os.environ["CELERY_RESULT_BACKEND"]
# A waiting run stays in the queue, where any worker may take it: without the second, a worker that is busy reserves one
# more, behind a backup that may take hours (Celery 5.6 and later, with redis).
worker_prefetch_multiplier = 1
worker_disable_prefetch = True
worker_max_tasks_per_child = 1  # a process for each run: nothing of one is left to the next
task_acks_late = False  # a run that a worker took is never given to a second one: a backup is not repeated blindly
result_expires = 86_400  # seconds
