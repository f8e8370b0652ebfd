"""MedSegAttention: slice-by-slice segmentation with dynamic-tau attention maps for 3D Slicer.

What flows through, one way::

    volume node -> VolumeImage -> slices -> network -> SliceResult, ... -> VolumeResult -> nodes
    (MRML)         array + RAS    (C,H,W)   logits + attention             segmentation + overlays

Rooms, and what each may import:

* ``data``        frozen dataclasses and errors                            numpy alone
* ``networks``    one network per file, found by name; mechanisms in ``layers``  torch
* ``files``       image files to VolumeImage, a module a format           data; SimpleITK, Pillow, nibabel, pydicom
* ``checkpoints`` a folder on disk to a verified network and its card      data, networks
* ``inference``   VolumeImage in, SliceResults out                         data, checkpoints, networks; torch
* ``scene``       MRML in, MRML out                                        data; slicer, vtk, never torch
* ``dicom``       a result to DICOM objects that refer to the input's      data; pydicom, highdicom
* ``archive``     series from a DICOM archive, results back to it           data; pydicom, pynetdicom, dicomweb-client
* ``output``      files, pictures and pages of what a scene holds         data, scene, dicom; Pillow
* ``runner``      who runs inference: here, in a worker process, on many data, inference, checkpoints; psutil
* ``cohort``      many cases on a Ray cluster                            data, files, inference, output, runner; ray
* ``setup``       what must be installed, self-check                       data, checkpoints (cards and hashes)
* ``logic``       what scripts and the panel call                          all but panel and commands; slicer
* ``panel``       Qt, bound to the logic and to what scene's functions show data, scene, logic; slicer, qt, ctk
* ``bundle``      what MONAI's tools call for a checkpoint                 data, files, networks, inference; monai
* ``commands``    what each command of ``__main__`` does                   all but panel

Without torch and monai ``MedSegAttentionLib``, ``.data``, ``.scene`` and ``.setup`` still import: Slicer starts without
them.
"""

__version__ = "0.1.0"
