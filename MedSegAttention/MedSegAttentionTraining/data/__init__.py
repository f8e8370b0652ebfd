"""Downloads to folders of cases, and these to what a network learns from: slices and their changed copies."""
