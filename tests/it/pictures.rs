//! Images are made small enough for an answer, whatever they are and however broken.

use husk::base::picture::{Shrunk, Why, is_too_long, shrink};

const SMALL: [&str; 14] = [
    "base.jpg",
    "prog.jpg",
    "cmyk.jpg",
    "gray.jpg",
    "444.jpg",
    "restart.jpg",
    "rgb.png",
    "rgba.png",
    "pal.png",
    "gray.png",
    "g16.png",
    "la.png",
    "bit.png",
    "adam7.png",
];

fn mime(name: &str) -> &'static str {
    if name.ends_with("png") { "image/png" } else { "image/jpeg" }
}

fn read(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/pictures/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// Shrinks; what comes out must fit and be no larger than it was.
fn shrunk(bytes: &[u8], mime: &str, limit: usize) -> Result<Shrunk, Why> {
    let made = shrink(bytes, mime, limit);
    if let Ok(made) = &made {
        assert!(made.bytes.len() <= limit, "{} > {limit}", made.bytes.len());
        assert!(made.width >= 1 && made.width <= made.original_width);
        assert!(made.height >= 1 && made.height <= made.original_height);
    }
    made
}

#[test]
fn images_of_every_kind_are_scaled_down() {
    for file in SMALL {
        let bytes = read(file);
        let made = shrunk(&bytes, mime(file), bytes.len() * 2 / 3).unwrap();
        let aspect = |width: u32, height: u32| f64::from(width) / f64::from(height);
        let change =
            aspect(made.width, made.height) / aspect(made.original_width, made.original_height);
        assert!((change - 1.0).abs() < 0.1, "{file}: {}x{}", made.width, made.height);
    }
}

#[test]
fn an_image_that_fits_comes_back_as_it_is() {
    let bytes = read("rgb.png");
    assert_eq!(shrunk(&bytes, "image/png", bytes.len()).unwrap().bytes, bytes);
}

#[test]
fn images_that_end_too_early_are_told_and_none_panics() {
    for file in SMALL {
        let bytes = read(file);
        for end in (0..bytes.len()).step_by(bytes.len() / 40) {
            let _ = shrunk(&bytes[..end], mime(file), 700);
        }
    }
}

#[test]
fn an_image_that_would_fill_the_memory_is_refused_by_its_header() {
    let mut bomb = read("rgb.png");
    // Width and height stand behind the signature and the chunk's name.
    bomb[16..24].copy_from_slice(&[0, 0, 0x75, 0x30, 0, 0, 0x75, 0x30]);
    fix_crcs(&mut bomb);
    let refused = shrunk(&bomb, "image/png", 700);
    assert!(matches!(refused, Err(Why::TooLarge { width: 30_000, .. })), "{refused:?}");
    assert!(is_too_long(&bomb[..48], "image/png"), "the header is enough");
    assert!(!is_too_long(&read("rgb.png"), "image/png"));
    assert!(matches!(shrunk(b"<svg/>", "image/svg+xml", 1), Err(Why::Format { .. })));
}

#[test]
fn changed_images_never_panic() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for file in SMALL {
        let bytes = read(file);
        for _ in 0..20 {
            let mut changed = bytes.clone();
            for _ in 0..=next() % 4 {
                let span = if next() % 2 == 0 { bytes.len() } else { bytes.len().min(640) };
                let at = (next() % span as u64) as usize;
                changed[at] = if next() % 3 == 0 { 0xff } else { next() as u8 };
            }
            if mime(file) == "image/png" {
                fix_crcs(&mut changed);
            }
            let _ = shrunk(&changed, mime(file), 900);
        }
    }
}

fn fix_crcs(png: &mut [u8]) {
    let mut at = 8;
    while let Some(length) = png.get(at..at + 4) {
        let length = u32::from_be_bytes(length.try_into().unwrap()) as usize;
        let Some(body) = png.get(at + 4..(at + 8).saturating_add(length)) else { return };
        let mut crc = !0_u32;
        for &byte in body {
            crc ^= u32::from(byte);
            for _ in 0..8 {
                crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
            }
        }
        let at_crc = at + 8 + length;
        let Some(slot) = png.get_mut(at_crc..at_crc + 4) else { return };
        slot.copy_from_slice(&(!crc).to_be_bytes());
        at = at_crc + 4;
    }
}
