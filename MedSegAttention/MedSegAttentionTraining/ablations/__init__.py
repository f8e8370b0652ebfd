"""Ablations of the four papers: what is compared (:mod:`.definitions`), by which run, and what comes out."""
