//! Against the libraries. Where the processor cannot, there is nothing to compare.

use md5::Md5;
use proptest::{collection::vec, prelude::*};
use sha2::{Digest, Sha512};

use super::OnePass;

fn in_one_pass(pieces: &[&[u8]]) -> Option<([u8; 16], [u8; 64])> {
    let mut both = OnePass::new()?;
    for piece in pieces {
        both.update(piece);
    }
    Some(both.finish())
}

fn expected(data: &[u8]) -> ([u8; 16], [u8; 64]) {
    (Md5::digest(data).into(), Sha512::digest(data).into())
}

#[test]
fn it_agrees_with_the_libraries_at_every_length_of_several_blocks() {
    let data: Vec<u8> = (0..1000u32).map(|i| ((i * i) >> 3) as u8).collect();
    for length in 0..data.len() {
        let data = &data[..length];
        if let Some(hashes) = in_one_pass(&[data]) {
            assert_eq!(hashes, expected(data), "{length} bytes");
        }
    }
}

#[test]
fn it_agrees_with_the_libraries_over_many_blocks() {
    let mut state = 1u64;
    let data: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        (state >> 56) as u8
    })
    .take(5_000_003)
    .collect();
    if let Some(hashes) = in_one_pass(&[&data]) {
        assert_eq!(hashes, expected(&data));
    }
}

proptest! {
    #[test]
    fn it_does_not_care_where_the_data_is_cut(
        data in vec(any::<u8>(), 0..5000),
        cuts in vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(data.len() + 1)).collect();
        cuts.extend([0, data.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &data[pair[0]..pair[1]]).collect();
        if let Some(hashes) = in_one_pass(&pieces) {
            prop_assert_eq!(hashes, expected(&data));
        }
    }
}
