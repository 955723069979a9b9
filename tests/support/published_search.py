"""The published search interface as our clients know it: its schema, and its clients' queries in their shape."""

from __future__ import annotations

STATES, KINDS = ("Positive", "Negative"), ("Signs", "Diagnoses", "Symptoms")
LISTS = [f"{state}{what}" for state in STATES for what in (*KINDS, "ICD10CMs")]
TEXTS = ("ReportId", "Examination", "Indication", "Technique", "Findings", "Impression")
IMAGE_TEXTS = ("ImageId", "ReportId", "Bucket", "Key", "Modality", "ViewPosition", "BodyPartExamined")

_FACETS = {
    **{f"getAll{state}ICD10CMs": (f"{state}ICD10CMs", False) for state in STATES},
    **{f"get{state}ICD10CMs": (f"{state}ICD10CMs", True) for state in STATES},
    **{f"get{name}byReports": (name, True) for name in LISTS},
    **{f"get{state}ICD10CMsbySimilarReport": (f"{state}ICD10CMs", True) for state in STATES},
}
FIELDS = ("getImage", "getImages", "getReport", "listReports", "searchReports", "getSimilarImages", *_FACETS)


def schema_text() -> str:
    """The schema in SDL."""
    types = [
        _type("Image", dict.fromkeys(IMAGE_TEXTS, "String")),
        _type("Report", {**dict.fromkeys(TEXTS, "String"), **dict.fromkeys(LISTS, "[String]"), "Images": "[Image]"}),
        *(_type(name, {"doc_count": "Int", "key": "String"}) for name in LISTS),
    ]
    fields = {
        "getImage(ImageId: String)": "Image",
        "getImages(ReportId: String)": "[Image]",
        "getReport(ReportId: String)": "Report",
        "listReports(from: Int, size: Int)": "[Report]",
        "searchReports(input: String)": "[Report]",
        "getSimilarImages(ImageId: String, k: Int)": "[Image]",
        **{f"{name}{'(input: String)' if has_input else ''}": f"[{kind}]" for name, (kind, has_input) in _FACETS.items()},
    }
    return "\n".join([*types, _type("Query", fields)])


def _type(name: str, fields: dict[str, str]) -> str:
    return f"type {name} {{ {' '.join(f'{field}: {kind}' for field, kind in fields.items())} }}"


_COLUMNS = " ".join(name for name in LISTS if "ICD10" not in name)
_HIT = f"Impression Findings {_COLUMNS} Images {{ ReportId ImageId Bucket Key }}"
_BUCKETS = "{ key doc_count }"

SEARCH_PAGE = {
    "listReports": f"query {{ listReports(from:0, size:100) {{ {_HIT} }} }}",
    "searchReports": f"query($searchQuery: String) {{ searchReports(input: $searchQuery) {{ {_HIT} }} }}",
    "getAllPositiveICD10CMs": f"query {{ getAllPositiveICD10CMs {_BUCKETS} }}",
    "getAllNegativeICD10CMs": f"query {{ getAllNegativeICD10CMs {_BUCKETS} }}",
    "getPositiveICD10CMs": f"query($searchQuery: String) {{ getPositiveICD10CMs(input: $searchQuery) {_BUCKETS} }}",
    "getNegativeICD10CMs": f"query($searchQuery: String) {{ getNegativeICD10CMs(input: $searchQuery) {_BUCKETS} }}",
}
"""What its search page sends."""

IMAGE_PAGE = {
    "getImage": "query($imageid: String) { getImage(ImageId: $imageid) "
    "{ ReportId ImageId Bucket Key BodyPartExamined Modality ViewPosition } }",
    "getReport": "query($reportid: String) { getReport(ReportId: $reportid) "
    f"{{ ReportId Impression Findings {' '.join(LISTS)} }} }}",
    "getSimilarImages": "query($imageid: String) { getSimilarImages(ImageId: $imageid, k:30) "
    "{ ImageId ReportId Bucket Key ViewPosition } }",
    **{
        f"get{name}byReports": f"query($reportids: String) {{ get{name}byReports(input: $reportids) {_BUCKETS} }}"
        for name in LISTS
    },
}
"""What its image page sends, or declares."""

OTHERS = {
    "getImages": "query($reportid: String) { getImages(ReportId: $reportid) { ImageId ReportId } }",
    **{
        f"get{state}ICD10CMsbySimilarReport": f"query($reportid: String) "
        f"{{ get{state}ICD10CMsbySimilarReport(input: $reportid) {_BUCKETS} }}"
        for state in STATES
    },
}
