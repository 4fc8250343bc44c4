"""Which words of a caption belong to which places of a picture or a sound: ``mmcontrast explain``."""
