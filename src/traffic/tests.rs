use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::*;

fn failure(class: FailureClass, code: &str) -> Failure {
    Failure {
        class,
        status: 400,
        code: Some(code.to_owned()).filter(|code| !code.is_empty()),
        subcode: None,
        trace: None,
        reason: "it failed".to_owned(),
        advice: "mend it".to_owned(),
    }
}

fn second(number: u64) -> Instant {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    *START.get_or_init(Instant::now) + Duration::from_secs(number)
}

fn problems(traffic: &RouteTraffic, now: Instant) -> Vec<String> {
    let report = traffic.report(now).unwrap();
    let problems = report.problems(now, SystemTime::UNIX_EPOCH + Duration::from_secs(86_400));
    problems.into_iter().map(|problem| problem.0).collect()
}

#[test]
fn the_first_failure_of_a_kind_is_told_at_once_and_the_others_once_a_minute() {
    let traffic = RouteTraffic::default();
    let fail = |class, code, at| {
        let burst = traffic.failed(TrafficKind::Sends, "1", &failure(class, code), second(at));
        burst.map(|burst| burst.count)
    };
    let ok = |at| traffic.succeeded(TrafficKind::Sends, "1", second(at));
    assert_eq!(fail(FailureClass::Timeout, "", 0), Some(1));
    assert_eq!(fail(FailureClass::Timeout, "", 1), None);
    assert_eq!(
        fail(FailureClass::Temporary, "2", 2),
        Some(1),
        "another kind"
    );
    assert_eq!(
        fail(FailureClass::Temporary, "131016", 3),
        Some(1),
        "another code"
    );
    assert_eq!(ok(4).streak.unwrap().count, 4);
    assert_eq!(
        fail(FailureClass::Timeout, "", 5),
        None,
        "within the minute"
    );
    assert!(ok(6).streak.is_none(), "no line told of it");
    let sum_up = |at| traffic.sum_up(second(at));
    assert!(sum_up(59).bursts.is_empty() && sum_up(59).ended.is_empty());
    let summary = sum_up(60);
    let told = &summary.bursts;
    assert_eq!(told.len(), 1);
    assert_eq!(summary.ended[0].count, 1, "it has ended already");
    assert_eq!(
        (told[0].failure.class, told[0].count),
        (FailureClass::Timeout, 1),
        "the line about the end has told of the one before"
    );
    assert!(
        sum_up(500).bursts.is_empty() && sum_up(500).ended.is_empty(),
        "nothing is left to tell"
    );
}

#[test]
fn failures_that_the_line_about_their_end_has_counted_are_not_told_again() {
    for (class, ends) in [
        (FailureClass::Temporary, TrafficKind::Sends),
        // The answer to another request ends failures of the network.
        (FailureClass::Unreachable, TrafficKind::Others),
    ] {
        let traffic = RouteTraffic::default();
        for at in 0..5 {
            traffic.failed(TrafficKind::Sends, "1", &failure(class, ""), second(at));
        }
        let ended = traffic.succeeded(ends, "1", second(5)).streak;
        assert_eq!(ended.unwrap().count, 5, "{class:?}");
        let summary = traffic.sum_up(second(65));
        assert!(summary.bursts.is_empty(), "{class:?}");
        assert!(summary.ended.is_empty(), "{class:?}");
        let again = traffic.failed(TrafficKind::Sends, "1", &failure(class, ""), second(66));
        assert_eq!(again.map(|burst| burst.count), Some(1), "{class:?}");
    }
}

#[test]
fn a_sum_tells_the_end_of_failures_unless_others_go_on() {
    for (fails_on, count) in [(false, Some(5)), (true, None)] {
        let traffic = RouteTraffic::default();
        let timeout = failure(FailureClass::Timeout, "");
        let fail = |times: u64, at| {
            for _ in 0..times {
                traffic.failed(TrafficKind::Sends, "1", &timeout, second(at));
            }
        };
        let ok = |at| traffic.succeeded(TrafficKind::Sends, "1", second(at));
        fail(2, 0);
        assert_eq!(ok(1).streak.unwrap().count, 2);
        for (times, at) in [(2, 2), (3, 4)] {
            fail(times, at);
            assert!(ok(at + 1).streak.is_none());
        }
        fail(u64::from(fails_on), 6);
        let ended = traffic.sum_up(second(61)).ended;
        assert_eq!(ended.first().map(|ended| ended.count), count);
        let told = ok(62).streak.map(|streak| streak.count);
        assert_eq!(told, fails_on.then_some(1));
    }
}

#[test]
fn a_failure_of_another_kind_swallows_no_end() {
    let traffic = RouteTraffic::default();
    let fail = |class, at| {
        let failure = failure(class, "");
        traffic.failed(TrafficKind::Sends, "1", &failure, second(at));
    };
    let ok = |at| traffic.succeeded(TrafficKind::Sends, "1", second(at));
    fail(FailureClass::Timeout, 0);
    ok(1);
    fail(FailureClass::Timeout, 2);
    assert!(ok(3).streak.is_none());
    fail(FailureClass::Tls, 4);
    assert!(ok(5).streak.is_some());
    let summed = traffic.sum_up(second(61));
    assert_eq!(summed.ended.first().map(|ended| ended.count), Some(1));
}

#[test]
fn a_restriction_holds_until_a_message_of_the_sender_passes() {
    let traffic = RouteTraffic::default();
    let locked = failure(FailureClass::Policy, "131031");
    traffic.failed(TrafficKind::Sends, "106540352242922", &locked, second(0));
    traffic.failed(TrafficKind::Sends, "106540352242922", &locked, second(1));
    traffic.failed(TrafficKind::Sends, "2", &locked, second(1));
    traffic.succeeded(TrafficKind::Others, "106540352242922", second(2));
    assert!(
        traffic
            .succeeded(TrafficKind::Sends, "3", second(3))
            .restriction
            .is_none()
    );
    let lines = problems(&traffic, second(86_400));
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!(
        lines[0],
        "the provider restricts sending for sender ...2922 since 1970-01-01T00:00:00Z (2 refusals), until a message \
         passes: it failed (code 131031); mend it"
    );
    let other = RouteTraffic::default();
    other.failed(TrafficKind::Others, "", &locked, second(0));
    let report = other.report(second(0)).unwrap();
    assert!(report.restrictions.is_empty(), "no message could end it");
    let ended = traffic.succeeded(TrafficKind::Sends, "106540352242922", second(4));
    assert_eq!(ended.restriction.unwrap().count, 2);
    traffic.succeeded(TrafficKind::Sends, "2", second(5));
    assert!(problems(&traffic, second(6)).is_empty());
}

#[test]
fn failures_are_a_problem_when_they_are_recent_and_more_than_the_class_tolerates() {
    for (class, count, age, is_problem) in [
        (FailureClass::Unreachable, 1, 0, true),
        (FailureClass::Unreachable, 1, 3600, false),
        (FailureClass::Timeout, 2, 0, false),
        (FailureClass::Timeout, 3, 0, true),
        (FailureClass::Other, 4, 0, false),
        (FailureClass::Other, 5, 0, true),
    ] {
        let traffic = RouteTraffic::default();
        for _ in 0..count {
            traffic.failed(TrafficKind::Sends, "", &failure(class, ""), second(0));
        }
        let lines = problems(&traffic, second(age));
        assert_eq!(
            !lines.is_empty(),
            is_problem,
            "{class:?} {count} {age}: {lines:?}"
        );
    }
}

#[test]
fn an_answer_to_any_request_ends_failures_of_the_network_and_no_others() {
    for (class, ends) in [
        (FailureClass::Unreachable, true),
        (FailureClass::Temporary, false),
    ] {
        let traffic = RouteTraffic::default();
        traffic.failed(TrafficKind::Sends, "", &failure(class, ""), second(0));
        let recovery = traffic.succeeded(TrafficKind::Others, "", second(1));
        assert_eq!(recovery.streak.is_some(), ends, "{class:?}");
        let report = traffic.report(second(2)).unwrap();
        assert_eq!(report.sends.streak.is_none(), ends, "{class:?}");
        assert_eq!(
            report.last_success().is_some(),
            ends,
            "no message has passed"
        );
    }
}

#[test]
fn an_hour_counts_what_happened_in_it() {
    let traffic = RouteTraffic::default();
    traffic.succeeded(TrafficKind::Sends, "", second(0));
    traffic.failed(
        TrafficKind::Sends,
        "",
        &failure(FailureClass::Other, ""),
        second(1800),
    );
    for (at, expected) in [
        (1800, (1, 1)),
        (3599, (1, 1)),
        (3600, (0, 1)),
        (5400, (0, 0)),
    ] {
        let sends = traffic.report(second(at)).unwrap().sends;
        assert_eq!((sends.succeeded, sends.failed), expected, "{at}");
    }
}
