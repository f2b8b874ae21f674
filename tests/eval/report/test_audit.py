import json

from tersely.eval.report.audit import LISTED, read_audit


def test_agreement_is_counted_and_disagreement_listed(tmp_path):
    rows = [{"verdict": "correct", "second": "correct"}] * 3 + [
        {"verdict": "correct", "second": "incorrect", "gold": "1/2", "answer": None}
    ] * (LISTED + 5)
    (tmp_path / "audit.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n{broken\n")
    audit = read_audit(tmp_path)
    assert (audit["checked"], audit["agreed"], audit["unreadable"], audit["left_out"]) == (LISTED + 8, 3, 1, 5)
    assert audit["pairs"] == [("correct", "correct", 3), ("correct", "incorrect", LISTED + 5)]
    assert audit["disagreements"][0]["gold"] == "1/2" and audit["disagreements"][0]["answer"] == ""


def test_no_file_no_audit(tmp_path):
    assert read_audit(tmp_path) is None and read_audit(None) is None
