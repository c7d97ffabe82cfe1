"""Data sets: which files belong together, who is the patient, and who is in which split. Readers open no pixels."""

from monai_bmaps.data.datalist import load_datalist, seeded
from monai_bmaps.data.folder import list_items
from monai_bmaps.data.split import is_test, select_split

__all__ = ["is_test", "list_items", "load_datalist", "seeded", "select_split"]
