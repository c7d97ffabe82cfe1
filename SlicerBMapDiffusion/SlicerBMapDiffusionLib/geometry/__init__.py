"""Where an image lies, the shape of its beam, and grids read at other places: numbers alone."""
