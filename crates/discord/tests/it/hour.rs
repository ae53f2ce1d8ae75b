//! Discord is away for an hour of the bot's time: its timers (intervals, timeouts, backoff, those of the gateway's library
//! too) and its clock are driven by the test in steps of 20 ms, while its sockets are real ones, refused by the emulator.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use discord::Pace;
use model::{Metric, Record};
use net::clock::ClockHand;
use tokio::sync::{mpsc, oneshot};

use crate::support::{Memory, Running, Scene, bounded, until};

const HOUR: Duration = Duration::from_secs(3600);
const STEP: Duration = Duration::from_millis(20);

/// How much time is to pass, and how many steps there are to a millisecond that really passes, for the sockets' sake.
struct Span {
    time: Duration,
    steps_per_ms: u32,
    passed: oneshot::Sender<()>,
}

/// Lets time move by itself again.
struct Hold(Arc<AtomicBool>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs on the bot's own loop, for as long as that does.
async fn drive(mut spans: mpsc::Receiver<Span>, hand: ClockHand) {
    // While a blocking task runs, time that stands still does not jump to the next timer by itself.
    let hold = Hold(Arc::default());
    let over = hold.0.clone();
    tokio::task::spawn_blocking(move || {
        while !over.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    while let Some(span) = spans.recv().await {
        tokio::time::pause();
        let steps = span.time.as_millis() / STEP.as_millis();
        for step in 0..steps as u32 {
            hand.advance(STEP);
            tokio::time::advance(STEP).await;
            if step % span.steps_per_ms == 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
            // What sockets have to say is heard between two steps.
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
        }
        tokio::time::resume();
        let _ = span.passed.send(());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_hour_away_is_caught_up_and_nothing_is_there_twice() {
    let scene = Scene::start("").await;
    let (clock, hand) = net::Clock::by_hand();
    let mut config = scene.main_bot("main-token", "nyc1");
    config.clock = clock.clone();
    // What people have: a call in 15 s, a post a minute.
    config.pace = Pace::default();
    let (spans, received) = mpsc::channel(1);
    let bot = Running::main_with(config, drive(received, hand));
    let pass = |time: Duration, steps_per_ms: u32| {
        let spans = spans.clone();
        async move {
            let (passed, over) = oneshot::channel();
            spans.send(Span { time, steps_per_ms, passed }).await.expect("the bot runs");
            over.await.expect("the bot runs");
        }
    };
    let main = scene.handle.user("main").unwrap();
    until("the session", || scene.handle.connected_sessions(main) == 1).await;
    scene.handle.set_away(true);
    let left_at = clock.now();
    pass(HOUR, 25).await;
    let back_at = clock.now();
    // An hour has passed at Discord as well.
    scene.handle.set_clock_offset_ms(HOUR.as_millis() as i64);
    scene.handle.set_away(false);
    let during = |record: &&Record| {
        let at = model::UnixNanos(record.measured.at_us * 1000);
        left_at < at && at < back_at
    };
    // It catches up within minutes, a message every second and a half.
    bounded("the backlog", async {
        // They are posted in their order: a later one says that all of the hour are there.
        let later = |record: &Record| record.measured.at_us * 1000 >= back_at.0;
        while !scene.posted("nyc1").iter().any(later) || scene.handle.connected_sessions(main) == 0 {
            pass(Duration::from_secs(30), 1).await;
        }
    })
    .await;
    bot.stop().await.unwrap();
    let records = scene.posted("nyc1");
    let ids: HashSet<_> = records.iter().map(|record| record.id.clone()).collect();
    assert_eq!(ids.len(), records.len(), "nothing twice");
    let mut counters: Vec<u64> = records.iter().map(|record| record.id.counter).collect();
    counters.sort_unstable();
    // What was not posted before it was stopped waits in the journal; up to there nothing is missing.
    assert_eq!(counters, (1..=counters.len() as u64).collect::<Vec<_>>(), "nothing lost");
    let rest: Vec<&Record> =
        records.iter().filter(during).filter(|record| record.measured.metric == Metric::Rest).collect();
    // A call every 15 s for an hour: 240; half as many if each waited for its timeout of 15 s, on a machine that is so slow.
    println!("{} calls of the hour", rest.len());
    assert!((115..=241).contains(&rest.len()), "{} calls", rest.len());
    assert!(rest.iter().all(|record| record.measured.app_us.is_none() && !record.measured.flags.is_empty()));
    // And the server bot takes all of them: none lies too far from its message's time.
    let memory = Arc::new(Memory::default());
    scene.scraper("reader-token", &memory).read_all().await.unwrap();
    assert_eq!((memory.of("nyc1").len(), memory.counted("record_implausible")), (records.len(), 0));
}
