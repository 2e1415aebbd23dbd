"""Operators: the same computation over a batch and over a stream."""
