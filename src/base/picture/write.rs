//! Writes a canvas as PNG or JPEG at a size; leaves out what says nothing: alpha that is full everywhere, colour
//! where all is gray.

use super::{Canvas, Format, Size, area::Area};
use std::io::Write;

/// The quality of JPEGs, of 100.
const QUALITY: u8 = 85;

/// Encodes `canvas` scaled down to `size`; `None` if the format cannot hold such an image.
pub(super) fn encode(canvas: &Canvas, size: Size, format: Format) -> Option<Vec<u8>> {
    match format {
        Format::Png => png(canvas, size).ok(),
        Format::Jpeg => jpeg(canvas, size),
    }
}

/// Whether no pixel lets anything shine through.
pub(super) fn is_opaque(canvas: &Canvas) -> bool {
    canvas.rgba.as_chunks().0.iter().all(|&[_, _, _, alpha]| alpha == 255)
}

fn is_gray(canvas: &Canvas) -> bool {
    canvas.rgba.as_chunks().0.iter().all(|&[red, green, blue, _]| red == green && green == blue)
}

fn png(canvas: &Canvas, size: Size) -> Result<Vec<u8>, png::EncodingError> {
    let colour = match (is_opaque(canvas), is_gray(canvas)) {
        (true, true) => png::ColorType::Grayscale,
        (true, false) => png::ColorType::Rgb,
        (false, true) => png::ColorType::GrayscaleAlpha,
        (false, false) => png::ColorType::Rgba,
    };
    let mut encoded = Vec::new();
    let mut encoder = png::Encoder::new(&mut encoded, size.width, size.height);
    encoder.set_color(colour);
    let mut writer = encoder.write_header()?;
    let mut stream = writer.stream_writer()?;
    let mut packed = Vec::new();
    let mut fault = None;
    each_row(canvas, size, |row| {
        packed.clear();
        pack(row, colour, &mut packed);
        fault = fault.take().or(stream.write_all(&packed).err());
    });
    stream.finish()?;
    writer.finish()?;
    fault.map_or(Ok(encoded), |error| Err(error.into()))
}

/// Appends an RGBA row to `packed` with the channels of `colour` only.
fn pack(row: &[u8], colour: png::ColorType, packed: &mut Vec<u8>) {
    let pixels = row.as_chunks().0.iter();
    match colour {
        png::ColorType::Grayscale => packed.extend(pixels.map(|&[gray, _, _, _]| gray)),
        png::ColorType::GrayscaleAlpha => {
            packed.extend(pixels.flat_map(|&[gray, _, _, alpha]| [gray, alpha]))
        }
        png::ColorType::Rgb => {
            packed.extend(pixels.flat_map(|&[red, green, blue, _]| [red, green, blue]))
        }
        png::ColorType::Rgba | png::ColorType::Indexed => packed.extend_from_slice(row),
    }
}

/// Hands out the rows of `canvas`, scaled down to `size`.
fn each_row(canvas: &Canvas, size: Size, mut take: impl FnMut(&[u8])) {
    let mut area = Area::new(canvas.size, size);
    let mut made = Vec::new();
    for row in canvas.rgba.chunks_exact(4 * canvas.size.width as usize) {
        area.push(row, &mut made);
        if !made.is_empty() {
            take(&made);
            made.clear();
        }
    }
}

fn jpeg(canvas: &Canvas, size: Size) -> Option<Vec<u8>> {
    let colour = if is_gray(canvas) { png::ColorType::Grayscale } else { png::ColorType::Rgb };
    let mut pixels = Vec::new();
    each_row(canvas, size, |row| pack(row, colour, &mut pixels));
    write_jpeg(&pixels, size, colour == png::ColorType::Grayscale)
}

fn write_jpeg(pixels: &[u8], size: Size, gray: bool) -> Option<Vec<u8>> {
    let colour = if gray { jpeg_encoder::ColorType::Luma } else { jpeg_encoder::ColorType::Rgb };
    let (width, height) = (u16::try_from(size.width).ok()?, u16::try_from(size.height).ok()?);
    let mut encoded = Vec::new();
    jpeg_encoder::Encoder::new(&mut encoded, QUALITY).encode(pixels, width, height, colour).ok()?;
    Some(encoded)
}
