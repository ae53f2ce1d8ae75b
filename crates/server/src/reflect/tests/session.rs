use wire::stamp::FollowUp;

use crate::reflect::session::{Session, SessionKey, Sessions};

const SECOND: u64 = 1_000_000_000;

fn key(port: u16) -> SessionKey {
    SessionKey { from: [192, 0, 2, 1].into(), from_port: port, to: None, ssid: 7 }
}

#[test]
fn each_session_counts_for_itself_and_no_more_than_so_many_are_kept() {
    let mut sessions = Sessions::new(2, 0);
    sessions.receive(key(1), 0, 0).unwrap().transmit();
    sessions.receive(key(1), 1, 0).unwrap().transmit();
    assert_eq!(sessions.receive(key(2), 0, 0).unwrap().sequence, 0);
    assert_eq!(sessions.receive(key(1), 2, 0).map(|session| (session.sequence, session.received)), Some((2, 3)));
    assert!(sessions.receive(key(3), 0, 0).is_none());
    // Room again once one has been silent for REFWAIT.
    sessions.receive(key(1), 3, 800 * SECOND).unwrap();
    assert!(sessions.receive(key(3), 0, 901 * SECOND).is_some());
    assert!(sessions.get_mut(&key(2)).is_none() && sessions.get_mut(&key(1)).is_some());
}

#[test]
fn a_sender_that_starts_anew_is_counted_anew() {
    let mut sessions = Sessions::new(1, 0);
    sessions.receive(key(1), 0, 0).unwrap().transmit();
    // A duplicate of the first packet is no new start.
    assert_eq!(sessions.receive(key(1), 0, SECOND / 2).unwrap().sequence, 1);
    assert_eq!(sessions.receive(key(1), 0, 3 * SECOND).unwrap().sequence, 0);
    assert_eq!(sessions.receive(key(1), 5, 3 * SECOND + 901 * SECOND).unwrap().received, 1);
}

#[test]
fn only_the_last_replys_departure_is_told() {
    let left = |sequence| FollowUp { sequence, transmit_ns: 5, transmitted_by: 2 };
    let mut session = Session::default();
    assert_eq!(session.follow_up(), None);
    session.transmit();
    assert_eq!(session.follow_up(), None, "its stamp has not come yet");
    session.stamped(left(0));
    assert_eq!(session.follow_up(), Some(left(0)));
    session.transmit();
    assert_eq!(session.follow_up(), None, "that was another reply");
    session.stamped(left(0));
    assert_eq!(session.follow_up(), None);
}
