"""Readers of the benchmarks' own files."""
