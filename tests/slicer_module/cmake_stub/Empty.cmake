# What Slicer generates here (the extension's own configuration, the package) is none of the tests' concern.
