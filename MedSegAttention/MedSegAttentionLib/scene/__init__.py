"""MRML in, MRML out. Every function takes the scene or a node of it, so it runs in Slicer and on the slicer-core wheel.

* ``volumes``       a volume node to VolumeImage and back; the active volume
* ``segmentation``  labels to a segmentation node;  ``terminology`` its standard codes
* ``overlays``      attention to a volume node over the image;  ``overlay_display``, ``colours`` how it looks
* ``measure``       millilitres and slices of each segment
* ``positions``     where the crosshair or a point stands
* ``writing``       segmentation and overlays at once, all or nothing: what the logic and the command line call
* ``live``          a run in the background and its scene;  ``preview`` its slices as they come
* ``sequences``     frames of a sequence, and their results as sequences that play with it
* ``label_maps``    a segmentation as label numbers on the grid of its image
* ``application``   a scene outside the Slicer application
* ``nodes``, ``arrays``  small helpers of the above
"""
