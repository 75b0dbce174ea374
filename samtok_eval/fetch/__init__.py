"""Downloading what benchmarks publish: the table of sources, one file over HTTP, archives, Hub data sets, the plan."""
