//! The hashes against the libraries'.

use std::time::Duration;

use sha2::Digest;

use super::*;

fn expected(algorithm: Algorithm, data: &[u8]) -> (String, String) {
    let mut hash = algorithm.start();
    hash.update(data);
    (hex(&md5::Md5::digest(data)), hex(&hash.finalize()))
}

#[tokio::test]
async fn every_pair_of_hashes_is_that_of_the_libraries() {
    let data = Bytes::from((0..300_000u32).map(|i| (i >> 2) as u8).collect::<Vec<_>>());
    for algorithm in Algorithm::ALL {
        let hashers = Hashers::start(algorithm).unwrap();
        for piece in [data.slice(..70_001), data.slice(70_001..)] {
            hashers.update(&piece).await.unwrap();
        }
        let finish = tokio::time::timeout(Duration::from_secs(60), hashers.finish());
        let digests = finish.await.unwrap().unwrap();
        let (md5, hash) = expected(algorithm, &data);
        assert_eq!((digests.md5, digests.hash), (md5, hash), "{algorithm:?}");
    }
}
