//! Floor 0: values without I/O and without tasks that every other module may use.

pub mod address;
pub mod backoff;
pub mod budget;
pub mod canon;
pub mod causes;
pub mod clock;
pub mod hosts;
pub mod ids;
pub mod picture;
pub mod secret;
pub mod trace_context;
