"""A suite result as JUnit XML, for CI systems."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from sway_dash.core.result import SuiteResult, SwayScore, Verdict
from sway_dash.report.formats import printable

_CHILD = {
    Verdict.FAIL: ("failure", "failed"),
    Verdict.ERROR: ("error", "errored"),
    Verdict.SKIP: ("skipped", "skipped"),
}


def to_junit(suite: SuiteResult, score: SwayScore) -> str:
    """Return the result as one line of XML: one test case a probe, the score as properties.

    A run that was cancelled or that failed gets one more case, with an error: what was not measured must not
    look green.
    """
    count = {v: sum(p.verdict == v for p in suite.probes) for v in Verdict}
    broken = suite.status in ("cancelled", "failed")
    root = ET.Element(
        "testsuite",
        {
            "name": "sway",
            "tests": str(len(suite.probes) + broken),
            "failures": str(count[Verdict.FAIL]),
            "errors": str(count[Verdict.ERROR] + broken),
            "skipped": str(count[Verdict.SKIP]),
            "time": f"{suite.wall_seconds:.3f}",
        },
    )
    properties = ET.SubElement(root, "properties")
    values = {"overall": f"{score.overall:.4f}", "band": score.band}
    values |= {f"component.{name}": f"{value:.4f}" for name, value in score.components.items()}
    for name, value in values.items():
        ET.SubElement(properties, "property", {"name": printable(name), "value": printable(value)})
    for probe in suite.probes:
        case = ET.SubElement(
            root,
            "testcase",
            {"classname": printable(probe.kind), "name": printable(probe.name), "time": f"{probe.duration_s:.3f}"},
        )
        if probe.verdict in _CHILD:
            tag, default = _CHILD[probe.verdict]
            ET.SubElement(case, tag, {"message": printable(probe.message) or default})
    if broken:
        case = ET.SubElement(root, "testcase", {"classname": "sway", "name": "run", "time": "0.000"})
        reason = "; ".join(
            (f"the run was {suite.status}" if suite.status == "cancelled" else "the run failed", *suite.warnings)
        )
        ET.SubElement(case, "error", {"message": printable(reason)})
    return ET.tostring(root, encoding="unicode")
