//! Fuzzing in short, without a fuzzer: each target's body gets its seeds and thousands of mutations of
//! them, the same ones each time.
//!
//! `AUTHGEAR_FUZZ=1000000` makes as many for each target; `AUTHGEAR_FUZZ_SEED` makes others.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::panic;
use std::path::{Path, PathBuf};
use std::thread;

use authgear_fuzz::{Body, Numbers, TARGETS};

const MUTATIONS: u64 = 10_000;
const LARGEST: usize = 4096;
/// What means something to one reader or another.
const SPECIAL: &[u8] = b"\0\x01\t\n\r \"%,.-:;=\\&?/019ACat\x7f\x80\xff";

#[test]
fn no_mutation_of_a_seed_breaks_a_target() {
    let broken: Vec<&str> = thread::scope(|scope| {
        let running = TARGETS.map(|(name, body)| (name, scope.spawn(move || feed(name, body))));
        let ended = running.map(|(name, thread)| (name, thread.join()));
        let broken = ended.into_iter().filter(|(_, result)| result.is_err());
        broken.map(|(name, _)| name).collect()
    });
    assert!(broken.is_empty(), "broken: {broken:?}");
}

#[test]
fn each_target_is_run_and_has_seeds() {
    let names: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let named = |directory: &str| -> BTreeSet<String> {
        let stem = |path: &PathBuf| path.file_stem().expect("a name").to_string_lossy().into();
        entries(directory).iter().map(stem).collect()
    };
    assert_eq!(named("targets"), names);
    assert_eq!(named("corpus"), names);
    for name in names {
        assert!(!seeds(&name).is_empty(), "{name}");
    }
}

fn feed(name: &str, body: Body) {
    let seeds = seeds(name);
    for seed in &seeds {
        run(name, body, seed);
    }
    let mut numbers = Numbers::of(format!("{name} {}", number("AUTHGEAR_FUZZ_SEED", 1)).as_bytes());
    let mut last = seeds[0].clone();
    for _ in 0..number("AUTHGEAR_FUZZ", MUTATIONS) {
        // Mutations of mutations lead further away.
        let mut input = match numbers.below(2) {
            0 => last,
            _ => seeds[numbers.below(seeds.len())].clone(),
        };
        for _ in 0..=numbers.below(4) {
            mutate(&mut input, &seeds, &mut numbers);
        }
        input.truncate(LARGEST);
        run(name, body, &input);
        last = input;
    }
}

fn run(name: &str, body: Body, input: &[u8]) {
    if let Err(cause) = panic::catch_unwind(|| body(input)) {
        eprintln!("{name} breaks at b\"{}\"", input.escape_ascii());
        panic::resume_unwind(cause);
    }
}

fn mutate(input: &mut Vec<u8>, seeds: &[Vec<u8>], numbers: &mut Numbers) {
    let at = numbers.below(input.len());
    let end = (at + 1 + numbers.below(32)).min(input.len());
    let special = SPECIAL[numbers.below(SPECIAL.len())];
    let other = &seeds[numbers.below(seeds.len())];
    let from = numbers.below(other.len());
    match numbers.below(8) {
        0 | 1 if !input.is_empty() => input[at] ^= 1 << numbers.below(8),
        2 if !input.is_empty() => input[at] = special,
        3 => input.insert(at, special),
        4 => drop(input.drain(at..end)),
        5 => {
            let twice = input[at..end].to_vec();
            input.splice(at..at, twice);
        }
        6 => {
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
        _ => {
            let length = numbers.below(other.len() - from) + 1;
            let piece = other[from..].iter().take(length).copied();
            input.splice(at..end, piece);
        }
    }
}

fn seeds(name: &str) -> Vec<Vec<u8>> {
    let paths = entries(&format!("corpus/{name}"));
    let read = |path: &PathBuf| fs::read(path).expect("a seed");
    paths.iter().map(read).collect()
}

/// What is in a directory here, in the order of names.
fn entries(directory: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let entries = fs::read_dir(&directory).expect("a directory");
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    paths
}

fn number(name: &str, default: u64) -> u64 {
    match env::var(name) {
        Ok(text) if !text.is_empty() => text.parse().expect("a number"),
        _ => default,
    }
}
