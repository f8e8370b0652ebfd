"""What leaves the scene: files, DICOM objects, pictures and pages. Takes the scene or a node of it, as ``scene`` does.

* ``files``         a node or a scene to disk
* ``exports``       a segmentation for other programs;  ``dicom_export`` as a DICOM object
* ``pictures``      slices as Slicer's own views show them, and figures made of them
* ``result_figure`` the slice of a result that shows most;  ``report`` a page about a result
* ``case_files``    all files of one result: what the command line and a batch write;  ``image_case`` of an image file
"""
