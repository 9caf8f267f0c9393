//! A sliding window: what was used in each of the last sixty slots of time.
//!
//! The slot that began sixty slots ago has left, the present one counts wholly, so that no sixty
//! slots in a row ever hold more than their sum. Only slots in which something was used take memory.
//! Pure: slots are counted since 1970, by the caller.

use std::collections::VecDeque;

/// Slots in a window.
pub(crate) const SLOTS: u32 = 60;

#[derive(Debug, Clone, Copy)]
struct Slot {
    number: u32,
    calls: u32,
    tokens: i64,
}

/// What one caller used.
#[derive(Debug, Clone, Default)]
pub(crate) struct Window {
    /// The oldest first.
    slots: VecDeque<Slot>,
}

impl Window {
    /// Adds (or with a negative number takes back) calls and tokens of a slot. What has left the
    /// window is not changed any more.
    pub(crate) fn add(&mut self, number: u32, calls: i64, tokens: i64) {
        let newest = self.slots.back().map_or(number, |slot| slot.number.max(number));
        while self.slots.front().is_some_and(|slot| slot.number + SLOTS <= newest) {
            self.slots.pop_front();
        }
        if number + SLOTS <= newest {
            return;
        }
        let at = self.slots.partition_point(|slot| slot.number < number);
        if self.slots.get(at).is_none_or(|slot| slot.number != number) {
            self.slots.insert(at, Slot { number, calls: 0, tokens: 0 });
        }
        if let Some(slot) = self.slots.get_mut(at) {
            let calls = i64::from(slot.calls).saturating_add(calls).max(0);
            slot.calls = u32::try_from(calls).unwrap_or(u32::MAX);
            slot.tokens = slot.tokens.saturating_add(tokens);
        }
    }

    fn live(&self, number: u32) -> impl Iterator<Item = &Slot> {
        let live = move |slot: &&Slot| slot.number + SLOTS > number && slot.number <= number;
        self.slots.iter().filter(live)
    }

    /// Calls of the window that ends with this slot.
    pub(crate) fn calls(&self, number: u32) -> u64 {
        self.live(number).map(|slot| u64::from(slot.calls)).sum()
    }

    /// Tokens of the window that ends with this slot.
    pub(crate) fn tokens(&self, number: u32) -> u64 {
        sum(self.live(number))
    }

    /// Whether so many more tokens fit below the limit.
    pub(crate) fn fits(&self, number: u32, tokens: u64, limit: u64) -> bool {
        self.tokens(number).saturating_add(tokens) <= limit
    }

    /// The first slot in which so many more would fit; none if they never do.
    pub(crate) fn frees(&self, number: u32, tokens: u64, limit: u64) -> Option<u32> {
        let left = |later: u32| self.live(number).filter(move |slot| slot.number + SLOTS > later);
        (number..=number + SLOTS).find(|later| sum(left(*later)).saturating_add(tokens) <= limit)
    }
}

fn sum<'a>(slots: impl Iterator<Item = &'a Slot>) -> u64 {
    let sum = slots.fold(0i64, |sum, slot| sum.saturating_add(slot.tokens));
    u64::try_from(sum).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn tokens_leave_after_an_hour_and_refunds_at_once() {
        let mut window = Window::default();
        window.add(100, 1, 600);
        window.add(130, 1, 300);
        assert_eq!((window.calls(130), window.tokens(130)), (2, 900));
        assert!(window.fits(130, 100, 1000) && !window.fits(130, 101, 1000));
        assert_eq!(window.frees(130, 101, 1000), Some(160));
        assert_eq!(window.frees(130, 800, 1000), Some(190));
        assert_eq!(window.frees(130, 1001, 1000), None);
        assert_eq!((window.tokens(159), window.tokens(160), window.tokens(190)), (900, 300, 0));
        window.add(130, 0, -300);
        assert_eq!(window.tokens(130), 600);
        // A refund for a minute that has gone is no credit.
        window.add(160, 1, 10);
        window.add(100, 0, -600);
        assert_eq!(window.tokens(160), 10);
        // What comes late is entered where it belongs.
        window.add(140, 1, 5);
        assert_eq!((window.calls(160), window.tokens(160)), (3, 15));
    }

    #[test]
    fn what_was_used_above_the_limit_is_owed() {
        let mut window = Window::default();
        window.add(5, 1, 3000);
        assert!(!window.fits(5, 0, 1000));
        assert_eq!(window.frees(5, 1, 1000), Some(65));
    }

    proptest! {
        /// Whatever the schedule, no sixty minutes hold more reserved tokens than the limit.
        #[test]
        fn no_schedule_reserves_more(
            calls in proptest::collection::vec((0..30u32, 0..400u64, 0..3u8), 1..120)
        ) {
            let (mut window, mut minute, limit) = (Window::default(), 1000, 1000);
            let mut kept: Vec<(u32, u64)> = Vec::new();
            for (step, tokens, fate) in calls {
                minute += step * u32::from(fate == 0);
                if !window.fits(minute, tokens, limit) {
                    continue;
                }
                window.add(minute, 1, tokens as i64);
                if fate == 1 {
                    window.add(minute, -1, -(tokens as i64));
                } else {
                    kept.push((minute, tokens));
                }
                for (end, _) in &kept {
                    let inside = kept.iter().filter(|(at, _)| at + SLOTS > *end && at <= end);
                    prop_assert!(inside.map(|(_, tokens)| tokens).sum::<u64>() <= limit);
                }
            }
            prop_assert!(window.slots.len() <= SLOTS as usize);
        }
    }
}
