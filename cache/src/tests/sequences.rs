//! Long random sequences, against the model.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::driver::Driver;
use super::ops::{Op, Said, OWNERS, POLICIES};
use super::{config, Region};

fn said(lengths: std::ops::Range<usize>) -> impl Strategy<Value = Said> {
    (
        prop::bool::weighted(0.8),
        0..5u64,
        option::weighted(0.7, 0..8u64),
        option::weighted(0.2, 0..5_000u64),
        lengths,
    )
        .prop_map(|(valid, user, session, until, len)| Said {
            valid,
            user,
            session,
            until,
            len,
        })
}

fn step(keys: u64, lengths: std::ops::Range<usize>) -> impl Strategy<Value = Op> {
    let any = 0..1_000usize;
    let owner = 0..OWNERS;
    let policy = prop_oneof![0..POLICIES, Just(2)];
    prop_oneof![
        30 => (0..keys, owner.clone(), policy.clone()).prop_map(|(n, o, p)| Op::Lookup(n, o, p)),
        14 => (any.clone(), owner.clone(), policy.clone()).prop_map(|(t, o, p)| Op::Poll(t, o, p)),
        15 => (0..keys, policy.clone()).prop_map(|(n, p)| Op::Fresh(n, p)),
        3 => (0..keys, policy).prop_map(|(n, p)| Op::Stale(n, p)),
        3 => (0..keys, owner.clone()).prop_map(|(n, o)| Op::Begin(n, o)),
        20 => (any.clone(), said(lengths)).prop_map(|(f, said)| Op::Settle(f, said)),
        6 => (any.clone(), 0..40usize).prop_map(|(f, len)| Op::Fail(f, len)),
        3 => any.prop_map(Op::Abandon),
        1 => (0..5u64).prop_map(Op::PurgeUser),
        1 => (0..8u64).prop_map(Op::PurgeSession),
        1 => (0..keys).prop_map(Op::PurgeKey),
        8 => (0..300u64).prop_map(Op::Advance),
        4 => (0..7_000u64).prop_map(Op::Advance),
        2 => (55_000..70_000u64).prop_map(Op::Advance),
        1 => (0..3_000u64).prop_map(Op::SetBack),
        1 => owner.prop_map(Op::KillOwner),
        1 => Just(Op::Attach),
        1 => Just(Op::Full),
    ]
}

fn mortal(op: impl Strategy<Value = Op>) -> impl Strategy<Value = Op> {
    (op, option::weighted(0.03, 0..60u64)).prop_map(|(op, writes)| match writes {
        Some(writes) => Op::DieAt(writes, Box::new(op)),
        None => op,
    })
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn ample_zone_does_exactly_what_the_model_does(
        ops in vec(mortal(step(20, 8..600)), 1..1_000)
    ) {
        let region = Region::of_blocks(3_000);
        Driver::new(&region, 20, true).run(&ops);
    }

    #[test]
    fn few_keys_meet_often(ops in vec(mortal(step(2, 8..300)), 1..1_000)) {
        let region = Region::of_blocks(1_000);
        Driver::new(&region, 2, true).run(&ops);
    }

    #[test]
    fn full_zone_forgets_but_never_errs(ops in vec(mortal(step(80, 8..500)), 1..1_000)) {
        let region = Region::of_blocks(100);
        Driver::new(&region, 80, false).run(&ops);
    }
}
