//! Scenario files: the ones that ship, and what is said about wrong ones.

use lab::{Place, Plan, Scenario};
use model::Family;
use model::report::Pathology;

pub(crate) fn shipped(name: &str) -> Scenario {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios").join(name);
    Scenario::read(&path).unwrap_or_else(|error| panic!("{error}"))
}

fn city(body: &str) -> String {
    format!("name = \"t\"\n[[city]]\nname = \"nyc1\"\n{body}\n")
}

fn with_policy(policy: &str) -> String {
    city(&format!("[[city.hop]]\npolicies = [{{ {policy} }}]"))
}

/// The one line that a person sees.
fn complaint(text: &str) -> String {
    let complaint = Scenario::parse("t.toml", text).expect_err(text).to_string();
    assert!(complaint.starts_with("t.toml"), "{complaint}");
    assert!(!complaint.contains('\n'), "{complaint}");
    complaint
}

#[test]
fn every_shipped_scenario_states_what_its_policies_do_for_every_city() {
    for name in ["demo.toml", "policies.toml", "delays.toml"] {
        for city in shipped(name).cities {
            assert!(!city.expected.is_empty(), "{name}: {} states nothing", city.name);
            assert!(!city.summary.is_empty(), "{name}: {} has no summary", city.name);
        }
    }
    let demo: Vec<String> = Scenario::demo().unwrap().cities.into_iter().map(|city| city.name).collect();
    assert_eq!(demo, ["tor1", "nyc1", "ams3", "fra1"]);
}

#[test]
fn the_shipped_scenarios_cover_every_name_a_measurement_may_find() {
    let scenario = shipped("policies.toml");
    let stated: Vec<Pathology> =
        scenario.cities.iter().flat_map(|city| city.expected.iter().map(|expected| expected.pathology)).collect();
    for name in [
        Pathology::None,
        Pathology::BleachDscp,
        Pathology::BleachTosPrecedence,
        Pathology::BleachSomeTos,
        Pathology::RemarkTos,
        Pathology::BleachLow,
        Pathology::BleachSomeLow,
        Pathology::RemarkDscp,
        Pathology::Partial,
        Pathology::Unstable,
    ] {
        assert!(stated.contains(&name), "no city has {}", name.name());
    }
}

#[test]
fn a_false_expectation_is_refused_and_both_sides_are_told() {
    let text = with_policy("kind = \"clear-precedence\"") + "[[city.expected]]\npathology = \"bleach-dscp\"\nhop = 1\n";
    assert_eq!(
        complaint(&text),
        "t.toml: city 'nyc1', expected: it states pathology bleach-dscp at hop 1, ecn none for udp ipv4 up, but the \
         policies make pathology bleach-tos-precedence at hop 1, ecn none: correct one of the two"
    );
}

#[test]
fn unknown_keys_are_refused_with_file_and_line() {
    let complaint = complaint(&city("colour = \"red\"\n[[city.hop]]"));
    assert!(complaint.starts_with("t.toml:4: unknown field `colour`, expected one of `name`"), "{complaint}");
}

#[test]
fn problems_name_place_key_and_remedy() {
    let cases = [
        (
            with_policy("kind = \"blech\""),
            "t.toml: city 'nyc1', hop 1, policy 1 (blech): kind = \"blech\" is not known: use one of bleach,",
        ),
        (with_policy("kind = \"bleach\", share = 0.5"), "policy 1 (bleach): bleach takes no share: remove it"),
        (with_policy("kind = \"drop\""), "policy 1 (drop): share is missing: add it"),
        (with_policy("kind = \"drop\", share = 2"), "share = 2 is not above 0 and at most 1"),
        (with_policy("kind = \"bleach\", dscp = [64]"), "dscp: '64': a DSCP is a number from 0 to 63"),
        (with_policy("kind = \"bleach\", dscp = []"), "dscp = [] matches nothing"),
        (with_policy("kind = \"remark-precedence\", precedence = 8"), "precedence = 8 is not 1 to 7"),
        (with_policy("kind = \"bleach\", protocol = \"icmp\", ports = [53]"), "ICMP has none"),
        (with_policy("kind = \"bleach\", ports = [\"20-10\"]"), "ports: '20-10' is neither a port"),
        (with_policy("kind = \"nat\", direction = \"up\""), "nat takes no other key"),
        (
            with_policy("kind = \"weigh\", dscp = [46], weight = 1, bits_per_second = 1000, queue_bytes = 1000"),
            "weight = 1 is not 2 to 20",
        ),
        (with_policy("kind = \"prioritise\", bits_per_second = 1000, queue_bytes = 1000"), "dscp is missing"),
        (
            city(
                "[[city.hop]]\npolicies = [{ kind = \"prioritise\", dscp = [46], bits_per_second = 1000, queue_bytes = 1000 }, \
                 { kind = \"shape\", bits_per_second = 1000, burst_bytes = 1000, queue_bytes = 1000 }]",
            ),
            "prioritise or weigh is a hop's only bottleneck",
        ),
        (with_policy("kind = \"police\""), "give packets_per_second with burst_packets"),
        (with_policy("kind = \"bleach\", direction = \"sideways\""), "t.toml:5: unknown variant `sideways`"),
        (city(""), "t.toml: city 'nyc1': 0 hops: write 1 to 4 [[city.hop]] tables"),
        (city("[[city.hop]]\n".repeat(5).as_str()), "5 hops: write 1 to 4"),
        (city("[[city.hop]]\n[[city]]\nname = \"nyc1\"\n[[city.hop]]"), "name: two cities have it"),
        (city("[[city.hop]]\n[city.relay]\nup = { delay_ms = -1 }"), "relay: up.delay_ms = -1 is not 0 to 10000"),
        (city("[[city.hop]]\n[city.relay]\nup = { reorder = 0.1 }"), "reorder and reorder_by_ms belong together"),
        ("name = \"t\"".to_owned(), "t.toml: scenario: 0 cities: write 1 to 200 [[city]] tables"),
        (city("[[city.hop]]").replace("nyc1", "server"), "the lab uses this word itself"),
        (city("[[city.hop]]").replace("nyc1", "a-name-of-16-chr"), "longer than 15 characters"),
    ];
    for (text, expected) in cases {
        let complaint = complaint(&text);
        assert!(complaint.contains(expected), "{complaint}\n  should contain: {expected}");
    }
    let missing = Scenario::read("/no/such/file.toml".as_ref()).unwrap_err().to_string();
    assert!(missing.starts_with("cannot read the scenario /no/such/file.toml: No such file"), "{missing}");
}

#[test]
fn a_plan_reads_as_commands_and_its_rules_are_literal() {
    let scenario = Scenario::parse(
        "t.toml",
        &city("[[city.hop]]\npolicies = [{ kind = \"clear-precedence\", direction = \"up\", family = \"ipv6\", protocol = \"udp\", ports = [53, \"8000-8010\"] }]"),
    )
    .unwrap();
    let text = Plan::of(&scenario).to_string();
    for line in [
        "ip netns add nyc1.hop1",
        "ip link add name eth0 netns nyc1 gso_max_segs 1 address 02:4e:4c:01:00:01 type veth peer name near netns nyc1.hop1 gso_max_segs 1 address 02:4e:4c:01:00:02",
        "ip -n nyc1 address add 10.77.1.1/30 dev eth0",
        "ip -n nyc1 address add fd77:1::1/64 dev eth0 nodad",
        "ip -n server address add 10.77.0.1 peer 10.77.1.5 dev nyc1",
        "ip -n server route add 10.77.1.0/30 via 10.77.1.5 src 10.77.0.1",
        "    meta nfproto ipv6 meta l4proto udp th dport { 53, 8000-8010 } ip6 dscp { 13, 21, 29, 37, 45, 53, 61 } ip6 dscp set 5 return",
    ] {
        assert!(text.lines().any(|each| each == line), "no line\n{line}\nin\n{text}");
    }
    assert!(!text.contains("ip dscp"), "an IPv6 policy has IPv4 rules:\n{text}");
    let policies = Plan::of(&shipped("policies.toml")).to_string();
    assert!(policies.contains("limit police_0_up { rate over 5/second burst 40 packets }"), "{policies}");
    assert!(policies.contains("tc -n mil1.hop1 qdisc add dev far root handle 1: htb"), "{policies}");
}

#[test]
fn bottlenecks_and_error_limits_are_in_the_plan() {
    let scenario = shipped("shaping.toml");
    let text = Plan::of(&scenario).to_string();
    for line in [
        "tc -n waw1.hop2 class add dev far parent 1: classid 1:1 htb rate 1000000bit ceil 1000000bit",
        "tc -n waw1.hop2 class add dev far parent 1:1 classid 1:10 htb rate 990000bit ceil 1000000bit prio 0 quantum 1514",
        "tc -n waw1.hop2 class add dev far parent 1:1 classid 1:ff htb rate 10000bit ceil 1000000bit prio 1 quantum 1514",
        "tc -n vie1.hop2 class add dev far parent 1:1 classid 1:10 htb rate 750000bit ceil 1000000bit prio 0 quantum 4542",
        "tc -n vie1.hop2 class add dev far parent 1:1 classid 1:ff htb rate 250000bit ceil 1000000bit prio 0 quantum 1514",
        "    meta nfproto ipv4 meta l4proto udp meta priority set 1:ff",
        "    meta nfproto ipv4 meta l4proto udp ip dscp { 34 } meta priority set 1:10",
        "nsenter --net=/run/netns/waw1.hop1 sysctl -w net/ipv4/icmp_ratelimit='0'",
    ] {
        assert!(text.lines().any(|each| each == line), "no line\n{line}\nin\n{text}");
    }
    // As Linux does by itself.
    assert!(!text.contains("/run/netns/nyc1.hop1 sysctl -w net/ipv4/icmp_ratelimit"), "{text}");
}

#[test]
fn addresses_follow_the_plan_and_nat_hides_the_worker() {
    let scenario = shipped("policies.toml");
    let vie1 = scenario.city("vie1").unwrap();
    assert_eq!(vie1.worker_address(Family::Ipv4).to_string(), format!("10.77.{}.1", vie1.number));
    assert_eq!(vie1.address_at_server(Family::Ipv4).to_string(), format!("10.77.{}.5", vie1.number));
    assert_eq!(vie1.address_at_server(Family::Ipv6), vie1.worker_address(Family::Ipv6));
    assert_eq!(vie1.hop_address(3, model::Direction::Up, Family::Ipv4), None);
    assert_eq!(Place::Hop("vie1", 2).namespace(), "vie1.hop2");
}

#[test]
fn a_change_is_located_from_the_senders_side() {
    let scenario = shipped("policies.toml");
    let nyc2 = scenario.city("nyc2").unwrap();
    let up = nyc2.location(model::Direction::Up, 2);
    assert_eq!((up.after_hop, up.by_hop), (2, 3));
    let down = nyc2.location(model::Direction::Down, 1);
    assert_eq!((down.after_hop, down.by_hop), (3, 4));
}
