//! The encoder: pieces become numbers, layer by layer, and answers (Vaswani 2017, as in BERT).
//!
//! In: numbers of pieces. Out: for each answer its score. A pure function of its input.

use std::ops::Range;
use std::sync::LazyLock;

use super::file::{Layer, Linear, Norm, Weights};

/// Keeps a normalisation from dividing by nothing; that of the model this one comes from.
const EPSILON: f32 = 1e-12;

/// Which of its wide instructions this processor has.
static ARCH: LazyLock<pulp::Arch> = LazyLock::new(pulp::Arch::new);

/// Weights that are widened at a time.
const AT_ONCE: usize = 1 << 16;

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
        ARCH.dispatch(|| self.each_mut().for_each(|row| normalise(row, norm)));
    }

    /// The weights of some inputs at a time are widened, so many as a processor's own cache holds.
    fn through(&self, linear: &Linear) -> Self {
        let (rows, width) = (self.count(), linear.bias.len());
        let mut numbers = Vec::with_capacity(rows * width);
        (0..rows).for_each(|_| numbers.extend_from_slice(&linear.bias));
        let some = (AT_ONCE / width).clamp(1, self.width);
        let mut wide = vec![0.0; some * width];
        for first in (0..self.width).step_by(some) {
            let inputs = first..self.width.min(first + some);
            let wide = &mut wide[..inputs.len() * width];
            ARCH.dispatch(|| linear.widen(inputs.clone(), wide));
            let weights = Matrix { numbers: wide, rows: inputs.len(), columns: width, down: width, right: 1 };
            add_product(&mut numbers, width, self.part(0..rows, inputs), weights);
        }
        Self { numbers, width }
    }

    fn count(&self) -> usize {
        self.numbers.len() / self.width
    }

    /// Some columns of some rows.
    fn part(&self, rows: Range<usize>, columns: Range<usize>) -> Matrix<'_> {
        let numbers = &self.numbers[rows.start * self.width + columns.start..];
        Matrix { numbers, rows: rows.len(), columns: columns.len(), down: self.width, right: 1 }
    }

    /// The mean of each text's rows.
    fn means(&self, texts: &[Range<usize>]) -> Self {
        let mut numbers = vec![0.0; texts.len() * self.width];
        for (text, mean) in texts.iter().zip(numbers.chunks_exact_mut(self.width)) {
            for row in self.numbers.chunks_exact(self.width).skip(text.start).take(text.len()) {
                mean.iter_mut().zip(row).for_each(|(mean, n)| *mean += n / text.len() as f32);
            }
        }
        Self { numbers, width: self.width }
    }
}

#[inline(always)]
fn normalise(row: &mut [f32], norm: &Norm) {
    let count = row.len() as f32;
    let mean = row.iter().sum::<f32>() / count;
    let spread = row.iter().map(|n| (n - mean) * (n - mean)).sum::<f32>() / count;
    let unit = 1.0 / (spread + EPSILON).sqrt();
    for ((n, scale), shift) in row.iter_mut().zip(&norm.scale).zip(&norm.shift) {
        *n = (*n - mean) * unit * scale + shift;
    }
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

/// Asks the network about some texts at once; the score of each answer for each. A text's pieces hold the marks of begin and
/// end. To widen the weights costs as much as a few words, so that several texts are cheaper together.
pub(super) fn ask(weights: &Weights, texts: &[Vec<usize>]) -> Vec<Vec<f32>> {
    let mut end = 0;
    let mut place = |text: &Vec<usize>| {
        let begin = end;
        end += text.len();
        begin..end
    };
    let texts_at: Vec<Range<usize>> = texts.iter().map(&mut place).collect();
    let mut rows = words(weights, texts);
    for layer in &weights.layers {
        rows = through_layer(rows, &texts_at, layer, weights.sizes.heads);
    }
    let answers = rows.means(&texts_at).through(&weights.answers);
    answers.numbers.chunks_exact(answers.width).map(<[f32]>::to_vec).collect()
}

fn words(weights: &Weights, texts: &[Vec<usize>]) -> Rows {
    let width = weights.sizes.width;
    let numbers = texts.iter().flat_map(|text| &weights.places[..text.len() * width]).copied().collect();
    let mut rows = Rows { numbers, width };
    for (piece, row) in texts.iter().flatten().zip(rows.each_mut()) {
        weights.add_word(*piece, row);
    }
    rows.normalise(&weights.after_words);
    rows
}

fn through_layer(mut rows: Rows, texts: &[Range<usize>], layer: &Layer, heads: usize) -> Rows {
    let (query, key, value) = (rows.through(&layer.query), rows.through(&layer.key), rows.through(&layer.value));
    let mut attended = Rows { numbers: vec![0.0; query.numbers.len()], width: query.width };
    for text in texts {
        attend(&query, &key, &value, text, heads, &mut attended);
    }
    rows.add(&attended.through(&layer.attended));
    rows.normalise(&layer.after_attention);
    let mut wide = rows.through(&layer.widen);
    ARCH.dispatch(|| wide.numbers.iter_mut().for_each(|n| *n = gelu(*n)));
    rows.add(&wide.through(&layer.narrow));
    rows.normalise(&layer.after_layer);
    rows
}

/// Each piece looks at all others of its text, head by head.
fn attend(query: &Rows, key: &Rows, value: &Rows, text: &Range<usize>, heads: usize, out: &mut Rows) {
    let (count, width) = (text.len(), query.width / heads);
    let unit = 1.0 / (width as f32).sqrt();
    for own in (0..heads).map(|head| head * width..(head + 1) * width) {
        let [query, key, value] = [query, key, value].map(|rows| rows.part(text.clone(), own.clone()));
        let mut looks = Rows { numbers: vec![0.0; count * count], width: count };
        add_product(&mut looks.numbers, count, query, key.turn());
        ARCH.dispatch(|| {
            for row in looks.each_mut() {
                row.iter_mut().for_each(|n| *n *= unit);
                to_shares(row);
            }
        });
        let step = out.width;
        add_product(&mut out.numbers[text.start * step + own.start..], step, looks.part(0..count, 0..count), value);
    }
}

/// Scores become shares that sum to one (softmax).
#[inline(always)]
pub(super) fn to_shares(scores: &mut [f32]) {
    let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    scores.iter_mut().for_each(|n| *n = exp(*n - most));
    let sum: f32 = scores.iter().sum();
    scores.iter_mut().for_each(|n| *n /= sum);
}

/// x·Φ(x), with the error function of Abramowitz and Stegun 7.1.26, right to six digits.
#[inline(always)]
fn gelu(x: f32) -> f32 {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let series = t * (0.254_829_6 + t * (-0.284_496_72 + t * (1.421_413_8 + t * (-1.453_152 + t * 1.061_405_4))));
    let erf = (1.0 - series * exp(-z * z)).copysign(x);
    0.5 * x * (1.0 + erf)
}

/// eˣ, right to six digits: 2ⁿ is written into the exponent, the rest is a polynomial (Cephes). Without a branch, so that
/// many are computed at a time, which the standard library's are not.
#[inline(always)]
fn exp(x: f32) -> f32 {
    let x = x.clamp(-87.0, 88.0);
    let whole = (x * std::f32::consts::LOG2_E + 0.5).floor();
    let rest = x - whole * 0.693_359_4 + whole * 2.121_944_4e-4;
    let series =
        0.5 + rest * (0.166_666_66 + rest * (4.166_579_6e-2 + rest * (8.333_452e-3 + rest * (1.398_199_9e-3 + rest * 1.987_569_1e-4))));
    (series * rest * rest + rest + 1.0) * f32::from_bits(((whole as i32 + 127) << 23).cast_unsigned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_is_each_row_by_each_row() {
        let rows = Rows { numbers: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], width: 3 };
        let mut to = vec![1.0; 4];
        let other = Rows { numbers: vec![1.0, 0.0, 1.0, 0.0, 1.0, 0.0], width: 3 };
        add_product(&mut to, 2, rows.part(0..2, 0..3), other.part(0..2, 0..3).turn());
        assert_eq!(to, [5.0, 3.0, 11.0, 6.0]);
        let mut wide = vec![0.0; 6];
        add_product(&mut wide[1..], 3, rows.part(0..2, 1..3), rows.part(0..2, 1..3).turn());
        assert_eq!(wide, [0.0, 13.0, 28.0, 0.0, 28.0, 61.0]);
        assert_eq!(rows.means(&[1..2, 0..2]).numbers, [4.0, 5.0, 6.0, 2.5, 3.5, 4.5]);
    }

    #[test]
    fn the_curve_of_a_neuron_is_met() {
        for (x, y) in
            [(0.0, 0.0), (1.0, 0.841_345), (-1.0, -0.158_655), (3.0, 2.995_95), (-7.0, 0.0), (7.0, 7.0), (-1000.0, 0.0), (1000.0, 1000.0)]
        {
            assert!((gelu(x) - y).abs() < 1e-5, "{x}: {}", gelu(x));
        }
    }

    #[test]
    fn shares_sum_to_one() {
        let mut shares = vec![1000.0, 1000.0, -1000.0];
        to_shares(&mut shares);
        assert_eq!(shares, [0.5, 0.5, exp(-87.0) / 2.0]);
    }
}
