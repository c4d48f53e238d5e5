"""Text, clicks and learning in one loop: label medical images in napari, offline.

Importing this package loads neither torch nor Qt.
"""

__version__ = "0.1.0"
