//! Each layout of a key block answers like a linear search.

use crate::rows::keys::Keys;
use crate::sst::key_index::block::{FIXED, KeyBlock, PACKED, Rank, VARIABLE, encode};

/// Encodes the keys and compares every answer of the block with a linear search.
fn check(list: &[&[u8]], kind: u8) -> usize {
    let mut keys = Keys::new(None);
    list.iter().for_each(|key| keys.push(key));
    let mut bytes = Vec::new();
    encode(&keys, 0..list.len(), &mut bytes);
    assert_eq!(bytes[0], kind);
    let block = KeyBlock::parse(&bytes, list[0], list.len(), None).unwrap();
    let mut decoded = Keys::new(None);
    block.decode(0..list.len(), &mut decoded).unwrap();
    assert_eq!(decoded, keys);
    let mut probes: Vec<Vec<u8>> = vec![vec![], vec![0xff; 9]];
    for key in list {
        for length in 0..=key.len() {
            probes.push(key[..length].to_vec());
            probes.push([&key[..length], &[0]].concat());
            probes.push([&key[..length], &[0xff]].concat());
            for change in [1, 0xff] {
                let mut probe = key.to_vec();
                probe.get_mut(length).into_iter().for_each(|byte| *byte = byte.wrapping_add(change));
                probes.push(probe);
            }
        }
    }
    for probe in probes.iter().filter(|probe| &***probe >= list[0]) {
        let less = list.iter().filter(|key| **key < &**probe).count();
        let want = match list.get(less) {
            Some(key) if *key == &**probe => Rank::Found(less as u64),
            _ => Rank::Absent(less as u64),
        };
        for (from, key) in list.iter().enumerate() {
            if *key <= &**probe {
                assert_eq!(block.rank((&**probe).into(), from).unwrap(), want, "{probe:02x?} from {from}");
            }
        }
    }
    bytes.len()
}

#[test]
fn every_layout_answers_like_a_linear_search() {
    check(&[b""], PACKED);
    check(&[b"abc"], PACKED);
    check(&[b"\x80\0\0\x05", b"\x80\0\0\x06", b"\x80\0\x01\x05", b"\x80\0\xff\xff"], PACKED);
    check(&[b"a1b1c", b"a1b2c", b"a2b0c", b"a2b1c", b"a9b9c"], PACKED);
    check(&[&[0; 8], &[0x7f; 8], &[0xff; 8]], PACKED);
    check(&[b"p012345678", b"p112345679", b"p223456780"], FIXED);
    check(&[b"", b"\0", b"a", b"ab", b"b"], VARIABLE);
    check(&[b"key", b"key1", b"key10", b"key2"], VARIABLE);
}

#[test]
fn consecutive_integers_take_one_byte_each() {
    let list: Vec<[u8; 8]> = (1_000_000..1_000_256u64).map(u64::to_be_bytes).collect();
    let mut keys = Keys::new(Some(8));
    list.iter().for_each(|key| keys.push(key));
    let mut bytes = Vec::new();
    encode(&keys, 0..256, &mut bytes);
    assert_eq!(bytes.len(), 2 + 1 + 255);
}
