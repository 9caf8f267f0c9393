//! How bytes come and go.

#[cfg_attr(
    not(feature = "http"),
    expect(
        dead_code,
        reason = "settings are the same in every husk; without the feature none listens"
    )
)]
pub mod http;
pub mod lines;
pub mod local;
pub mod stdio;
