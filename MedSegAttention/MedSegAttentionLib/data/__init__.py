"""Frozen dataclasses and errors that the other rooms share. Needs numpy alone."""
