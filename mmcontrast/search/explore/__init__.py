"""A local page to search an index by typing, dropping a picture or recording a sound."""
