//! Images small enough for an answer: those that are too large are scaled down, and the original is
//! named.

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::{
    base::picture,
    kernel::output::{Image, Item, View},
    sandbox::CellRun,
};

/// The same view with images that fit, and what is to be said of those that did not.
pub(super) async fn fitting(run: &CellRun, mut view: View) -> (View, Vec<String>) {
    let limit = run.output.max_image_bytes();
    let mut notes = Vec::new();
    for item in &mut view.items {
        let Item::Image(image) = item else { continue };
        let padding = image.base64.bytes().rev().take_while(|byte| *byte == b'=').count();
        let bytes = image.base64.len() / 4 * 3 - padding;
        if bytes <= limit && !is_too_long(image) {
            continue;
        }
        let uri =
            format!("husk://sessions/{}/cells/{}/outputs/{}", run.session, run.id(), image.number);
        match scaled(image, limit).await {
            Ok(told) => {
                notes.push(format!(
                    "image {} is scaled down ({told}); the original is {uri}",
                    image.number
                ));
            }
            Err(why) => {
                let text = format!(
                    "[image {} of {bytes} bytes is not shown: {why}; it is {uri}]\n",
                    image.number
                );
                *item = Item::Text(text);
            }
        }
    }
    (view, notes)
}

/// Whether a host would refuse it for its pixels.
fn is_too_long(image: &Image) -> bool {
    // A PNG's header is its first 33 bytes; a JPEG's can be anywhere.
    let png = image.mime == "image/png";
    let head = if png { image.base64.get(..64) } else { Some(image.base64.as_str()) };
    let head = head.and_then(|head| STANDARD.decode(head).ok());
    head.is_some_and(|head| picture::is_too_long(&head, &image.mime))
}

/// Scales an image down in its place; what it was and is.
async fn scaled(image: &mut Image, limit: usize) -> Result<String, String> {
    let (base64, mime) = (std::mem::take(&mut image.base64), image.mime.clone());
    let work = move || {
        let bytes = STANDARD.decode(&base64).map_err(|error| error.to_string())?;
        drop(base64);
        let made = picture::shrink(&bytes, &mime, limit).map_err(|error| error.to_string())?;
        Ok::<_, String>((STANDARD.encode(&made.bytes), made))
    };
    // A decoder that panics breaks only its own thread.
    let (base64, made) = tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| "it cannot be decoded".to_owned())??;
    made.mime.clone_into(&mut image.mime);
    image.base64 = base64;
    Ok(format!(
        "{}×{} of {}×{} pixels",
        made.width, made.height, made.original_width, made.original_height
    ))
}
