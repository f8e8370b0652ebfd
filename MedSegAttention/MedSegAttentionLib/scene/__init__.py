"""MRML in, MRML out. Every function takes the scene or a node of it, so it runs in Slicer and on the slicer-core wheel.

* ``volumes``       a volume node to VolumeImage and back; the active volume
* ``segmentation``  labels to a segmentation node;  ``terminology`` its standard codes
* ``overlays``      attention to a volume node over the image;  ``overlay_display``, ``colours`` how it looks
* ``measure``       millilitres and slices of each segment
* ``positions``     where the crosshair or a point stands
* ``writing``       both at once, all or nothing: what the logic and the command line call
* ``files``         a node or a scene to disk
* ``pictures``      slices as Slicer's own views show them, and figures made of them
* ``application``   a scene outside the Slicer application
* ``nodes``, ``arrays``  small helpers of the above
"""
