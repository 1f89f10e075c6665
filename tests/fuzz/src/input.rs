//! Takes the bytes of an input apart.
//!
//! In: any bytes. Out: numbers and pieces; zeros where there are no more bytes.

/// The bytes that are left.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let (taken, rest) = self.0.split_at(self.0.len().min(N));
        array[..taken.len()].copy_from_slice(taken);
        self.0 = rest;
        array
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let [byte] = self.array();
        byte
    }

    /// The next two bytes, as a place among `limit` of them.
    pub fn below(&mut self, limit: usize) -> usize {
        usize::from(u16::from_le_bytes(self.array())) % limit.max(1)
    }

    /// The next `length` bytes, or as many as there are.
    pub fn piece(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(self.0.len().min(length));
        self.0 = rest;
        taken
    }

    /// Changes bytes of some content, whose length stays: where (two bytes), how (one), an operand.
    pub fn change(&mut self, content: &mut [u8]) {
        let at = self.below(content.len());
        let how = self.byte();
        let Some(byte) = content.get_mut(at) else { return };
        match how % 6 {
            0 => *byte = self.byte(),
            1 => *byte ^= 1 << (self.byte() % 8),
            2 => *byte = byte.wrapping_add(self.byte()),
            3 => overwrite(&mut content[at..], &self.array::<4>()),
            4 => overwrite(&mut content[at..], &(1_u64 << (self.byte() % 64)).wrapping_sub(1).to_le_bytes()),
            _ => {
                // A number of seven bits a byte in the place of one or two bytes; what is behind it moves, up to a place.
                let mut value = 1_u64 << (self.byte() % 64);
                let mut number = Vec::new();
                while value > 0x7f {
                    number.push((value & 0x7f | 0x80).to_le_bytes()[0]);
                    value >>= 7;
                }
                number.push(value.to_le_bytes()[0]);
                let end = (at + usize::from(self.byte())).min(content.len());
                let behind = (at + 1 + usize::from(self.byte() % 2)).min(end.max(at));
                number.extend_from_slice(&content[behind..end.max(behind)]);
                overwrite(&mut content[at..end.max(at)], &number);
            }
        }
    }
}

fn overwrite(place: &mut [u8], bytes: &[u8]) {
    place.iter_mut().zip(bytes).for_each(|(byte, new)| *byte = *new);
}
