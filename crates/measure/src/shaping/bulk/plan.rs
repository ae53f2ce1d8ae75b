//! Which transfer each sequence number is: round, hypothesis, direction and arm. Random access, the same at both ends.

use model::shaping::{Arm, BulkDesign};
use model::{Direction, DirectionChoice};

use crate::random::SplitMix64;

/// One transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BulkTurn {
    /// Counts hypotheses and, within each, directions.
    pub cell: u16,
    pub hypothesis: u16,
    /// Of the bytes.
    pub direction: Direction,
    /// Counts this cell's pairs.
    pub pair: u32,
    pub is_subject: bool,
    /// The second of its pair.
    pub is_second: bool,
    pub arm: Arm,
}

/// The plan of a [`BulkDesign`].
#[derive(Clone, Debug)]
pub struct BulkPlan {
    design: BulkDesign,
    directions: Vec<Direction>,
    seed: u64,
}

impl BulkPlan {
    pub fn new(design: BulkDesign, direction: DirectionChoice, seed: u64) -> BulkPlan {
        let up = direction.up().then_some(Direction::Up);
        let down = direction.down().then_some(Direction::Down);
        BulkPlan { design, directions: up.into_iter().chain(down).collect(), seed }
    }

    pub fn design(&self) -> &BulkDesign {
        &self.design
    }

    /// Comparisons, each of one hypothesis in one direction.
    pub fn cells(&self) -> usize {
        self.design.hypotheses.len() * self.directions.len()
    }

    /// Transfers in all.
    pub fn len(&self) -> u32 {
        (2 * self.cells() as u32).saturating_mul(self.design.rounds)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Hypothesis and direction of a cell.
    pub fn cell(&self, cell: usize) -> Option<(u16, Direction)> {
        let hypothesis = cell.checked_div(self.directions.len())?;
        let direction = *self.directions.get(cell % self.directions.len())?;
        (hypothesis < self.design.hypotheses.len()).then_some((hypothesis as u16, direction))
    }

    /// `None` after the last transfer.
    pub fn turn(&self, sequence: u32) -> Option<BulkTurn> {
        if sequence >= self.len() {
            return None;
        }
        let in_round = 2 * self.cells() as u32;
        let (round, place) = (sequence / in_round, sequence % in_round);
        let mut random = SplitMix64::new(SplitMix64::new(self.seed ^ u64::from(round).rotate_left(32) ^ 0xb01c).next());
        let mut order: Vec<u16> = (0..self.cells() as u16).collect();
        random.shuffle(&mut order);
        let coins: Vec<bool> = order.iter().map(|_| random.next() >> 63 == 1).collect();
        let index = (place / 2) as usize;
        let (cell, subject_first) = (*order.get(index)?, *coins.get(index)?);
        let (hypothesis, direction) = self.cell(usize::from(cell))?;
        let is_second = place % 2 == 1;
        let is_subject = subject_first != is_second;
        let of = self.design.hypotheses.get(usize::from(hypothesis))?;
        let arm = if is_subject { of.subject } else { of.control };
        Some(BulkTurn { cell, hypothesis, direction, pair: round, is_subject, is_second, arm })
    }
}
