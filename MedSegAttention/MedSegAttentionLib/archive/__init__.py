"""DICOM archives: ask what is there, fetch it, send results back. By the network protocol or by DICOMweb.

One way each::

    query -> archive.find -> ListedSeries -> archive.fetch -> .unfinished-SERIES/ -> STUDY/SERIES/UID.dcm   (fetching)
             C-FIND, QIDO    UIDs, counts    C-GET, C-MOVE,   what has come        when all is there
                                             WADO
    files -> archive.find: what is there already -> archive.store -> C-STORE, STOW                          (sending)

* ``contents``  what is asked for and what an archive says it has; what both protocols can do
* ``dimse``     the network protocol, by pynetdicom; ``web`` DICOMweb, by dicomweb-client
* ``fetching``  series to a folder, whole or not there;  ``sending`` files to an archive, none twice

Nothing here listens but for C-MOVE, for as long as it lasts: an archive that knows no C-GET sends to a port of ours.
"""
