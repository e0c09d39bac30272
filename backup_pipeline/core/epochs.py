"""From when dates and times are counted: by PostgreSQL from 2000-01-01, by Arrow from 1970-01-01."""

from __future__ import annotations

US_PER_DAY = 86_400_000_000
DAYS_BEFORE_2000 = 10_957
"""The days from Arrow's beginning to PostgreSQL's."""
US_BEFORE_2000 = DAYS_BEFORE_2000 * US_PER_DAY
"""The same in microseconds."""
