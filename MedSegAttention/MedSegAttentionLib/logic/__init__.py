"""What scripts and the panel call: ``MedSegAttentionLogic``, a file for each of its parts. Slicer's own naming.

* ``runs``         segment a volume, waiting or in the background; the attention of one position
* ``batches``      many volumes, sequences
* ``exports``      files and pages of what a run left in the scene
* ``checkpoints``  which there are; adding and removing one's own
* ``packages``     what must be installed; self-check
* ``segment_handle``  a run in the background
"""
