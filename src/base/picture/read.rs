//! Reads PNG and JPEG into a canvas of bounded size: nothing is decoded before the header's size is judged, and no
//! decoder holds the whole image at its full size unless that is small.

use super::{Canvas, Format, Size, Why, area::Area};
use std::io::Cursor;

/// Pixels of a canvas at most: 16 MiB of RGBA.
const CANVAS: u64 = 4 << 20;
/// Pixels of an image at most: it bounds the time; 10000×10000 is within.
const IMAGE: u64 = 128 << 20;
/// Bytes of an image that is held decoded at its full size (an interlaced PNG), or of a progressive JPEG's
/// coefficients.
const HELD: u64 = 32 << 20;
/// Pixels of a JPEG after its own scaling; it takes some 6 bytes for each.
const JPEG: u64 = 5 << 20;
/// Bytes that the PNG decoder may allocate for its own ends.
const DECODER: usize = 16 << 20;

/// The size that the header announces; refuses what is too large to decode.
pub(super) fn size(bytes: &[u8], format: Format) -> Result<Size, Why> {
    let size = match format {
        Format::Png => {
            let mut decoder = png(bytes);
            let info = decoder.read_header_info().map_err(broken_png)?;
            Size { width: info.width, height: info.height }
        }
        Format::Jpeg => jpeg(bytes)?.1,
    };
    if size.pixels() == 0 {
        return Err(Why::Broken { format: "image", told: "it has no pixels".to_owned() });
    }
    Ok(size)
}

/// Decodes the image, scaled down to at most [`CANVAS`] pixels.
pub(super) fn canvas(bytes: &[u8], format: Format) -> Result<Canvas, Why> {
    let size = size(bytes, format)?;
    if size.pixels() > IMAGE {
        return Err(too_large(size, "more than 128 megapixels"));
    }
    match format {
        Format::Png => png_canvas(bytes, size),
        Format::Jpeg => jpeg_canvas(bytes),
    }
}

fn png(bytes: &[u8]) -> png::Decoder<Cursor<&[u8]>> {
    let mut decoder =
        png::Decoder::new_with_limits(Cursor::new(bytes), png::Limits { bytes: DECODER });
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    decoder
}

fn png_canvas(bytes: &[u8], size: Size) -> Result<Canvas, Why> {
    let mut reader = png(bytes).read_info().map_err(broken_png)?;
    let colour = reader.output_color_type().0;
    let mut scaling = Scaling::new(size, Kind::of_png(colour));
    if reader.info().interlaced {
        let held = reader.output_buffer_size().filter(|&held| held as u64 <= HELD);
        let mut frame = vec![
            0;
            held.ok_or_else(|| too_large(
                size,
                "as an interlaced PNG more than 32 MiB decoded"
            ))?
        ];
        reader.next_frame(&mut frame).map_err(broken_png)?;
        frame
            .chunks_exact(size.width as usize * colour.samples())
            .for_each(|row| scaling.push(row));
    } else {
        while let Some(row) = reader.next_row().map_err(broken_png)? {
            scaling.push(row.data());
        }
    }
    scaling.done("PNG")
}

type JpegDecoder<'bytes> = jpeg_decoder::Decoder<&'bytes [u8]>;

fn jpeg(bytes: &[u8]) -> Result<(JpegDecoder<'_>, Size, jpeg_decoder::ImageInfo), Why> {
    let mut decoder = JpegDecoder::new(bytes);
    decoder.read_info().map_err(broken_jpeg)?;
    let info = decoder.info().ok_or_else(|| broken_jpeg("it has no frame"))?;
    let size = Size { width: info.width.into(), height: info.height.into() };
    Ok((decoder, size, info))
}

fn jpeg_canvas(bytes: &[u8]) -> Result<Canvas, Why> {
    let (mut decoder, size, info) = jpeg(bytes)?;
    let channels = info.pixel_format.pixel_bytes();
    let kind = match info.pixel_format {
        jpeg_decoder::PixelFormat::L8 => Kind::Gray,
        jpeg_decoder::PixelFormat::RGB24 => Kind::Rgb,
        jpeg_decoder::PixelFormat::CMYK32 => Kind::Cmyk,
        jpeg_decoder::PixelFormat::L16 => return Err(broken_jpeg("it has more than 8 bits")),
    };
    match info.coding_process {
        jpeg_decoder::CodingProcess::DctSequential => {}
        jpeg_decoder::CodingProcess::DctProgressive
            if size.pixels() * 2 * channels as u64 <= HELD => {}
        jpeg_decoder::CodingProcess::DctProgressive => {
            return Err(too_large(size, "as a progressive JPEG more than 32 MiB decoded"));
        }
        jpeg_decoder::CodingProcess::Lossless => return Err(broken_jpeg("lossless JPEG")),
    }
    let eighths =
        [8, 4, 2, 1].into_iter().find(|eighths| size.pixels() * eighths * eighths <= JPEG * 64);
    let eighths = eighths.unwrap_or(1) as u32;
    let side = |length: u32| u16::try_from((length * eighths).div_ceil(8)).unwrap_or(u16::MAX);
    let (width, height) =
        decoder.scale(side(size.width), side(size.height)).map_err(broken_jpeg)?;
    let pixels = decoder.decode().map_err(broken_jpeg)?;
    let mut scaling = Scaling::new(Size { width: width.into(), height: height.into() }, kind);
    pixels.chunks_exact(usize::from(width) * channels).for_each(|row| scaling.push(row));
    scaling.done("JPEG")
}

/// What one pixel of a decoder's row is, 8 bits each.
#[derive(Clone, Copy)]
enum Kind {
    Gray,
    GrayAlpha,
    Rgb,
    Rgba,
    Cmyk,
}

impl Kind {
    fn of_png(colour: png::ColorType) -> Self {
        match colour {
            // The decoder expands palettes.
            png::ColorType::Grayscale => Self::Gray,
            png::ColorType::GrayscaleAlpha => Self::GrayAlpha,
            png::ColorType::Rgb | png::ColorType::Indexed => Self::Rgb,
            png::ColorType::Rgba => Self::Rgba,
        }
    }
}

/// RGBA of a CMYK pixel as the decoder gives it.
fn without_ink(&[cyan, magenta, yellow, black]: &[u8; 4]) -> [u8; 4] {
    let light = |ink: u8| (u16::from(255 - ink) * u16::from(255 - black) / 255) as u8;
    [light(cyan), light(magenta), light(yellow), 255]
}

/// Rows on their way from a decoder to a canvas.
struct Scaling {
    area: Area,
    kind: Kind,
    /// The row at hand, as RGBA.
    row: Vec<u8>,
    canvas: Canvas,
}

impl Scaling {
    fn new(from: Size, kind: Kind) -> Self {
        let size = from.within(CANVAS);
        let canvas = Canvas { size, rgba: Vec::with_capacity(4 * size.pixels() as usize) };
        Self {
            area: Area::new(from, size),
            kind,
            row: Vec::with_capacity(4 * from.width as usize),
            canvas,
        }
    }

    fn push(&mut self, row: &[u8]) {
        self.row.clear();
        match self.kind {
            Kind::Gray => self.row.extend(row.iter().flat_map(|&gray| [gray, gray, gray, 255])),
            Kind::GrayAlpha => self.row.extend(
                row.as_chunks().0.iter().flat_map(|&[gray, alpha]| [gray, gray, gray, alpha]),
            ),
            Kind::Rgb => self.row.extend(
                row.as_chunks().0.iter().flat_map(|&[red, green, blue]| [red, green, blue, 255]),
            ),
            Kind::Rgba => self.row.extend_from_slice(row),
            Kind::Cmyk => self.row.extend(row.as_chunks().0.iter().flat_map(without_ink)),
        }
        self.area.push(&self.row, &mut self.canvas.rgba);
    }

    /// The canvas, if as many rows came as were announced.
    fn done(self, format: &'static str) -> Result<Canvas, Why> {
        if self.canvas.rgba.len() as u64 == 4 * self.canvas.size.pixels() {
            Ok(self.canvas)
        } else {
            Err(Why::Broken { format, told: "it ends early".to_owned() })
        }
    }
}

fn too_large(size: Size, what: &'static str) -> Why {
    Why::TooLarge { width: size.width, height: size.height, what }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn broken_png(error: png::DecodingError) -> Why {
    Why::Broken { format: "PNG", told: error.to_string() }
}

fn broken_jpeg(error: impl ToString) -> Why {
    Why::Broken { format: "JPEG", told: error.to_string() }
}
