"""Ultrasound frames out of DICOM files, without the patient."""

from monai_bmaps.data.dicom.reading import DicomFrame, list_dicoms, patient_of, read_frames

__all__ = ["DicomFrame", "list_dicoms", "patient_of", "read_frames"]
