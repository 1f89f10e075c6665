//! How long writers rest while compactions are behind: they are slowed down little by little, instead of running until
//! they are stopped.
//!
//! In: the pressure, from nothing to [`FULL`], where flushes wait; bytes that are written. Out: rests.
//! Invariants: without pressure nobody rests. The rate falls as the pressure rises, so it settles where compactions keep
//! up, wherever that is on a machine. All writers owe together, so a rest too short to take is not lost.

use std::time::Duration;

use crate::sync::atomic::{AtomicU64, Ordering};

/// The pressure with which flushes wait for compactions.
pub const FULL: u64 = 1000;
/// Bytes of rows that are written in a second with half of that.
const BYTES_PER_SECOND: u64 = 64 << 20;
/// Rests in microseconds: what is less is owed, what is more is forgiven: the next one who writes rests again, so many
/// short ones slow writers down as much as a few long ones do.
const REST_MIN: u64 = 1000;
const REST_MAX: u64 = 200_000;

/// The rests of the writers of one database.
#[derive(Debug, Default)]
pub struct Pace {
    pressure: AtomicU64,
    owed_micros: AtomicU64,
}

impl Pace {
    /// Sets the pressure, in thousandths.
    pub fn set(&self, pressure: u64) {
        self.pressure.store(pressure, Ordering::Relaxed);
    }

    /// What the one who writes so many bytes is to rest before; `None` if there is nothing to rest for, or too little.
    pub fn rest(&self, bytes: usize) -> Option<Duration> {
        let pressure = self.pressure.load(Ordering::Relaxed).min(FULL - 1);
        if pressure == 0 {
            return None;
        }
        let micros = (bytes as u64).saturating_mul(1_000_000) / BYTES_PER_SECOND;
        let micros = micros.saturating_mul(pressure) / (FULL - pressure);
        if self.owed_micros.fetch_add(micros, Ordering::Relaxed).saturating_add(micros) < REST_MIN {
            return None;
        }
        Some(Duration::from_micros(self.owed_micros.swap(0, Ordering::Relaxed).min(REST_MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_writes_rests_the_longer_the_higher_the_pressure() {
        let pace = Pace::default();
        assert_eq!(pace.rest(1 << 40), None);
        let rest = |pressure| {
            pace.set(pressure);
            pace.rest(4 << 20)
        };
        assert_eq!(rest(500), Some(Duration::from_micros(62_500)));
        assert_eq!(rest(100), Some(Duration::from_micros(6944)));
        assert_eq!(rest(700), Some(Duration::from_micros(145_833)));
        assert_eq!(rest(FULL), Some(Duration::from_micros(REST_MAX)));
        assert_eq!(rest(u64::MAX), Some(Duration::from_micros(REST_MAX)));
    }

    #[test]
    fn short_rests_are_taken_together() {
        let pace = Pace::default();
        pace.set(500);
        let rests: Vec<u64> = (0..100)
            .filter_map(|_| pace.rest(10_000))
            .map(|rest| rest.as_secs() * 1_000_000 + u64::from(rest.subsec_micros()))
            .collect();
        let all = 100 * (10_000 * 1_000_000 / BYTES_PER_SECOND);
        assert_eq!(rests.len(), 14);
        assert!(rests.iter().sum::<u64>() <= all && rests.iter().sum::<u64>() + REST_MIN > all);
    }
}
