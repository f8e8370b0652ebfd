"""Official downloads to folders that ``train`` and ``evaluate`` read.

``sources`` says what each data set is, where it is had and under which terms; one module a family of layouts finds its
cases; ``saving`` writes one case, ``writing`` all of them with their split.
"""
