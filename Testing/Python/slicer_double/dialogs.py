"""What Qt reaches outside the window: the user's settings, file dialogs, the file manager."""

from __future__ import annotations

from typing import Any

from PySide6 import QtCore


def outside_world(application: Any) -> dict[str, type]:
    """Classes of ``qt`` that read and write what the test's ``application`` holds."""

    class QSettings:
        """Values come back as texts, as they do after a restart; converting them is the module's business."""

        def value(self, key: str, default: Any = None) -> Any:
            return application.settings.get(key, default)

        def setValue(self, key: str, value: Any) -> None:
            if not isinstance(value, (str, bool, int, float)):
                raise TypeError(f"setting '{key}' does not take {value!r}")
            application.settings[key] = str(value).lower() if isinstance(value, bool) else str(value)

        def allKeys(self) -> list[str]:
            return list(application.settings)

        def contains(self, key: str) -> bool:
            return key in application.settings

        def remove(self, key: str) -> None:
            application.settings.pop(key, None)

    class QFileDialog:
        """The static functions, which PythonQt gives as plain texts; an empty one is a cancelled dialog."""

        @staticmethod
        def getOpenFileName(_parent: Any, _caption: str, _folder: str, _kinds: str) -> str:
            return application.chosen.pop(0)

        @staticmethod
        def getSaveFileName(_parent: Any, _caption: str, _name: str, _kinds: str) -> str:
            return application.chosen.pop(0)

        @staticmethod
        def getExistingDirectory(_parent: Any, _caption: str) -> str:
            return application.chosen.pop(0)

    class QDesktopServices:
        @staticmethod
        def openUrl(url: QtCore.QUrl) -> bool:
            application.opened.append(url.toString())
            return True

    return {kind.__name__: kind for kind in (QSettings, QFileDialog, QDesktopServices, QtCore.QUrl)}
