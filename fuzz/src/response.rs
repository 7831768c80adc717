//! The resolver's response, in pieces: always as the reference reads it whole.

use authgear_session::answer::Answer;
use authgear_session::identity::Field;
use authgear_session::response::{Head, Progress, ResponseError, ResponseReader};

use crate::reference::{self, Reading, Verdict};
use crate::Numbers;

pub fn run(wire: &[u8]) {
    let expected = reference::read(wire);
    check(wire, &expected, wire.len());
    check(wire, &expected, 1);
    let mut numbers = Numbers::of(wire);
    let (largest, start) = (1 + numbers.below(64), numbers.below(3));
    for round in start..start + 2 {
        let largest = if round == 0 { 2 } else { largest };
        let (result, end, head) = feed(wire, || 1 + numbers.below(largest));
        compare(wire, &expected, result, end, head);
    }
}

fn check(wire: &[u8], expected: &Reading, step: usize) {
    let (result, end, head) = feed(wire, || step.max(1));
    compare(wire, expected, result, end, head);
}

type Outcome = (Result<Progress, ResponseError>, usize, Option<Head>);

/// As nginx's upstream code calls the reader: what is not used comes again, with more. Also how much
/// of the wire had arrived in the end.
fn feed(wire: &[u8], mut piece: impl FnMut() -> usize) -> Outcome {
    let mut reader = ResponseReader::new();
    let mut held = Vec::new();
    let mut arrived = 0;
    loop {
        let next = (arrived + piece()).min(wire.len());
        held.extend_from_slice(&wire[arrived..next]);
        arrived = next;
        match reader.read(&held) {
            Ok(Progress::NeedMore { consumed }) if arrived < wire.len() => {
                held.drain(..consumed);
            }
            result => return (result, arrived, reader.into_head()),
        }
    }
}

fn compare(
    wire: &[u8],
    expected: &Reading,
    result: Result<Progress, ResponseError>,
    arrived: usize,
    head: Option<Head>,
) {
    let shown = || String::from_utf8_lossy(wire).into_owned();
    match (expected, result) {
        (
            Reading::Whole {
                verdict,
                cookies,
                end,
                keep,
                head: _,
            },
            Ok(Progress::Complete { keep_alive }),
        ) => {
            let head = head.expect("a head");
            assert_eq!(&verdict_of(&head), verdict, "{}", shown());
            assert_eq!(&head.set_cookies, cookies, "{}", shown());
            assert_eq!(keep_alive, *keep && arrived == *end, "{}", shown());
        }
        // It may tell early what the reference tells at the end of a line.
        (Reading::Broken | Reading::Unfinished, Err(_)) => {}
        (Reading::Unfinished, Ok(Progress::NeedMore { .. })) => {}
        (expected, result) => panic!("{expected:?}, but {result:?}:\n{}", shown()),
    }
}

fn verdict_of(head: &Head) -> Verdict {
    match &head.answer {
        Err(_) => Verdict::Error,
        Ok(Answer::None) => Verdict::None,
        Ok(Answer::Invalid) => Verdict::Invalid,
        Ok(Answer::Valid(session)) => {
            let present = Field::ALL.into_iter().filter_map(|field| {
                let value = session.get(field)?;
                Some((field.header_name().to_owned(), value.to_vec()))
            });
            Verdict::Valid(present.collect())
        }
    }
}
