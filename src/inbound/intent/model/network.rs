//! The encoder: pieces become numbers, layer by layer, and answers (Vaswani 2017, as in BERT).
//!
//! In: numbers of pieces. Out: for each answer its score. A pure function of its input.

use std::ops::Range;
use std::sync::LazyLock;

use super::file::{Layer, Linear, Norm, Weights};

/// Keeps a normalisation from dividing by nothing; that of the model this one comes from.
const EPSILON: f32 = 1e-12;

/// One row of numbers for each piece of a text.
#[derive(Clone, Debug)]
struct Rows {
    numbers: Vec<f32>,
    width: usize,
}

impl Rows {
    fn each_mut(&mut self) -> std::slice::ChunksExactMut<'_, f32> {
        self.numbers.chunks_exact_mut(self.width)
    }

    fn add(&mut self, other: &Self) {
        self.numbers.iter_mut().zip(&other.numbers).for_each(|(a, b)| *a += b);
    }

    fn normalise(&mut self, norm: &Norm) {
        for row in self.each_mut() {
            let count = row.len() as f32;
            let mean = row.iter().sum::<f32>() / count;
            let spread = row.iter().map(|n| (n - mean).powi(2)).sum::<f32>() / count;
            let unit = 1.0 / (spread + EPSILON).sqrt();
            for ((n, scale), shift) in row.iter_mut().zip(&norm.scale).zip(&norm.shift) {
                *n = (*n - mean) * unit * scale + shift;
            }
        }
    }

    fn through(&self, linear: &Linear) -> Self {
        let (rows, width) = (self.count(), linear.bias.len());
        let mut numbers = Vec::with_capacity(rows * width);
        (0..rows).for_each(|_| numbers.extend_from_slice(&linear.bias));
        add_product(&mut numbers, width, self.part(0..self.width), turned(&linear.weights, self.width));
        Self { numbers, width }
    }

    /// One row, the mean of all.
    fn mean(&self) -> Self {
        let mut numbers = vec![0.0; self.width];
        for row in self.numbers.chunks_exact(self.width) {
            numbers.iter_mut().zip(row).for_each(|(sum, n)| *sum += n);
        }
        let count = self.count() as f32;
        numbers.iter_mut().for_each(|n| *n /= count);
        Self { numbers, width: self.width }
    }

    fn count(&self) -> usize {
        self.numbers.len() / self.width
    }

    /// Some columns of all rows.
    fn part(&self, columns: Range<usize>) -> Matrix<'_> {
        let (down, right) = (self.width, 1);
        Matrix { numbers: &self.numbers[columns.start..], rows: self.count(), columns: columns.len(), down, right }
    }
}

/// Rows of `width` numbers, read as columns.
fn turned(numbers: &[f32], width: usize) -> Matrix<'_> {
    Matrix { numbers, rows: width, columns: numbers.len() / width, down: 1, right: width }
}

/// Numbers in rows and columns: `down` and `right` are how far the next one lies.
#[derive(Clone, Copy, Debug)]
struct Matrix<'a> {
    numbers: &'a [f32],
    rows: usize,
    columns: usize,
    down: usize,
    right: usize,
}

impl<'a> Matrix<'a> {
    fn turn(self) -> Matrix<'a> {
        Matrix { rows: self.columns, columns: self.rows, down: self.right, right: self.down, ..self }
    }

    fn is_whole(&self) -> bool {
        self.rows > 0 && self.columns > 0 && (self.rows - 1) * self.down + (self.columns - 1) * self.right < self.numbers.len()
    }
}

/// `to += left · right`; the rows of `to` lie `step` apart.
#[allow(unsafe_code, reason = "the library's one entry takes pointers; that they stay within the slices is asserted here")]
fn add_product(to: &mut [f32], step: usize, left: Matrix<'_>, right: Matrix<'_>) {
    assert!(left.is_whole() && right.is_whole() && left.columns == right.rows);
    assert!(right.columns <= step && (left.rows - 1) * step + right.columns <= to.len());
    let far = usize::cast_signed;
    // SAFETY: `is_whole` says that the last number of either matrix lies in its slice, the second assertion says so of `to`,
    // whose rows do not overlap; `to` is borrowed alone.
    unsafe {
        gemm::gemm(
            left.rows,
            right.columns,
            left.columns,
            to.as_mut_ptr(),
            1,
            far(step),
            true,
            left.numbers.as_ptr(),
            far(left.right),
            far(left.down),
            right.numbers.as_ptr(),
            far(right.right),
            far(right.down),
            1.0_f32,
            1.0_f32,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// Asks the network; the score of each answer. `pieces` holds the marks of begin and end.
pub(super) fn ask(weights: &Weights, pieces: &[usize]) -> Vec<f32> {
    let mut rows = words(weights, pieces);
    for layer in &weights.layers {
        rows = through_layer(rows, layer, weights.sizes.heads);
    }
    rows.mean().through(&weights.answers).numbers
}

fn words(weights: &Weights, pieces: &[usize]) -> Rows {
    let width = weights.sizes.width;
    let mut rows = Rows { numbers: weights.places[..pieces.len() * width].to_vec(), width };
    for (piece, row) in pieces.iter().zip(rows.each_mut()) {
        weights.add_word(*piece, row);
    }
    rows.normalise(&weights.after_words);
    rows
}

fn through_layer(mut rows: Rows, layer: &Layer, heads: usize) -> Rows {
    let attended = attend(&rows.through(&layer.query), &rows.through(&layer.key), &rows.through(&layer.value), heads);
    rows.add(&attended.through(&layer.attended));
    rows.normalise(&layer.after_attention);
    let mut wide = rows.through(&layer.widen);
    wide.numbers.iter_mut().for_each(|n| *n = gelu(*n));
    rows.add(&wide.through(&layer.narrow));
    rows.normalise(&layer.after_layer);
    rows
}

/// Each piece looks at all others, head by head.
fn attend(query: &Rows, key: &Rows, value: &Rows, heads: usize) -> Rows {
    let (count, width) = (query.count(), query.width / heads);
    let unit = 1.0 / (width as f32).sqrt();
    let mut out = Rows { numbers: vec![0.0; query.numbers.len()], width: query.width };
    for own in (0..heads).map(|head| head * width..(head + 1) * width) {
        let mut looks = Rows { numbers: vec![0.0; count * count], width: count };
        add_product(&mut looks.numbers, count, query.part(own.clone()), key.part(own.clone()).turn());
        for row in looks.each_mut() {
            row.iter_mut().for_each(|n| *n *= unit);
            to_shares(row);
        }
        add_product(&mut out.numbers[own.start..], out.width, looks.part(0..count), value.part(own));
    }
    out
}

/// Scores become shares that sum to one (softmax).
pub(super) fn to_shares(scores: &mut [f32]) {
    let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    scores.iter_mut().for_each(|n| *n = (*n - most).exp());
    let sum: f32 = scores.iter().sum();
    scores.iter_mut().for_each(|n| *n /= sum);
}

/// Beyond this a number is itself, or nothing.
const GELU_END: f32 = 6.0;
const GELU_STEPS: usize = 4096;

/// x·Φ(x), from a table: half a million of them are asked for a text.
fn gelu(x: f32) -> f32 {
    static TABLE: LazyLock<Vec<f32>> = LazyLock::new(|| (0..=GELU_STEPS + 1).map(|step| exact_gelu(of_step(step))).collect());
    if x.abs() >= GELU_END {
        return x.max(0.0);
    }
    let at = (x + GELU_END) * (GELU_STEPS as f32 / (2.0 * GELU_END));
    let (step, rest) = (at as usize, at.fract());
    TABLE[step] + (TABLE[step + 1] - TABLE[step]) * rest
}

fn of_step(step: usize) -> f64 {
    f64::from(GELU_END) * (2.0 * step as f64 / GELU_STEPS as f64 - 1.0)
}

/// With the error function of Abramowitz and Stegun 7.1.26, right to seven digits.
fn exact_gelu(x: f64) -> f32 {
    let z = x.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let series = t * (0.254_829_592 + t * (-0.284_496_736 + t * (1.421_413_741 + t * (-1.453_152_027 + t * 1.061_405_429))));
    let erf = (1.0 - series * (-z * z).exp()).copysign(x);
    (x * 0.5 * (1.0 + erf)) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_is_each_row_by_each_row() {
        let rows = Rows { numbers: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], width: 3 };
        let mut to = vec![1.0; 4];
        add_product(&mut to, 2, rows.part(0..3), turned(&[1.0, 0.0, 1.0, 0.0, 1.0, 0.0], 3));
        assert_eq!(to, [5.0, 3.0, 11.0, 6.0]);
        let mut wide = vec![0.0; 6];
        add_product(&mut wide[1..], 3, rows.part(1..3), rows.part(1..3).turn());
        assert_eq!(wide, [0.0, 13.0, 28.0, 0.0, 28.0, 61.0]);
    }

    #[test]
    fn the_curve_of_a_neuron_is_met() {
        for (x, y) in [(0.0, 0.0), (1.0, 0.841_345), (-1.0, -0.158_655), (3.0, 2.995_95), (-7.0, 0.0), (7.0, 7.0)] {
            assert!((gelu(x) - y).abs() < 1e-5, "{x}: {}", gelu(x));
        }
    }

    #[test]
    fn shares_sum_to_one() {
        let mut shares = vec![1000.0, 1000.0, -1000.0];
        to_shares(&mut shares);
        assert_eq!(shares, [0.5, 0.5, 0.0]);
    }
}
