"""A user's own images: folders, a table of pairs, COCO and LabelMe files."""
