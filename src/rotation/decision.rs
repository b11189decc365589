//! The way on from a rotation that was cut off: decided by what is in the place, and by which
//! secrets are alive.

use super::record::{Author, RotationStep};

/// The known facts about a rotation that was cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CutOffEvidence {
    pub(super) held: Held,
    /// The secret that the sidecars read, for a place that cannot be read itself; else equal to
    /// `held`.
    pub(super) source: Held,
    /// The life of the old secret; [`Life::Dead`] if the journal has no old secret.
    pub(super) old: Life,
    /// `None` if the journal has no new secret: the exchange was not answered.
    pub(super) new: Option<Life>,
    /// The life of the secret in place if it is neither the old nor the new secret; of no meaning
    /// unless `held` is [`Held::Other`].
    pub(super) other: Life,
    pub(super) step: RotationStep,
    /// Who goes on with the rotation now: a user, or a sidecar by itself.
    pub(super) worker: Author,
}

impl CutOffEvidence {
    /// True if the rotation was cut off while it wrote a secret to the place.
    fn was_writing(&self) -> bool {
        let is_writing = matches!(self.step, RotationStep::Placing | RotationStep::TakingBack);
        is_writing && self.new.is_some()
    }
}

/// The secret that the place holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    Old,
    New,
    /// Somebody else has written meanwhile.
    Other,
    /// The place holds no usable secret.
    Nothing,
    /// The place can only be written.
    Hidden,
}

/// The life of a secret, by the word of the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    Alive,
    Dead,
    /// The provider's answer is no evidence.
    Unknown,
}

/// The end that the command or the sidecar wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RotationIntent {
    /// Bring the rotation to its end.
    Finish,
    /// Revoke what is not in place, and write nothing.
    Revoke,
}

/// The next step of a rotation that was cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Keep the secret that the place holds, and revoke the others.
    Keep(Held),
    /// Write the new secret to the place.
    WriteNew,
    /// Write the old secret back: the new one in the place is dead, or the place is empty.
    WriteOld,
    /// Drop the journal: the old secret is in place, and there is no living new one.
    Drop,
    /// Wait, and leave the place empty: a person has taken the secret out, and nobody asks for a
    /// new one there.
    Wait,
    /// Stop, and change nothing.
    Stop(Stop),
}

/// The reason to change nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The provider does not tell which secrets are alive.
    NoAnswer,
    /// The place holds a dead secret, and a living one is in the journal: the rotation has to be
    /// finished.
    DeadInPlace,
    /// The place holds a dead secret that somebody else wrote.
    OtherDead,
    /// Neither secret is alive.
    AllDead,
    /// The place cannot be read, so the secret in it is not known.
    Hidden,
}

/// Chooses the next step by the evidence and the wanted end.
pub(super) fn decide(evidence: CutOffEvidence, intent: RotationIntent) -> Decision {
    match evidence.held {
        Held::New => with_new_in_place(evidence, intent),
        Held::Old => with_old_in_place(evidence, intent),
        Held::Other => match evidence.other {
            Life::Alive => Decision::Keep(Held::Other),
            Life::Dead => Decision::Stop(Stop::OtherDead),
            Life::Unknown => Decision::Stop(Stop::NoAnswer),
        },
        Held::Nothing => with_nothing_in_place(evidence, intent),
        // Without a new secret, nothing was written: the old secret is in place.
        Held::Hidden if evidence.new.is_none() => with_old_in_place(evidence, intent),
        Held::Hidden => match evidence.step {
            RotationStep::Exchanging => with_old_in_place(evidence, intent),
            RotationStep::Placed | RotationStep::Revoking => with_new_in_place(evidence, intent),
            RotationStep::Placing | RotationStep::TakingBack => {
                with_either_in_place(evidence, intent)
            }
        },
    }
}

fn with_new_in_place(evidence: CutOffEvidence, intent: RotationIntent) -> Decision {
    match (evidence.new, evidence.old) {
        (Some(Life::Alive), _) => Decision::Keep(Held::New),
        (Some(Life::Unknown), _) | (_, Life::Unknown) => Decision::Stop(Stop::NoAnswer),
        (_, Life::Dead) => Decision::Stop(Stop::AllDead),
        (_, Life::Alive) => match intent {
            RotationIntent::Finish => Decision::WriteOld,
            RotationIntent::Revoke => Decision::Stop(Stop::DeadInPlace),
        },
    }
}

fn with_old_in_place(evidence: CutOffEvidence, intent: RotationIntent) -> Decision {
    match (evidence.new, intent, evidence.old) {
        (None | Some(Life::Dead), _, _) => Decision::Drop,
        (Some(Life::Unknown), _, _) => Decision::Stop(Stop::NoAnswer),
        (Some(Life::Alive), RotationIntent::Finish, _) => Decision::WriteNew,
        (Some(Life::Alive), RotationIntent::Revoke, Life::Alive) => Decision::Keep(Held::Old),
        (Some(Life::Alive), RotationIntent::Revoke, Life::Dead) => {
            Decision::Stop(Stop::DeadInPlace)
        }
        (Some(Life::Alive), RotationIntent::Revoke, Life::Unknown) => {
            Decision::Stop(Stop::NoAnswer)
        }
    }
}

fn with_nothing_in_place(evidence: CutOffEvidence, intent: RotationIntent) -> Decision {
    if evidence.worker == Author::Renewal && !evidence.was_writing() {
        return Decision::Wait;
    }
    match (evidence.new, intent) {
        (_, RotationIntent::Revoke) => Decision::Stop(Stop::DeadInPlace),
        (Some(Life::Alive), RotationIntent::Finish) => Decision::WriteNew,
        (Some(Life::Unknown), RotationIntent::Finish) => Decision::Stop(Stop::NoAnswer),
        // The journal alone may hold the old secret.
        (None | Some(Life::Dead), RotationIntent::Finish) => match evidence.old {
            Life::Alive => Decision::WriteOld,
            Life::Dead => Decision::Drop,
            Life::Unknown => Decision::Stop(Stop::NoAnswer),
        },
    }
}

/// The place can only be written, and a write was under way: writing once more makes the place
/// known. Sidecars that read the old secret have no need of the new one.
fn with_either_in_place(evidence: CutOffEvidence, intent: RotationIntent) -> Decision {
    match (evidence.new, evidence.old, intent) {
        (_, _, RotationIntent::Revoke) if evidence.source == Held::Old => {
            with_old_in_place(evidence, intent)
        }
        (_, _, RotationIntent::Revoke) => Decision::Stop(Stop::Hidden),
        (Some(Life::Alive), _, _) => Decision::WriteNew,
        (Some(Life::Unknown), _, _) | (_, Life::Unknown, _) => Decision::Stop(Stop::NoAnswer),
        (_, Life::Alive, _) => Decision::WriteOld,
        (_, Life::Dead, _) => Decision::Stop(Stop::AllDead),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Decision::{Drop, Keep, Stop as Halt, WriteNew, WriteOld};
    use Life::{Alive, Dead, Unknown};
    use Stop::{AllDead, DeadInPlace, Hidden, NoAnswer, OtherDead};

    fn decided(held: Held, old: Life, new: Option<Life>, step: RotationStep) -> [Decision; 2] {
        let evidence = CutOffEvidence {
            held,
            source: held,
            old,
            new,
            other: Alive,
            step,
            worker: Author::Command,
        };
        [RotationIntent::Finish, RotationIntent::Revoke].map(|intent| decide(evidence, intent))
    }

    /// The known facts, and the decisions to finish the rotation and to revoke alone.
    type Case = (Held, Life, Option<Life>, RotationStep, [Decision; 2]);

    const CASES: &[Case] = &[
        (
            Held::New,
            Alive,
            Some(Alive),
            RotationStep::Placing,
            [Keep(Held::New); 2],
        ),
        (
            Held::New,
            Dead,
            Some(Alive),
            RotationStep::Placing,
            [Keep(Held::New); 2],
        ),
        (
            Held::New,
            Unknown,
            Some(Alive),
            RotationStep::Placing,
            [Keep(Held::New); 2],
        ),
        (
            Held::New,
            Alive,
            Some(Dead),
            RotationStep::Placing,
            [WriteOld, Halt(DeadInPlace)],
        ),
        (
            Held::New,
            Dead,
            Some(Dead),
            RotationStep::Placing,
            [Halt(AllDead); 2],
        ),
        (
            Held::New,
            Unknown,
            Some(Dead),
            RotationStep::Placing,
            [Halt(NoAnswer); 2],
        ),
        (
            Held::New,
            Alive,
            Some(Unknown),
            RotationStep::Placing,
            [Halt(NoAnswer); 2],
        ),
        (Held::Old, Alive, None, RotationStep::Exchanging, [Drop; 2]),
        (
            Held::Old,
            Alive,
            Some(Dead),
            RotationStep::Placing,
            [Drop; 2],
        ),
        (
            Held::Old,
            Alive,
            Some(Alive),
            RotationStep::Placing,
            [WriteNew, Keep(Held::Old)],
        ),
        (
            Held::Old,
            Dead,
            Some(Alive),
            RotationStep::Placing,
            [WriteNew, Halt(DeadInPlace)],
        ),
        (
            Held::Old,
            Unknown,
            Some(Alive),
            RotationStep::Placing,
            [WriteNew, Halt(NoAnswer)],
        ),
        (
            Held::Old,
            Alive,
            Some(Unknown),
            RotationStep::Placing,
            [Halt(NoAnswer); 2],
        ),
        (
            Held::Other,
            Alive,
            Some(Alive),
            RotationStep::Placing,
            [Keep(Held::Other); 2],
        ),
        (
            Held::Nothing,
            Dead,
            Some(Alive),
            RotationStep::Placing,
            [WriteNew, Halt(DeadInPlace)],
        ),
        (
            Held::Nothing,
            Dead,
            Some(Dead),
            RotationStep::Placing,
            [Drop, Halt(DeadInPlace)],
        ),
        (
            Held::Nothing,
            Alive,
            Some(Dead),
            RotationStep::TakingBack,
            [WriteOld, Halt(DeadInPlace)],
        ),
        (
            Held::Nothing,
            Alive,
            None,
            RotationStep::Exchanging,
            [WriteOld, Halt(DeadInPlace)],
        ),
        (
            Held::Nothing,
            Unknown,
            None,
            RotationStep::Exchanging,
            [Halt(NoAnswer), Halt(DeadInPlace)],
        ),
        (
            Held::Hidden,
            Alive,
            None,
            RotationStep::Exchanging,
            [Drop; 2],
        ),
        (
            Held::Hidden,
            Dead,
            None,
            RotationStep::TakingBack,
            [Drop; 2],
        ),
        (
            Held::Hidden,
            Alive,
            Some(Alive),
            RotationStep::Placing,
            [WriteNew, Halt(Hidden)],
        ),
        (
            Held::Hidden,
            Alive,
            Some(Dead),
            RotationStep::TakingBack,
            [WriteOld, Halt(Hidden)],
        ),
        (
            Held::Hidden,
            Dead,
            Some(Dead),
            RotationStep::Placing,
            [Halt(AllDead), Halt(Hidden)],
        ),
        (
            Held::Hidden,
            Alive,
            Some(Alive),
            RotationStep::Placed,
            [Keep(Held::New); 2],
        ),
        (
            Held::Hidden,
            Alive,
            Some(Dead),
            RotationStep::Revoking,
            [WriteOld, Halt(DeadInPlace)],
        ),
    ];

    #[test]
    fn the_way_on_follows_from_the_place_and_from_what_is_alive() {
        for &(held, old, new, step, expected) in CASES {
            let found = decided(held, old, new, step);
            assert_eq!(found, expected, "{held:?} {old:?} {new:?} {step:?}");
        }
    }

    #[test]
    fn a_secret_of_another_hand_is_kept_only_alive() {
        for (other, expected) in [
            (Alive, Keep(Held::Other)),
            (Dead, Halt(OtherDead)),
            (Unknown, Halt(NoAnswer)),
        ] {
            let evidence = CutOffEvidence {
                held: Held::Other,
                source: Held::Other,
                old: Alive,
                new: Some(Alive),
                other,
                step: RotationStep::Placing,
                worker: Author::Command,
            };
            for intent in [RotationIntent::Finish, RotationIntent::Revoke] {
                assert_eq!(decide(evidence, intent), expected);
            }
        }
    }

    #[test]
    fn a_new_secret_is_revoked_where_sidecars_read_the_old_one() {
        for (source, old, expected) in [
            (Held::Old, Alive, Keep(Held::Old)),
            (Held::Old, Dead, Halt(DeadInPlace)),
            (Held::Hidden, Alive, Halt(Hidden)),
        ] {
            let evidence = CutOffEvidence {
                held: Held::Hidden,
                source,
                old,
                new: Some(Alive),
                other: Unknown,
                step: RotationStep::Placing,
                worker: Author::Command,
            };
            assert_eq!(
                decide(evidence, RotationIntent::Revoke),
                expected,
                "{source:?}"
            );
        }
    }

    #[test]
    fn a_sidecar_by_itself_fills_an_empty_place_only_where_it_was_writing() {
        let waits = |step: RotationStep, new: Option<Life>, worker: Author| {
            let evidence = CutOffEvidence {
                held: Held::Nothing,
                source: Held::Nothing,
                old: Alive,
                new,
                other: Unknown,
                step,
                worker,
            };
            decide(evidence, RotationIntent::Finish) == Decision::Wait
        };
        for (step, new, expected) in [
            (RotationStep::Exchanging, None, true),
            // An exchange that was cut off is noted so before anything else.
            (RotationStep::TakingBack, None, true),
            (RotationStep::Placing, Some(Alive), false),
            (RotationStep::TakingBack, Some(Dead), false),
            (RotationStep::Placed, Some(Alive), true),
            (RotationStep::Revoking, Some(Alive), true),
            (RotationStep::Revoking, Some(Dead), true),
        ] {
            let found = waits(step, new, Author::Renewal);
            assert_eq!(found, expected, "{step:?} {new:?}");
            assert!(!waits(step, new, Author::Command), "{step:?} {new:?}");
        }
    }

    const STEPS: [RotationStep; 5] = [
        RotationStep::Exchanging,
        RotationStep::Placing,
        RotationStep::Placed,
        RotationStep::Revoking,
        RotationStep::TakingBack,
    ];

    /// Returns the secrets that may be in place: all that the evidence does not exclude.
    fn possible(held: Held, step: RotationStep) -> &'static [Held] {
        match (held, step) {
            (Held::Old, _) | (Held::Hidden, RotationStep::Exchanging) => &[Held::Old],
            (Held::New, _) | (Held::Hidden, RotationStep::Placed | RotationStep::Revoking) => {
                &[Held::New]
            }
            (Held::Other, _) => &[Held::Other],
            (Held::Nothing, _) => &[],
            (Held::Hidden, RotationStep::Placing | RotationStep::TakingBack) => {
                &[Held::Old, Held::New]
            }
        }
    }

    #[test]
    fn nothing_that_may_be_in_place_is_ever_revoked() {
        let lives = [None, Some(Alive), Some(Dead), Some(Unknown)];
        for held in [
            Held::Old,
            Held::New,
            Held::Other,
            Held::Nothing,
            Held::Hidden,
        ] {
            for (old, new) in [Alive, Dead, Unknown]
                .into_iter()
                .flat_map(|old| lives.map(|new| (old, new)))
            {
                for step in STEPS {
                    for decision in decided(held, old, new, step) {
                        if let Keep(kept) = decision {
                            assert_eq!(possible(held, step), [kept], "{held:?} {step:?}");
                        }
                    }
                }
            }
        }
    }
}
