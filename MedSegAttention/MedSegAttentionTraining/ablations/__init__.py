"""Ablations of the four papers.

What a comparison is (:mod:`.comparison`), which there are (:mod:`.definitions`), by which run, and what comes out.
"""
