"""Radiology reports as data: sections, sentences, and the findings that are stated, denied, doubted or only remembered."""

from dicom_workflow.search.radiology_reports.comprehend_medical import ComprehendMedical, ReportNLP
from dicom_workflow.search.radiology_reports.files import ReadReports, read_reports
from dicom_workflow.search.radiology_reports.local_nlp import LocalNLP
from dicom_workflow.search.radiology_reports.reading import compose_text, read_report

__all__ = ["ComprehendMedical", "LocalNLP", "ReadReports", "ReportNLP", "compose_text", "read_report", "read_reports"]
