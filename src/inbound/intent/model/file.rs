//! The model's file: numbers in a fixed order, little endian, read once.
//!
//! Word rows stay as they lie in the file, in the binary, with four bits a number (32 numbers share a scale of 16 bits); layers
//! have eight bits a number (an output shares a scale) and are laid out once for the processor. The file is written by
//! `scripts/train-intent`, whose function `write_model` is the other half of this one.

use rten_gemm::PackedBMatrix;

use super::network::pack;

/// What a file of this form begins with.
const MAGIC: &[u8; 8] = b"SVARMOD2";
/// Numbers that share one scale in a word row, and the octets they take with it.
const GROUP: usize = 32;
const GROUP_BYTES: usize = 18;

/// Sizes, in the order of the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// Pieces that words are made of.
    pub(super) pieces: usize,
    /// Numbers that stand for a piece.
    pub(super) width: usize,
    /// Heads of attention.
    pub(super) heads: usize,
    /// Numbers between the two halves of a layer.
    pub(super) inner: usize,
    /// Layers.
    pub(super) layers: usize,
    /// Pieces of a text that are read, its marks of begin and end included.
    pub(super) longest: usize,
    /// Answers.
    pub(super) outputs: usize,
}

/// A matrix with a bias: `out[i] = bias[i] + scales[i] · Σ weights[j][i] · in[j]`.
pub(super) struct Linear {
    /// A row for each input, as the processor's product wants them.
    pub(super) weights: PackedBMatrix<i8>,
    pub(super) scales: Vec<f32>,
    pub(super) bias: Vec<f32>,
}

impl Linear {
    pub(super) fn new(weights: &[i8], scales: Vec<f32>, bias: Vec<f32>) -> Self {
        Self { weights: pack(weights, scales.len()), scales, bias }
    }
}

impl std::fmt::Debug for Linear {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Linear of {}", self.bias.len())
    }
}

/// Scale and shift after a normalisation.
#[derive(Debug)]
pub(super) struct Norm {
    pub(super) scale: Vec<f32>,
    pub(super) shift: Vec<f32>,
}

/// One layer of the encoder.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) query: Linear,
    pub(super) key: Linear,
    pub(super) value: Linear,
    pub(super) attended: Linear,
    pub(super) after_attention: Norm,
    pub(super) widen: Linear,
    pub(super) narrow: Linear,
    pub(super) after_layer: Norm,
}

/// Everything in the file but the pieces, which `pieces` takes.
#[derive(Debug)]
pub(super) struct Weights {
    pub(super) sizes: Sizes,
    words: &'static [u8],
    /// One row for each place in the text.
    pub(super) places: Vec<f32>,
    pub(super) after_words: Norm,
    pub(super) layers: Vec<Layer>,
    pub(super) answers: Linear,
}

impl Weights {
    /// Adds the row of a piece to `to`.
    pub(super) fn add_word(&self, piece: usize, to: &mut [f32]) {
        let row = self.sizes.width / GROUP * GROUP_BYTES;
        let Some(row) = self.words.get(piece * row..(piece + 1) * row) else { return };
        for (group, to) in row.chunks_exact(GROUP_BYTES).zip(to.chunks_exact_mut(GROUP)) {
            let (scale, packed) = group.split_at(2);
            let scale = half([scale[0], scale[1]]);
            let (low, high) = to.split_at_mut(GROUP / 2);
            for ((two, low), high) in packed.iter().zip(low).zip(high) {
                *low += (f32::from(two & 15) - 8.0) * scale;
                *high += (f32::from(two >> 4) - 8.0) * scale;
            }
        }
    }
}

/// A number of 16 bits (IEEE 754 binary16).
fn half(octets: [u8; 2]) -> f32 {
    let bits = u16::from_le_bytes(octets);
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f32::from(bits & 1023));
    let size = if exponent == 0 { fraction * 2.0_f32.powi(-24) } else { (1024.0 + fraction) * 2.0_f32.powi(exponent - 25) };
    if bits >> 15 == 0 { size } else { -size }
}

/// The pieces with their scores, and the weights; `None` where the file is not of this form.
pub(super) fn read(file: &'static [u8]) -> Option<(Vec<(&'static str, f32)>, Weights)> {
    let mut cursor = Cursor(file);
    (cursor.take(8)? == MAGIC).then_some(())?;
    let mut size = || cursor.number();
    let sizes =
        Sizes { pieces: size()?, width: size()?, heads: size()?, inner: size()?, layers: size()?, longest: size()?, outputs: size()? };
    let mut names = Vec::with_capacity(sizes.pieces);
    for _ in 0..sizes.pieces {
        let length = usize::from(*cursor.take(1)?.first()?);
        names.push(std::str::from_utf8(cursor.take(length)?).ok()?);
    }
    let scores = cursor.floats(sizes.pieces)?;
    let words = cursor.take(sizes.pieces * sizes.width / GROUP * GROUP_BYTES)?;
    let places = cursor.floats(sizes.longest * sizes.width)?;
    let after_words = cursor.norm(sizes.width)?;
    let layers = (0..sizes.layers).map(|_| cursor.layer(sizes.width, sizes.inner)).collect::<Option<_>>()?;
    let answers = cursor.linear(sizes.outputs, sizes.width)?;
    cursor.0.is_empty().then_some(())?;
    Some((names.into_iter().zip(scores).collect(), Weights { sizes, words, places, after_words, layers, answers }))
}

struct Cursor(&'static [u8]);

impl Cursor {
    fn take(&mut self, length: usize) -> Option<&'static [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<usize> {
        let octets = self.take(4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(octets)).ok()
    }

    fn floats(&mut self, count: usize) -> Option<Vec<f32>> {
        let octets = self.take(count.checked_mul(4)?)?;
        Some(octets.chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect())
    }

    fn norm(&mut self, width: usize) -> Option<Norm> {
        Some(Norm { scale: self.floats(width)?, shift: self.floats(width)? })
    }

    /// The scales of all outputs, the rows in eight bits a number, the bias.
    fn linear(&mut self, outputs: usize, inputs: usize) -> Option<Linear> {
        let scales = self.floats(outputs)?;
        let rows: Vec<i8> = self.take(outputs.checked_mul(inputs)?)?.iter().map(|n| n.cast_signed()).collect();
        Some(Linear::new(&rows, scales, self.floats(outputs)?))
    }

    fn layer(&mut self, width: usize, inner: usize) -> Option<Layer> {
        Some(Layer {
            query: self.linear(width, width)?,
            key: self.linear(width, width)?,
            value: self.linear(width, width)?,
            attended: self.linear(width, width)?,
            after_attention: self.norm(width)?,
            widen: self.linear(inner, width)?,
            narrow: self.linear(width, inner)?,
            after_layer: self.norm(width)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_half_is_read_as_its_number() {
        for (bits, number) in [(0x3c00_u16, 1.0_f32), (0xc000, -2.0), (0x0001, 2.0_f32.powi(-24)), (0x7bff, 65504.0), (0, 0.0)] {
            assert_eq!(half(bits.to_le_bytes()), number);
        }
    }

    #[test]
    fn what_is_no_model_is_none() {
        assert!(read(b"").is_none() && read(b"SVARMOD2").is_none() && read(b"SVARMOD2\xff\xff\xff\xff\xff\xff\xff\xff").is_none());
    }
}
