"""Colours that people with any colour vision tell apart, on paper too.

Source: Okabe and Ito, Color Universal Design, https://jfly.uni-koeln.de/color/.
"""

from __future__ import annotations

OKABE_ITO = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")
"""Orange, sky blue, bluish green, yellow, blue, vermilion, reddish purple: for structures and series."""
REAL = "#0072B2"
SYNTHETIC = "#D55E00"
"""Of real and of synthetic images, in every figure."""
