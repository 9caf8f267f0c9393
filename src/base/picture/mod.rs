//! Makes an image that a kernel put out small enough for an answer: the largest scale whose encoding fits a limit.
//!
//! PNG stays PNG with its alpha, JPEG stays JPEG; a PNG that would have to become tiny (a photo, noise) becomes a
//! JPEG. Memory is bounded whatever the image says of itself: rows of a PNG are averaged while they are read, a JPEG
//! is scaled while it is decoded, and what cannot be read so is refused. It does not read SVG, GIF or WebP, turns
//! nothing (EXIF orientation), keeps no metadata or colour profile, and blocks: call it on a blocking thread, one
//! image at a time.

mod area;
mod read;
mod write;

/// Encodings that are tried at most for one format.
const TRIES: u32 = 4;
/// A PNG that fits only with a longer side below this becomes a JPEG, in pixels.
const PNG_FLOOR: u32 = 1024;
/// Pixels of the longer side at most, whatever the bytes: hosts refuse an image with a side above 8000.
const LONGEST: u32 = 8000;
/// An encoding of at least this share of the limit is good enough.
const WELL_USED: f64 = 0.7;
/// The share of the limit that a try aims at.
const AIM: f64 = 0.92;

/// An image that fits.
#[derive(Debug)]
pub struct Shrunk {
    /// `image/png` or `image/jpeg`.
    pub mime: &'static str,
    /// The encoded image, at most `limit` bytes.
    pub bytes: Vec<u8>,
    /// Its width in pixels.
    pub width: u32,
    /// Its height in pixels.
    pub height: u32,
    /// The width that the kernel put out, in pixels.
    pub original_width: u32,
    /// The height that the kernel put out, in pixels.
    pub original_height: u32,
}

/// Why an image could not be shrunk.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Why {
    /// Not a format that is read here.
    #[error("{mime} cannot be shrunk; only image/png and image/jpeg can")]
    Format {
        /// What the kernel called it.
        mime: String,
    },
    /// The header announces more than would be decoded.
    #[error(
        "the image is {width}×{height}; {what}, so it was not decoded: save it with fewer pixels (a lower dpi)"
    )]
    TooLarge {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// The bound that it breaks.
        what: &'static str,
    },
    /// The bytes are not what their media type says, or end too early.
    #[error("the {format} image is broken or of a rare kind: {told}")]
    Broken {
        /// `PNG` or `JPEG`.
        format: &'static str,
        /// What the decoder said.
        told: String,
    },
    /// Even the smallest try is larger than the limit.
    #[error("no encoding of the image fits in {limit} bytes")]
    Limit {
        /// The limit that was asked for, in bytes.
        limit: usize,
    },
}

/// The formats that are read and written here.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Format {
    Png,
    Jpeg,
}

impl Format {
    fn of(mime: &str) -> Result<Self, Why> {
        match mime {
            "image/png" => Ok(Self::Png),
            "image/jpeg" | "image/jpg" => Ok(Self::Jpeg),
            _ => Err(Why::Format { mime: mime.to_owned() }),
        }
    }

    fn mime(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
        }
    }
}

/// Width and height in pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Size {
    width: u32,
    height: u32,
}

impl Size {
    fn pixels(self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }

    fn longer(self) -> u32 {
        self.width.max(self.height)
    }

    /// The size with `area` times the pixels and the same aspect ratio, at least 1×1 and at most this size.
    fn scaled(self, area: f64) -> Self {
        // A line of pixels can only lose length.
        let thin = f64::from(self.width.min(self.height)) * area.sqrt() < 1.0;
        let side = if thin { area * f64::from(self.width.min(self.height)) } else { area.sqrt() };
        let scaled = |length: u32| ((f64::from(length) * side) as u32).clamp(1, length.max(1));
        Self { width: scaled(self.width), height: scaled(self.height) }
    }

    /// This size, or the largest one of the same aspect ratio with at most so many pixels and no side above
    /// [`LONGEST`].
    fn within(self, pixels: u64) -> Self {
        let length = f64::from(LONGEST) / f64::from(self.longer());
        let area = (pixels as f64 / self.pixels() as f64).min(length * length);
        if area >= 1.0 { self } else { self.scaled(area) }
    }
}

/// Decoded pixels: RGBA, 8 bits each, row after row.
struct Canvas {
    size: Size,
    rgba: Vec<u8>,
}

/// Returns the image at the largest scale whose encoding has at most `limit` bytes; an image that fits already, with
/// no side above 8000 pixels, comes back as it is, without being decoded.
///
/// `mime` decides how `bytes` are read. Takes up to some 40 MiB beside `bytes`, and up to some 3 s of one core for the
/// largest images that are not refused (128 megapixels).
///
/// # Errors
/// [`Why`]: another format, too many pixels, broken bytes, or a limit that nothing fits.
pub fn shrink(bytes: &[u8], mime: &str, limit: usize) -> Result<Shrunk, Why> {
    let format = Format::of(mime)?;
    let original = read::size(bytes, format)?;
    if bytes.len() <= limit && original.longer() <= LONGEST {
        return Ok(shrunk(bytes.to_vec(), format, original, original));
    }
    let canvas = read::canvas(bytes, format)?;
    let density = bytes.len() as f64 / original.pixels() as f64;
    let first = fit(&canvas, format, limit, density);
    let small = side(first.as_ref()) < original.longer().min(PNG_FLOOR);
    let as_jpeg = if format == Format::Png && small && write::is_opaque(&canvas) {
        // 1/8: what a pixel takes as JPEG, in bytes per byte of its PNG, roughly.
        fit(&canvas, Format::Jpeg, limit, density / 8.0)
    } else {
        None
    };
    let (found, format) = if side(as_jpeg.as_ref()) > side(first.as_ref()) {
        (as_jpeg, Format::Jpeg)
    } else {
        (first, format)
    };
    let (bytes, size) = found.ok_or(Why::Limit { limit })?;
    Ok(shrunk(bytes, format, size, original))
}

/// Whether hosts would refuse the image for its longer side; its header is enough.
#[must_use]
pub fn is_too_long(bytes: &[u8], mime: &str) -> bool {
    let size = Format::of(mime).and_then(|format| read::size(bytes, format));
    size.is_ok_and(|size| size.longer() > LONGEST)
}

/// The longer side of what was found, 0 if nothing was.
fn side(found: Option<&(Vec<u8>, Size)>) -> u32 {
    found.map_or(0, |(_, size)| size.longer())
}

fn shrunk(bytes: Vec<u8>, format: Format, size: Size, original: Size) -> Shrunk {
    Shrunk {
        mime: format.mime(),
        bytes,
        width: size.width,
        height: size.height,
        original_width: original.width,
        original_height: original.height,
    }
}

/// Searches for the largest area of `canvas` that fits, from a guess of `density` bytes per pixel.
fn fit(canvas: &Canvas, format: Format, limit: usize, density: f64) -> Option<(Vec<u8>, Size)> {
    let limit_f = limit as f64;
    let mut best = None;
    // Areas, as shares of the canvas: the largest that is known to fit, the smallest that is known not to.
    let (mut fits, mut fails) = (0.0, 1.0_f64);
    let mut area = (AIM * limit_f / (density * canvas.size.pixels() as f64)).min(1.0);
    for tried in 1..=TRIES {
        let size = canvas.size.scaled(area);
        let encoded = write::encode(canvas, size, format)?;
        let share = encoded.len() as f64 / limit_f;
        if encoded.len() <= limit {
            best = Some((encoded, size));
            if share >= WELL_USED || size == canvas.size {
                break;
            }
            fits = area;
        } else {
            fails = area;
        }
        // Fewer pixels of a plot take more bytes each, so half the way is a better guess than beyond a bound.
        // The last try must fit: it goes further, as headers do not get smaller with the image.
        let hurry = if best.is_none() && tried + 1 == TRIES { 2 } else { 1 };
        let next = (area * (AIM / share).powi(hurry)).min(1.0);
        let open = next > fits && (next < fails || fails >= 1.0);
        area = if open { next } else { f64::midpoint(fits, fails) };
    }
    best
}
