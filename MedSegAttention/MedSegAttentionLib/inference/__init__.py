"""VolumeImage in, SliceResults out. Knows neither MRML nor Qt."""
