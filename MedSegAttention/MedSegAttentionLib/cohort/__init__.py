"""Many cases on many processes or machines, by Ray.

One way::

    images -> driver: largest first, one at a time -> worker: reads, network, writes -> driver: what became of it
    (paths)   claims, sets aside, hands out again     (results in the output folder)     progress, summary.csv

* :mod:`.cluster` finds or starts a Ray cluster and says how many workers fit.
* :mod:`.pool`    hands items out to workers that keep a network in memory, and again when one dies.
* :mod:`.each`    the same for any command whose items are small: in order, the first error ends it.
* :mod:`.run`     what an item is here: an image to segment, with its claim, its files and its row.
* :mod:`.plan`    what a run would do and how long it would take.

Only paths and short answers travel; voxels never do. The truth about what is done is the record of the case in the
output folder, so nothing here needs to survive. Ray is imported when a cluster is asked for, never otherwise.
"""
