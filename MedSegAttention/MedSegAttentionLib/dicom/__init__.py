"""DICOM objects of a result, outside Slicer: what is read from DICOM goes back as DICOM, by highdicom.

One way, after inference and beside the other files of a case::

    VolumeImage.source -> SourceImages -> (with VolumeResult)  STEM.seg.dcm   segmentation_object
    (files, frames)       headers in      labels, maps,        STEM.MAP.dcm   parametric_map_object
                          slice order     provenance           STEM.sr.dcm    report_object, which refers to the first

* ``sources``         headers of the instances behind an image, as highdicom takes them
* ``naming``          what all objects of a run share: derived UIDs, series, equipment, codes
* ``segmentation``    labels to a Segmentation or Label Map Segmentation
* ``parametric_map``  an attention map to a Parametric Map
* ``report``          what was measured to a TID 1500 report
* ``objects``         all of a result to files, and what is checked before the run

``output.dicom_export`` is another way for another place: it hands a segmentation *node of Slicer's scene*, edited or
not, to Slicer's own exporter, which takes patient and study from Slicer's DICOM database and writes a binary
Segmentation alone. Here there is no scene and no database: the headers are those of the files that were segmented.
"""
