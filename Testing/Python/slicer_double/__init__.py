"""A test double of what the panel uses of the Slicer application: PythonQt, CTK and MRML widgets, scripted modules.

It is not Slicer. PySide6 stands in for Qt, real MRML comes from slicer-core, and what neither has is written here, only
as far as the module needs it. It is strict: what the real classes lack, it refuses. Their properties, signals and slots
are in ``data/widgets-metaobjects.json``, read from the real widgets.
"""
