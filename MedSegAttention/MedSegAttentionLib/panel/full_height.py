"""Room for texts that wrap: Slicer's module panel does not ask again how high a module is once another was shown."""

from __future__ import annotations

from typing import Any

import qt


class FullHeight(qt.QObject):
    """Keeps a module's widget as high as what lies in it needs at its width.

    The panel takes a module out and puts it back with a layout item that remembers the height for each width, and that
    is told of no change: buttons then lie over tables, and texts are cut.
    """

    def __init__(self, widget: Any) -> None:
        """Args: widget: the module's, with a layout."""
        qt.QObject.__init__(self)
        self._widget = widget
        widget.installEventFilter(self)

    def close(self) -> None:
        """Let go of the widget."""
        self._widget.removeEventFilter(self)
        self._widget.minimumHeight = 0
        self._widget = None

    def eventFilter(self, _watched: Any, event: Any) -> bool:
        """What lies in the widget, or its width, has changed."""
        if event.type() in (qt.QEvent.LayoutRequest, qt.QEvent.Resize):
            qt.QTimer.singleShot(0, self._fit)  # now the layout is about to follow
        return False

    def _fit(self) -> None:
        if self._widget is None or self._widget.layout() is None:
            return
        needed = self._widget.layout().totalHeightForWidth(self._widget.width)
        if needed >= 0 and self._widget.minimumHeight != needed:
            self._widget.minimumHeight = needed
