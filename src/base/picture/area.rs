//! Scales pixels down by averaging areas, row by row: each new pixel is the mean of what it covers, weighted by
//! alpha. Holds one row of sums; it does not scale up.

use super::Size;

/// The part of a source row that one new pixel covers.
struct Span {
    /// The first pixel, in bytes of an RGBA row.
    start: usize,
    /// One past the last pixel, in bytes.
    end: usize,
    /// What the first pixel counts; pixels between count `inner`.
    first: f32,
    /// What the last pixel counts; not used when it is the first as well.
    last: f32,
}

/// A scaling under way.
pub(super) struct Area {
    source: Size,
    target: Size,
    spans: Vec<Span>,
    /// What a wholly covered pixel counts.
    inner: f32,
    /// Sums of one new row: red, green and blue times alpha, and alpha.
    sums: Vec<[f32; 4]>,
    /// Rows read.
    read: u64,
    /// Rows made.
    made: u64,
}

impl Area {
    /// `target` must not be larger than `source`.
    pub(super) fn new(source: Size, target: Size) -> Self {
        let (from, to) = (u64::from(source.width.max(1)), u64::from(target.width.max(1)));
        // In units of 1/`to` of a source pixel all bounds are whole numbers; a new pixel is `from` units wide.
        let span = |x: u64| {
            let (begin, end) = (x * from, (x + 1) * from);
            let (start, stop) = (begin / to, end.div_ceil(to));
            let first = ((start + 1) * to).min(end) - begin;
            let last = end - ((stop - 1) * to).max(begin);
            let share = |units: u64| units as f32 / from as f32;
            Span {
                start: 4 * start as usize,
                end: 4 * stop as usize,
                first: share(first),
                last: share(last),
            }
        };
        Self {
            source,
            target,
            spans: (0..to).map(span).collect(),
            inner: to as f32 / from as f32,
            sums: vec![[0.0; 4]; to as usize],
            read: 0,
            made: 0,
        }
    }

    /// Takes the next source row (RGBA) and appends the new rows that it ends (RGBA) to `out`: none or one.
    pub(super) fn push(&mut self, row: &[u8], out: &mut Vec<u8>) {
        if self.source == self.target {
            out.extend_from_slice(row);
            return;
        }
        let (from, to) = (u64::from(self.source.height), u64::from(self.target.height));
        let (top, bottom) = (self.read * to, (self.read + 1) * to);
        self.read += 1;
        let end = (self.made + 1) * from;
        self.add(row, (bottom.min(end) - top) as f32 / from as f32);
        if bottom >= end {
            self.take(out);
            self.made += 1;
            if bottom > end {
                self.add(row, (bottom - end) as f32 / from as f32);
            }
        }
    }

    fn add(&mut self, row: &[u8], share: f32) {
        for (sum, span) in self.sums.iter_mut().zip(&self.spans) {
            let (pixels, _) = row.get(span.start..span.end).unwrap_or_default().as_chunks::<4>();
            if let [first, inner @ .., last] = pixels {
                weigh(sum, first, span.first * share);
                for pixel in inner {
                    weigh(sum, pixel, self.inner * share);
                }
                weigh(sum, last, span.last * share);
            } else if let [only] = pixels {
                weigh(sum, only, span.first * share);
            }
        }
    }

    fn take(&mut self, out: &mut Vec<u8>) {
        for sum in &mut self.sums {
            let [red, green, blue, alpha] = std::mem::take(sum);
            let colour = |sum: f32| if alpha > 0.0 { (sum / alpha).round() as u8 } else { 0 };
            out.extend_from_slice(&[colour(red), colour(green), colour(blue), alpha.round() as u8]);
        }
    }
}

fn weigh(sum: &mut [f32; 4], pixel: &[u8; 4], share: f32) {
    let [red, green, blue, alpha] = pixel.map(f32::from);
    let alpha = alpha * share;
    let [reds, greens, blues, alphas] = sum;
    *reds += red * alpha;
    *greens += green * alpha;
    *blues += blue * alpha;
    *alphas += alpha;
}
