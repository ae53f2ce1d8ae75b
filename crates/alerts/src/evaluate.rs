//! One look at a rule's things: what turned, what stands, what is forgotten. Pure but for what it is given.

use std::collections::BTreeMap;

use measure::alert::{Course, Turn};
use store::{AlertCommit, AlertState};

use crate::message::{Event, State};
use crate::rule::{On, Rule};
use crate::watch::Seen;

/// What stood raised and has had no number for so long is over: it is not measured any more.
const GONE_S: i64 = 7 * 24 * 3_600;
/// Things that one rule may have raised or turning: what is beyond is not watched, and said once a look.
const MOST: usize = 2_000;

/// What stands, by rule and subject.
pub(crate) type Standing = BTreeMap<(String, String), AlertState>;

/// Goes on with `standing`, and answers what is to be kept and told.
pub(crate) fn evaluate(standing: &mut Standing, rule: &Rule, all: &[Seen], now_s: i64) -> AlertCommit {
    let mut commit = AlertCommit::default();
    let mut held = standing.keys().filter(|(name, _)| *name == rule.name).count();
    for seen in all {
        let key = (rule.name.clone(), seen.subject.clone());
        let before = standing.get(&key).cloned();
        // While it is raised, or about to be, the bound stays what it was: what is usual moves along with what is slow.
        let relative = rule.above_times.zip(seen.usual).map(|(times, usual)| times * usual);
        let Some(raise) = before.as_ref().map(|state| state.level).or(rule.bound()).or(relative) else { continue };
        if before.is_none() && held >= MOST {
            tracing::warn!(alert = rule.name, "more than {MOST} things at once: the rest is not watched");
            break;
        }
        let mut course = before.as_ref().map_or(Course::default(), |state| Course {
            raised: state.raised,
            turning_since_s: state.turning_since_s,
            seen_s: state.seen_s,
        });
        let turn = course.see(seen.value, now_s, &rule.band(raise));
        let word_before = before.as_ref().map_or("", |state| state.word.as_str());
        let other = rule.on == On::Verdict && course.raised && turn.is_none() && word_before != seen.word;
        let state = match turn {
            Some(Turn::Raised) => Some(State::Raised),
            Some(Turn::Cleared) => Some(State::Cleared),
            None if other && !word_before.is_empty() => Some(State::Changed),
            None => None,
        };
        if let Some(state) = state {
            let event = match rule.on {
                On::Verdict => Event::verdict(rule, seen, state, word_before, now_s),
                _ => Event::number(rule, seen, state, raise, now_s),
            };
            commit.notes.push(note(rule, &event, now_s));
        }
        if course.is_quiet() {
            if standing.remove(&key).is_some() {
                held -= 1;
                commit.forget.push(key);
            }
            continue;
        }
        held += usize::from(before.is_none());
        // A verdict that is about to be over keeps its name until it is.
        let word = if seen.value >= raise { seen.word.clone() } else { word_before.to_owned() };
        let after = AlertState {
            rule: rule.name.clone(),
            subject: seen.subject.clone(),
            raised: course.raised,
            turning_since_s: course.turning_since_s,
            seen_s: now_s,
            level: raise,
            word,
        };
        commit.put.push(after.clone());
        standing.insert(key, after);
    }
    let gone = |state: &&AlertState| state.rule == rule.name && now_s - state.seen_s > GONE_S;
    let gone: Vec<AlertState> = standing.values().filter(gone).cloned().collect();
    for state in gone {
        if state.raised {
            commit.notes.push(note(rule, &Event::gone(rule, &state.subject, now_s), now_s));
        }
        let key = (state.rule, state.subject);
        standing.remove(&key);
        commit.forget.push(key);
    }
    commit
}

pub(crate) fn note(rule: &Rule, event: &Event, now_s: i64) -> (String, i64, String) {
    // The event's own types, whose keys are strings: writing them cannot fail.
    (rule.name.clone(), now_s, serde_json::to_string(event).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(value: f64, usual: Option<f64>, word: &str) -> Seen {
        Seen {
            subject: "nyc1 rest".to_owned(),
            worker: "nyc1".parse().unwrap(),
            what: "REST".to_owned(),
            value,
            usual,
            word: word.to_owned(),
            sentence: None,
            network_ms: None,
        }
    }

    fn rule(text: &str) -> Rule {
        let rule: Rule = serde_json::from_str(text).unwrap();
        rule.check().unwrap();
        rule
    }

    /// A look a minute; the states told, with their minutes.
    fn told(rule: &Rule, looks: &[Seen]) -> Vec<(usize, String)> {
        let mut standing = Standing::new();
        let mut told = Vec::new();
        for (minute, look) in looks.iter().enumerate() {
            let commit = evaluate(&mut standing, rule, std::slice::from_ref(look), 1_000_000 + 60 * minute as i64);
            for (_, _, body) in commit.notes {
                let event: Event = serde_json::from_str(&body).unwrap();
                told.push((minute, format!("{:?} {}", event.state, event.verdict.unwrap_or_default())));
            }
            assert_eq!(standing.len(), commit.put.len());
        }
        told
    }

    #[test]
    fn a_relative_bound_is_that_of_the_beginning() {
        let rule =
            rule(r#"{"name":"slow","on":"application","url_env":"H","above_times":2,"for_s":60,"clear_for_s":60}"#);
        // What is usual climbs to what is slow: it stays raised until it is down again.
        let mut looks: Vec<Seen> = (0..30).map(|n| seen(300.0, Some(100.0 + 10.0 * f64::from(n)), "")).collect();
        looks.extend((0..5).map(|_| seen(150.0, Some(300.0), "")));
        assert_eq!(told(&rule, &looks), [(1, "Raised ".to_owned()), (31, "Cleared ".to_owned())]);
        // Without a day of measurements nothing is relative to it.
        assert_eq!(told(&rule, &vec![seen(9_000.0, None, ""); 30]), []);
    }

    #[test]
    fn verdicts_are_told_when_they_come_change_and_go() {
        let rule = rule(r#"{"name":"v","on":"verdict","url_env":"H"}"#);
        let words = ["none", "delayed", "delayed", "policed", "policed", "none", "none"];
        let looks: Vec<Seen> =
            words.iter().map(|word| seen(f64::from(u8::from(*word != "none")), None, word)).collect();
        let want = [(1, "Raised delayed"), (3, "Changed policed"), (5, "Cleared none")];
        assert_eq!(told(&rule, &looks), want.map(|(minute, text)| (minute, text.to_owned())));
    }

    #[test]
    fn what_is_no_longer_measured_does_not_stand_raised_for_ever() {
        let rule = rule(r#"{"name":"gone","on":"silent","url_env":"H","above_s":300}"#);
        let mut standing = Standing::new();
        assert_eq!(evaluate(&mut standing, &rule, &[seen(400.0, None, "")], 1_000).notes.len(), 1);
        assert_eq!(evaluate(&mut standing, &rule, &[], 1_000 + GONE_S), AlertCommit::default());
        let commit = evaluate(&mut standing, &rule, &[], 1_001 + GONE_S);
        assert_eq!((commit.notes.len(), commit.forget.len(), standing.len()), (1, 1, 0));
    }

    #[test]
    fn a_quiet_thing_leaves_nothing_behind() {
        let rule = rule(r#"{"name":"slow","on":"application","url_env":"H","above_ms":300}"#);
        let mut standing = Standing::new();
        assert_eq!(evaluate(&mut standing, &rule, &[seen(10.0, None, "")], 1_000), AlertCommit::default());
        assert_eq!(evaluate(&mut standing, &rule, &[seen(310.0, None, "")], 1_060).put.len(), 1);
        assert_eq!(evaluate(&mut standing, &rule, &[seen(10.0, None, "")], 1_120).forget.len(), 1);
        assert!(standing.is_empty());
    }
}
