//! Kernels at a gateway: a real Jupyter Server and a real Jupyter Kernel Gateway.

mod cells;
mod doctor;
mod enterprise;
mod lost;
mod server;
mod settings;
mod tls;
mod wire;
