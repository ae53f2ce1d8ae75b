//! What scripts and people read.

use crate::PathReport;

/// As `netlat path --json` would print it, written by hand.
const JSON: &str = r#"{
    "schema": "netlat.path/1", "generated_at": "2026-01-02T03:04:05Z",
    "target": "198.51.100.7", "family": "ipv4", "port": 33434, "from": "192.0.2.1:40000",
    "left_with": [],
    "hops": [
        { "hop": 1, "addresses": ["192.0.2.254"], "rtt_ms": { "min": 0.25, "p50": 0.5 },
          "marks": [ { "dscp_sent": 46, "ecn_sent": 2, "dscp_quoted": 46, "ecn_quoted": 2, "address": "192.0.2.254", "count": 3 } ],
          "sent": 3, "answered": 3, "silent": false, "destination": false, "refuses": false, "translated": false },
        { "hop": 2, "addresses": [], "rtt_ms": null, "marks": [], "sent": 6, "answered": 0, "silent": true,
          "destination": false, "refuses": false, "translated": false },
        { "hop": 3, "addresses": ["198.51.100.7"], "rtt_ms": { "min": 12.0, "p50": 12.5 },
          "marks": [ { "dscp_sent": 46, "ecn_sent": 2, "dscp_quoted": 0, "ecn_quoted": 2, "address": "198.51.100.7", "count": 3 } ],
          "sent": 3, "answered": 3, "silent": false, "destination": true, "refuses": false, "translated": false }
    ],
    "reached": true, "destination_hop": 3, "sent": 12, "answered": 6, "foreign": 0, "complete": true, "notes": [],
    "changes": [ { "dscp_sent": 46, "ecn_sent": 2, "dscp_before": 46, "ecn_before": 2, "dscp_after": 0, "ecn_after": 2,
        "where": { "after_hop": 1, "by_hop": 3 }, "unseen_hops": [2], "at_destination": true, "count": 3, "note": "hop 2 does not answer" } ],
    "misquotes": []
}"#;

#[test]
fn the_json_is_what_the_documentation_says() {
    let value: serde_json::Value = serde_json::from_str(JSON).unwrap();
    let report: PathReport = serde_json::from_str(JSON).unwrap();
    assert_eq!(serde_json::to_value(&report).unwrap(), value);
    // And its conclusions follow from its hops.
    assert_eq!(PathReport::new(report.generated_at.clone(), report.trace.clone()), report);
}

#[test]
fn the_table_says_it_in_words_and_units() {
    let report: PathReport = serde_json::from_str(JSON).unwrap();
    let expected = [
        "path to 198.51.100.7 (ipv4), UDP port 33434 from 192.0.2.1:40000: 12 probes, 6 answers",
        "hop  address       min ms  p50 ms  marks (sent>quoted)",
        "  1  192.0.2.254    0.250   0.500  as sent",
        "  2  *                  -       -  no answer to 6 probes",
        "  3  198.51.100.7  12.000  12.500  EF/ECT(0)>CS0/ECT(0) (target)",
        "",
        "EF/ECT(0)>CS0/ECT(0): changed after hop 1, by hop 3, the target (hop 2 does not answer)",
    ];
    assert_eq!(report.lines(), expected);
}
