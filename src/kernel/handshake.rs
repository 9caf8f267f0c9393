//! The first words with a kernel: asks what it is until it answers *and* publishes, so that no output is
//! lost.

use std::time::Duration;

use jupyter_protocol::KernelInfoRequest;
use tokio::time::Instant;

#[cfg(feature = "gateway")]
use super::gateway::death;
use super::{
    carrier::Carrier,
    channels::{Arrival, Channel},
    client::{ConnectError, Info},
    json,
    wire::{Codec, Message},
};

/// How long a kernel that answers but does not publish is waited for before it is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(250);

/// Most messages that are kept which come before a kernel is met again.
const EARLY: usize = 4096;

/// Asks for `kernel_info` until the kernel has both answered and published. What comes of other
/// requests meanwhile goes to `early`.
pub(super) async fn handshake(
    carrier: &mut Carrier,
    codec: &Codec,
    control: bool,
    mut early: Option<&mut Vec<Message>>,
) -> Result<Info, ConnectError> {
    let mut info = None;
    let mut published = false;
    loop {
        let (id, frames) = codec
            .request("kernel_info_request", &KernelInfoRequest {})
            .map_err(ConnectError::Encode)?;
        let channel = if control { Channel::Control } else { Channel::Shell };
        carrier.send(channel, frames).await.map_err(ConnectError::Send)?;
        let mut ask_again = None;
        loop {
            let again = ask_again.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
            let arrival = tokio::select! {
                arrival = carrier.next() => arrival,
                () = tokio::time::sleep_until(again) => break,
            };
            let (on_iopub, frames) = match arrival {
                Arrival::Shell(frames) | Arrival::Control(frames) => (false, frames),
                Arrival::Iopub(frames) => (true, frames),
                Arrival::Ended(_, ended) => return Err(ConnectError::Left(ended)),
                Arrival::IopubEnd | Arrival::Stdin(_) => continue,
                #[cfg(feature = "gateway")]
                Arrival::Lost(why) => return Err(ConnectError::Lost(why)),
                #[cfg(feature = "gateway")]
                Arrival::Again => break,
            };
            let Ok(message) = codec.decode(&frames) else { continue };
            #[cfg(feature = "gateway")]
            if let Some(why) = death::told(&message).filter(|_| carrier.is_gateway()) {
                return Err(ConnectError::Lost(why.to_owned()));
            }
            if on_iopub {
                published |= !message.parent.is_empty();
            } else if message.parent == id || message.kind == "kernel_info_reply" {
                info = Some(read_info(&message));
                ask_again = Some(Instant::now() + ASK_AGAIN);
            }
            if let Some(early) = early.as_mut().filter(|early| early.len() < EARLY)
                && message.parent != id
            {
                early.push(message);
            }
            if published && let Some(info) = info.take() {
                return Ok(info);
            }
        }
    }
}

fn read_info(message: &Message) -> Info {
    json::object!(Content {
        implementation,
        implementation_version,
        protocol_version,
        language_info,
        supported_features,
    });
    json::object!(Language { name, version, mimetype, file_extension });
    let content: Content<'_> = serde_json::from_slice(&message.content).unwrap_or_default();
    let language: Language<'_> = json::read(content.language_info).unwrap_or_default();
    Info {
        implementation: json::text(content.implementation),
        version: json::text(content.implementation_version),
        language: json::text(language.name),
        language_version: json::text(language.version),
        mimetype: json::text(language.mimetype),
        file_extension: json::text(language.file_extension),
        protocol: json::text(content.protocol_version),
        features: json::read::<json::Lines>(content.supported_features).unwrap_or_default().0,
    }
}
