"""One verb a file, over the ports of core: the CLI, Dagster and the console all call these."""
