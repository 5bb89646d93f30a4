//! The encoder: pieces become numbers, layer by layer, and answers (Vaswani 2017, as in BERT).
//!
//! In: numbers of pieces. Out: for each answer its score. A pure function of its input.

use std::ops::Range;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use rten_gemm::{GemmExecutor, GemmInputA, GemmInputB, GemmOptions, PackedBMatrix, QuantParams};
use rten_tensor::{Matrix, MatrixLayout, NdTensorView};

use super::file::{Layer, Linear, Norm, Weights};

/// Keeps a normalisation from dividing by nothing; that of the model this one comes from.
const EPSILON: f32 = 1e-12;

/// Which of its wide instructions this processor has.
static ARCH: LazyLock<pulp::Arch> = LazyLock::new(pulp::Arch::new);

/// What a thread computes products with.
struct Products {
    /// Of numbers of eight bits, which takes a quarter of the time.
    small: GemmExecutor<u8, i8, i32>,
    wide: GemmExecutor,
}

thread_local! {
    static PRODUCTS: Products = Products { small: GemmExecutor::new(), wide: GemmExecutor::new() };
}

/// A thread for each processor, in a pool of its own: the products of a text stay on one, since others have texts of their own.
/// They last, whoever asks: a pool made of an asking thread is never given back when that ends.
static THREADS: LazyLock<Vec<rayon::ThreadPool>> = LazyLock::new(|| {
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    (0..count).filter_map(|_| rayon::ThreadPoolBuilder::new().num_threads(1).build().ok()).collect()
});

/// Lays out weights, a row for each input, as the processor's product wants them.
pub(super) fn pack(weights: &[i8], outputs: usize) -> PackedBMatrix<i8> {
    PRODUCTS.with(|products| products.small.prepack_b(NdTensorView::from_data([weights.len() / outputs, outputs], weights)))
}

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

    /// Each row is rounded to eight bits, in steps of its own size, and so are the weights: their product is exact.
    fn through(&self, linear: &Linear) -> Self {
        let (rows, width) = (self.count(), linear.bias.len());
        // where the processor could lose a carry, half as many steps
        let most: u8 = PRODUCTS.with(|products| if products.small.may_saturate() { 63 } else { 127 });
        let mut rounded = vec![0_u8; self.numbers.len()];
        let mut steps = vec![0.0_f32; rows];
        ARCH.dispatch(|| {
            let both = self.numbers.chunks_exact(self.width).zip(rounded.chunks_exact_mut(self.width));
            for ((row, to), step) in both.zip(&mut steps) {
                *step = round(row, most, to);
            }
        });
        let mut products = vec![0_i32; rows * width];
        let left: Matrix<'_, u8> = NdTensorView::from_data([rows, self.width], rounded.as_slice());
        let zeros = vec![most + 1; rows];
        let options = GemmOptions { a_quant: Some(QuantParams { zero_point: &zeros }), ..GemmOptions::default() };
        let (left, right) = (GemmInputA::Unpacked(left), GemmInputB::Packed(&linear.weights));
        let done = PRODUCTS.with(|with| with.small.gemm(&mut products, left, right, options));
        debug_assert!(done.is_ok(), "{done:?}");
        let mut numbers = vec![0.0_f32; rows * width];
        ARCH.dispatch(|| {
            for ((to, from), step) in numbers.chunks_exact_mut(width).zip(products.chunks_exact(width)).zip(&steps) {
                for (((to, n), scale), bias) in to.iter_mut().zip(from).zip(&linear.scales).zip(&linear.bias) {
                    *to = *n as f32 * (step * scale) + bias;
                }
            }
        });
        Self { numbers, width }
    }

    fn count(&self) -> usize {
        self.numbers.len() / self.width
    }

    /// Some columns of some rows.
    fn part(&self, rows: Range<usize>, columns: Range<usize>) -> Matrix<'_> {
        NdTensorView::from_data([self.count(), self.width], self.numbers.as_slice()).slice((rows, columns))
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

/// Writes a row in steps of a size that makes `most` of its largest number, nought being one more than that; gives the size.
#[inline(always)]
fn round(row: &[f32], most: u8, to: &mut [u8]) -> f32 {
    let largest = row.iter().fold(0.0_f32, |largest, n| largest.max(n.abs()));
    let most = f32::from(most);
    let unit = if largest > 0.0 { most / largest } else { 0.0 };
    to.iter_mut().zip(row).for_each(|(to, n)| *to = (n * unit + (most + 1.5)) as u8);
    largest / most
}

/// `left · right`, row by row.
fn product(left: Matrix<'_>, right: Matrix<'_>) -> Rows {
    let (rows, width) = (left.rows(), right.cols());
    let mut numbers = vec![0.0; rows * width];
    let (left, right) = (GemmInputA::Unpacked(left), GemmInputB::Unpacked(right));
    let done = PRODUCTS.with(|with| with.wide.gemm(&mut numbers, left, right, GemmOptions::default()));
    debug_assert!(done.is_ok(), "{done:?}");
    Rows { numbers, width }
}

/// Asks the network about some texts at once; the score of each answer for each. A text's pieces hold the marks of begin and
/// end. To fetch the weights costs as much as a few words, so that several texts are cheaper together.
pub(super) fn ask(weights: &Weights, texts: &[Vec<usize>]) -> Vec<Vec<f32>> {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    match THREADS.get(NEXT.fetch_add(1, Relaxed) % THREADS.len().max(1)) {
        Some(thread) => thread.install(|| scores(weights, texts)),
        None => scores(weights, texts),
    }
}

fn scores(weights: &Weights, texts: &[Vec<usize>]) -> Vec<Vec<f32>> {
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
        let mut looks = product(query, key.transposed());
        ARCH.dispatch(|| {
            for row in looks.each_mut() {
                row.iter_mut().for_each(|n| *n *= unit);
                to_shares(row);
            }
        });
        let seen = product(looks.part(0..count, 0..count), value);
        for (to, from) in out.each_mut().skip(text.start).zip(seen.numbers.chunks_exact(width)) {
            to[own.clone()].copy_from_slice(from);
        }
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
        let other = Rows { numbers: vec![1.0, 0.0, 1.0, 0.0, 1.0, 0.0], width: 3 };
        assert_eq!(product(rows.part(0..2, 0..3), other.part(0..2, 0..3).transposed()).numbers, [4.0, 2.0, 10.0, 5.0]);
        assert_eq!(product(rows.part(0..2, 1..3), rows.part(0..2, 1..3).transposed()).numbers, [13.0, 28.0, 28.0, 61.0]);
        assert_eq!(rows.means(&[1..2, 0..2]).numbers, [4.0, 5.0, 6.0, 2.5, 3.5, 4.5]);
    }

    #[test]
    fn rounding_loses_less_than_half_a_step() {
        let row = [0.0, 1.0, -2.0, 0.004, 1.999];
        let mut to = [0; 5];
        let step = round(&row, 127, &mut to);
        for (n, to) in row.iter().zip(to) {
            assert!((f32::from(to) - 128.0).mul_add(step, -n).abs() <= step / 2.0 + 1e-6);
        }
        assert_eq!(round(&[0.0; 5], 127, &mut to), 0.0);
    }

    /// The rounded product is near the exact one.
    #[test]
    fn a_row_goes_through_a_matrix() {
        let rows = Rows { numbers: (0..64).map(|n| (n as f32 * 0.37).sin()).collect(), width: 32 };
        let weights: Vec<i8> = (0..32 * 3).map(|n| (n * 7 % 255 - 127) as i8).collect();
        let linear = Linear::new(&weights, vec![0.5, 1.0, 2.0], vec![1.0, -1.0, 0.0]);
        let said = rows.through(&linear);
        for (row, said) in rows.numbers.chunks(32).zip(said.numbers.chunks(3)) {
            for (out, said) in said.iter().enumerate() {
                let sum: f32 = row.iter().enumerate().map(|(input, n)| n * f32::from(weights[input * 3 + out])).sum();
                let exact = sum * linear.scales[out] + linear.bias[out];
                assert!((exact - said).abs() < 12.0 * linear.scales[out], "{exact} {said}");
            }
        }
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
