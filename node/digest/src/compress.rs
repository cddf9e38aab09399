//! Whole blocks into both states, interleaved.
//!
//! A step of MD5 waits for the one before, and a round of SHA-512 nearly so: each alone leaves most
//! of a core idle. Here the steps of MD5 go through the vector units beside the rounds of SHA-512 in
//! the scalar ones, and both together take about as long as either alone. RFC 1321 and FIPS 180-4;
//! the tables are theirs.

use std::{
    arch::x86_64::{
        __m128i, __m256i, _mm_add_epi32, _mm_add_epi64, _mm_cvtsi32_si128, _mm_cvtsi128_si32,
        _mm_rol_epi32, _mm_ror_epi64, _mm_set1_epi32, _mm_srli_epi64, _mm_sub_epi32,
        _mm_ternarylogic_epi32, _mm_ternarylogic_epi64, _mm256_add_epi64, _mm256_alignr_epi64,
        _mm256_castsi256_si128, _mm256_extracti128_si256, _mm256_ror_epi64, _mm256_set_m128i,
        _mm256_shuffle_epi8, _mm256_srli_epi64, _mm256_sub_epi32, _mm256_ternarylogic_epi64,
    },
    hint::black_box,
};

use bytemuck::cast;

/// Bytes that are taken at once: one block of SHA-512, two of MD5.
pub(crate) const BLOCK: usize = 128;

/// Rounds of SHA-512 in a block, and steps of MD5 beside them.
const ROUNDS: usize = 80;
const STEPS: usize = 128;

/// Whether the processor can.
pub(crate) fn is_possible() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
}

/// Of three bits: the parity, the first's choice between the others, and what MD5's last round
/// makes of them (`y ^ (x | !z)`); as `vpternlog` takes a function of three.
const PARITY: i32 = 0x96;
const CHOICE: i32 = 0xca;
const LAST: i32 = 0x39;

/// Step `at` of MD5. Each word of the state fills a vector; `words` are of [`md5_words`].
#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn step([a, b, c, d]: [__m128i; 4], words: &[[i32; 16]; 4], at: usize) -> [__m128i; 4] {
    let function = match at / 16 {
        0 => _mm_ternarylogic_epi32::<CHOICE>(b, c, d),
        1 => _mm_ternarylogic_epi32::<CHOICE>(d, b, c),
        2 => _mm_ternarylogic_epi32::<PARITY>(b, c, d),
        _ => _mm_ternarylogic_epi32::<LAST>(b, c, d),
    };
    // Subtracted, since the compiler would put a sum of three into an order that waits longer.
    let word = _mm_set1_epi32(words[at / 16][md5_word(at)]);
    let sum = _mm_add_epi32(_mm_sub_epi32(a, word), function);
    macro_rules! turned {
        ($($bits:literal)*) => { [$(_mm_rol_epi32::<$bits>(sum)),*][at % 4] };
    }
    let turned = match at / 16 {
        0 => turned!(7 12 17 22),
        1 => turned!(5 9 14 20),
        2 => turned!(4 11 16 23),
        _ => turned!(6 10 15 21),
    };
    [d, _mm_add_epi32(turned, b), b, c]
}

/// The word of the block that a step of MD5 takes.
const fn md5_word(at: usize) -> usize {
    let word = match at / 16 {
        0 => at,
        1 => 5 * at + 1,
        2 => 3 * at + 5,
        _ => 7 * at,
    };
    word % 16
}

/// The constants of MD5, negative, by round and by the word that each goes with.
const BY_WORD: [[u32; 16]; 4] = {
    let mut ordered = [[0; 16]; 4];
    let mut at = 0;
    while at < 64 {
        ordered[at / 16][md5_word(at)] = MD5_CONSTANTS[at].wrapping_neg();
        at += 1;
    }
    ordered
};

/// The words of a block of MD5 with the constants of each round added, negative.
#[inline]
#[target_feature(enable = "avx2")]
fn md5_words([low, high]: [__m256i; 2]) -> [[i32; 16]; 4] {
    macro_rules! words {
        ($($round:literal)*) => {[$({
            let [a, b]: [__m256i; 2] = cast(BY_WORD[$round]);
            cast([_mm256_sub_epi32(a, low), _mm256_sub_epi32(b, high)])
        }),*]};
    }
    words!(0 1 2 3)
}

/// A round of SHA-512; `word` is the schedule's, with the round's constant added. `bc` is `b ^ c`,
/// which the round before has computed as its `a ^ b`.
#[inline(always)]
fn round([a, b, c, d, e, f, g, h]: [u64; 8], bc: &mut u64, word: u64) -> [u64; 8] {
    let ab = a ^ b;
    let majority = b ^ (ab & *bc);
    *bc = ab;
    let choice = g ^ (e & (f ^ g));
    let first = h
        .wrapping_add(word)
        .wrapping_add(choice)
        .wrapping_add(e.rotate_right(14) ^ e.rotate_right(18) ^ e.rotate_right(41));
    let second =
        (a.rotate_right(28) ^ a.rotate_right(34) ^ a.rotate_right(39)).wrapping_add(majority);
    let (a_next, e_next) = (first.wrapping_add(second), d.wrapping_add(first));
    [a_next, a, b, c, e_next, e, f, g]
}

/// The next four words of SHA-512's schedule after sixteen.
#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx2")]
fn schedule([a, b, c, d]: [__m256i; 4]) -> __m256i {
    let fifteenth = _mm256_alignr_epi64::<1>(b, a);
    let sigma = _mm256_ternarylogic_epi64::<PARITY>(
        _mm256_ror_epi64::<1>(fifteenth),
        _mm256_ror_epi64::<8>(fifteenth),
        _mm256_srli_epi64::<7>(fifteenth),
    );
    let seventh = _mm256_alignr_epi64::<1>(d, c);
    let sum = _mm256_add_epi64(_mm256_add_epi64(a, seventh), sigma);
    // The upper two words need the lower two.
    let second = |words| {
        _mm_ternarylogic_epi64::<PARITY>(
            _mm_ror_epi64::<19>(words),
            _mm_ror_epi64::<61>(words),
            _mm_srli_epi64::<6>(words),
        )
    };
    let lower = _mm_add_epi64(
        _mm256_castsi256_si128(sum),
        second(_mm256_extracti128_si256::<1>(d)),
    );
    let upper = _mm_add_epi64(_mm256_extracti128_si256::<1>(sum), second(lower));
    _mm256_set_m128i(upper, lower)
}

/// Takes whole blocks into both states.
#[target_feature(enable = "avx512f,avx512vl,avx2,bmi1,bmi2")]
pub(crate) fn compress(md5: &mut [u32; 4], sha512: &mut [u64; 8], blocks: &[[u8; BLOCK]]) {
    // The first byte of each word last.
    let swap = cast(0x0706_0504_0302_0100_0f0e_0d0c_0b0a_0908_u128.to_be_bytes());
    let swap = _mm256_set_m128i(swap, swap);
    let added = |a: [__m128i; 4], b: [__m128i; 4]| [0, 1, 2, 3].map(|i| _mm_add_epi32(a[i], b[i]));
    let mut before = md5.map(|word| _mm_cvtsi32_si128(word.cast_signed()));
    for block in blocks {
        let [a, b, c, d]: [__m256i; 4] = cast(*block);
        // The boxes keep these in memory: taken from there by the step itself they cost nothing,
        // taken out of a vector one by one they cost more than the step.
        let (first, second) = (md5_words([a, b]), md5_words([c, d]));
        let (first, second) = (black_box(&first), black_box(&second));
        let mut words = [a, b, c, d].map(|four| _mm256_shuffle_epi8(four, swap));
        let constants = |at: usize| -> __m256i { cast(SHA512_CONSTANTS[at / 4]) };
        let mut sums: [[u64; 4]; 4] =
            std::array::from_fn(|i| cast(_mm256_add_epi64(words[i], constants(i * 4))));
        let (mut five, mut sha, mut bc) = (before, *sha512, sha512[1] ^ sha512[2]);
        // Four rounds, while the words of four later ones are made.
        macro_rules! rounds {
            ($($first:literal)*) => {$({
                let group = $first / 4 % 4;
                if $first < 64 {
                    words[group] = schedule([0, 1, 2, 3].map(|i| words[(group + i) % 4]));
                }
                let four = black_box(&sums[group]);
                one!($first, four[0]);
                one!($first + 1, four[1]);
                one!($first + 2, four[2]);
                one!($first + 3, four[3]);
                if $first < 64 {
                    sums[group] = cast(_mm256_add_epi64(words[group], constants($first + 16)));
                }
            })*};
        }
        // One round, and the step of MD5 that falls on it, or the two.
        macro_rules! one {
            ($round:expr, $sum:expr) => {
                sha = round(sha, &mut bc, $sum);
                let from = $round * STEPS / ROUNDS;
                for at in from..($round + 1) * STEPS / ROUNDS {
                    five = step(five, if at < 64 { first } else { second }, at % 64);
                    if at == 63 {
                        before = added(before, five);
                        five = before;
                    }
                }
            };
        }
        rounds!(0 4 8 12 16 20 24 28 32 36 40 44 48 52 56 60 64 68 72 76);
        before = added(before, five);
        for (state, end) in sha512.iter_mut().zip(sha) {
            *state = state.wrapping_add(end);
        }
    }
    *md5 = before.map(|word| _mm_cvtsi128_si32(word).cast_unsigned());
}

#[rustfmt::skip]
const MD5_CONSTANTS: [u32; 64] = [
    0xd76a_a478, 0xe8c7_b756, 0x2420_70db, 0xc1bd_ceee, 0xf57c_0faf, 0x4787_c62a, 0xa830_4613, 0xfd46_9501,
    0x6980_98d8, 0x8b44_f7af, 0xffff_5bb1, 0x895c_d7be, 0x6b90_1122, 0xfd98_7193, 0xa679_438e, 0x49b4_0821,
    0xf61e_2562, 0xc040_b340, 0x265e_5a51, 0xe9b6_c7aa, 0xd62f_105d, 0x0244_1453, 0xd8a1_e681, 0xe7d3_fbc8,
    0x21e1_cde6, 0xc337_07d6, 0xf4d5_0d87, 0x455a_14ed, 0xa9e3_e905, 0xfcef_a3f8, 0x676f_02d9, 0x8d2a_4c8a,
    0xfffa_3942, 0x8771_f681, 0x6d9d_6122, 0xfde5_380c, 0xa4be_ea44, 0x4bde_cfa9, 0xf6bb_4b60, 0xbebf_bc70,
    0x289b_7ec6, 0xeaa1_27fa, 0xd4ef_3085, 0x0488_1d05, 0xd9d4_d039, 0xe6db_99e5, 0x1fa2_7cf8, 0xc4ac_5665,
    0xf429_2244, 0x432a_ff97, 0xab94_23a7, 0xfc93_a039, 0x655b_59c3, 0x8f0c_cc92, 0xffef_f47d, 0x8584_5dd1,
    0x6fa8_7e4f, 0xfe2c_e6e0, 0xa301_4314, 0x4e08_11a1, 0xf753_7e82, 0xbd3a_f235, 0x2ad7_d2bb, 0xeb86_d391,
];

#[rustfmt::skip]
const SHA512_CONSTANTS: [[u64; 4]; 20] = [
    [0x428a_2f98_d728_ae22, 0x7137_4491_23ef_65cd, 0xb5c0_fbcf_ec4d_3b2f, 0xe9b5_dba5_8189_dbbc],
    [0x3956_c25b_f348_b538, 0x59f1_11f1_b605_d019, 0x923f_82a4_af19_4f9b, 0xab1c_5ed5_da6d_8118],
    [0xd807_aa98_a303_0242, 0x1283_5b01_4570_6fbe, 0x2431_85be_4ee4_b28c, 0x550c_7dc3_d5ff_b4e2],
    [0x72be_5d74_f27b_896f, 0x80de_b1fe_3b16_96b1, 0x9bdc_06a7_25c7_1235, 0xc19b_f174_cf69_2694],
    [0xe49b_69c1_9ef1_4ad2, 0xefbe_4786_384f_25e3, 0x0fc1_9dc6_8b8c_d5b5, 0x240c_a1cc_77ac_9c65],
    [0x2de9_2c6f_592b_0275, 0x4a74_84aa_6ea6_e483, 0x5cb0_a9dc_bd41_fbd4, 0x76f9_88da_8311_53b5],
    [0x983e_5152_ee66_dfab, 0xa831_c66d_2db4_3210, 0xb003_27c8_98fb_213f, 0xbf59_7fc7_beef_0ee4],
    [0xc6e0_0bf3_3da8_8fc2, 0xd5a7_9147_930a_a725, 0x06ca_6351_e003_826f, 0x1429_2967_0a0e_6e70],
    [0x27b7_0a85_46d2_2ffc, 0x2e1b_2138_5c26_c926, 0x4d2c_6dfc_5ac4_2aed, 0x5338_0d13_9d95_b3df],
    [0x650a_7354_8baf_63de, 0x766a_0abb_3c77_b2a8, 0x81c2_c92e_47ed_aee6, 0x9272_2c85_1482_353b],
    [0xa2bf_e8a1_4cf1_0364, 0xa81a_664b_bc42_3001, 0xc24b_8b70_d0f8_9791, 0xc76c_51a3_0654_be30],
    [0xd192_e819_d6ef_5218, 0xd699_0624_5565_a910, 0xf40e_3585_5771_202a, 0x106a_a070_32bb_d1b8],
    [0x19a4_c116_b8d2_d0c8, 0x1e37_6c08_5141_ab53, 0x2748_774c_df8e_eb99, 0x34b0_bcb5_e19b_48a8],
    [0x391c_0cb3_c5c9_5a63, 0x4ed8_aa4a_e341_8acb, 0x5b9c_ca4f_7763_e373, 0x682e_6ff3_d6b2_b8a3],
    [0x748f_82ee_5def_b2fc, 0x78a5_636f_4317_2f60, 0x84c8_7814_a1f0_ab72, 0x8cc7_0208_1a64_39ec],
    [0x90be_fffa_2363_1e28, 0xa450_6ceb_de82_bde9, 0xbef9_a3f7_b2c6_7915, 0xc671_78f2_e372_532b],
    [0xca27_3ece_ea26_619c, 0xd186_b8c7_21c0_c207, 0xeada_7dd6_cde0_eb1e, 0xf57d_4f7f_ee6e_d178],
    [0x06f0_67aa_7217_6fba, 0x0a63_7dc5_a2c8_98a6, 0x113f_9804_bef9_0dae, 0x1b71_0b35_131c_471b],
    [0x28db_77f5_2304_7d84, 0x32ca_ab7b_40c7_2493, 0x3c9e_be0a_15c9_bebc, 0x431d_67c4_9c10_0d4c],
    [0x4cc5_d4be_cb3e_42b6, 0x597f_299c_fc65_7e2a, 0x5fcb_6fab_3ad6_faec, 0x6c44_198c_4a47_5817],
];
