"""Training, measuring and publishing of the networks of MedSegAttention. Does not ship with the extension.

What flows through, one way::

    download -> folder of cases -> slices -> trained weights -> figures -> checkpoint and its pages
    prepare     images, masks      (C,H,W)   + log             by case    MONAI bundle, tables

Rooms, and what each may import beside the library's rooms:

* ``data``        downloads to folders, folders to cases, slices and training pictures  torch, SimpleITK, Pillow
* ``fitting``     configuration, objective, loop, processes, learning curve             data; torch, monai
* ``measuring``   figures of a checkpoint, time and memory, operations of a network     data, fitting; torch, scipy
* ``publishing``  checkpoint, tables and pages from runs and figures, ONNX               data, fitting, measuring; torch
* ``ablations``   networks compared by the same data and steps                          data, fitting, measuring; torch
* ``commands``    what each training command of ``MedSegAttentionLib.__main__`` does    all

``configs`` holds the settings and ``cards`` the texts of the checkpoints that ship.
"""
