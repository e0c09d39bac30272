"""Tests of the benchmark's own rules: turns, verdicts, keeping results, report and chart."""
