//! What the log says of damaged data: once a minute at most for each image and kind of damage, since
//! whoever asks for such an image again and again must not fill the log.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use glimpse_registry::image::ImageId;
use parking_lot::Mutex;

/// No keys: a line a minute is neither much to keep nor long to wait for.
const AGAIN: Duration = Duration::from_secs(60);
/// Remembered at most; while all are fresh nothing more is said. The counters count all the same.
const MOST: usize = 1024;

/// What was said lately.
#[derive(Debug, Default)]
pub struct Said(Mutex<HashMap<(ImageId, &'static str), Instant>>);

impl Said {
    /// Whether to say this of the image now.
    pub fn first(&self, image: ImageId, what: &'static str) -> bool {
        let mut said = self.0.lock();
        if said
            .get(&(image, what))
            .is_some_and(|at| at.elapsed() < AGAIN)
        {
            return false;
        }
        if said.len() >= MOST {
            said.retain(|_, at| at.elapsed() < AGAIN);
        }
        if said.len() >= MOST {
            return false;
        }
        said.insert((image, what), Instant::now());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_said_once_and_no_more_than_fits_is_remembered() {
        let said = Said::default();
        let image = |number: usize| ImageId((number as u128).to_be_bytes());
        assert!(said.first(image(1), "a"));
        assert!(!said.first(image(1), "a"));
        assert!(said.first(image(1), "b") && said.first(image(2), "a"));
        for number in 3..2 * MOST {
            said.first(image(number), "a");
        }
        assert_eq!(said.0.lock().len(), MOST);
        assert!(!said.first(image(2 * MOST), "a"));
    }
}
