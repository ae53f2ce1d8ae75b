//! Runs a test's body in network namespaces of its own, as root or not. Where that is impossible the test fails.

use std::process::Command;

const VARIABLE: &str = "NETLAT_TEST_LAB";

/// `rules HOST HOOK` reads nft rules for that hook; `quiet HOST` keeps the host from sending ICMP errors.
///
/// Routers r1, r2, r3 between client and server, both families; everything is gone when the test ends.
/// 10.9.N.0/24 and fd09:N::/64 are the links from near to far; the near end is 1, the far end 2.
pub(crate) const THREE_ROUTERS: &str = r#"
mount -t tmpfs tmpfs /run; mkdir -p /run/netns
for n in client r1 r2 r3 server; do ip netns add $n; ip -n $n link set lo up; done
link() {
  ip link add $1-$2 netns $1 type veth peer name $2-$1 netns $2
  ip -n $1 addr add 10.9.$3.1/24 dev $1-$2; ip -n $2 addr add 10.9.$3.2/24 dev $2-$1
  ip -n $1 addr add fd09:$3::1/64 dev $1-$2 nodad; ip -n $2 addr add fd09:$3::2/64 dev $2-$1 nodad
  ip -n $1 link set $1-$2 up; ip -n $2 link set $2-$1 up
}
link client r1 1; link r1 r2 2; link r2 r3 3; link r3 server 4
for r in r1 r2 r3; do ip netns exec $r sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1; done
at4() { echo 10.9.$1.$2; }; net4() { echo 10.9.$1.0/24; }
at6() { echo fd09:$1::$2; }; net6() { echo fd09:$1::/64; }
for f in 4 6; do
  ip -n client -$f route add default via $(at$f 1 2)
  ip -n r1 -$f route add default via $(at$f 2 2)
  ip -n r2 -$f route add $(net$f 1) via $(at$f 2 1)
  ip -n r2 -$f route add default via $(at$f 3 2)
  ip -n r3 -$f route add default via $(at$f 3 1)
  ip -n server -$f route add default via $(at$f 4 1)
done
rules() { { echo "table inet t$2 { chain c {"; echo "type filter hook $2 priority mangle;"; cat; echo "}"; echo "}"; } | ip netns exec $1 nft -f -; }
quiet() { rules $1 output <<< 'icmp type { time-exceeded, destination-unreachable } drop
icmpv6 type { time-exceeded, destination-unreachable } drop'; }
"#;

/// One namespace with a loopback interface; `rules HOOK` as above. For the tests of whoever borrows this file.
#[allow(dead_code)]
pub(crate) const LOOPBACK: &str = r#"
ip link set lo up
rules() { { echo "table inet t$1 { chain c {"; echo "type filter hook $1 priority mangle;"; cat; echo "}"; echo "}"; } | nft -f -; }
"#;

/// True inside the laboratory. Outside it builds one with `script`, runs the calling test in it (`enter`: the command that
/// runs the test's program there), asserts that it passed, and returns false.
pub(crate) fn inside(test: &str, script: &str, enter: &str) -> bool {
    if std::env::var(VARIABLE).is_ok_and(|running| running == test) {
        return true;
    }
    let program = std::env::current_exe().expect("the test's own program");
    let whole = format!("set -e\n{script}\nexec {enter} \"$0\" --exact {test} --nocapture --test-threads=1");
    // As root in a container there may be no user namespaces, and no need for them.
    let user = Command::new("unshare").args(["-Urnm", "true"]).output().is_ok_and(|output| output.status.success());
    let output = Command::new("unshare")
        .arg(if user { "-Urnm" } else { "-nm" })
        .args(["bash", "-c", &whole])
        .arg(program)
        .env(VARIABLE, test)
        .output()
        .expect("unshare (util-linux) is needed");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "in the laboratory:\n{out}\n{err}");
    assert!(out.contains("1 passed"), "the test was not found in the laboratory:\n{out}\n{err}");
    false
}

/// The calling test's name as the test program knows it.
macro_rules! this_test {
    ($name:literal) => {
        concat!(module_path!(), "::", $name).split_once("::").expect("a module").1
    };
}
pub(crate) use this_test;
